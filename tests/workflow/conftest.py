"""Copies of this checkout, in folders with a space in their names, in which whole runs are made and disturbed."""

import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

# A shell that starts the tests in the background makes them ignore interrupts, and their children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[2]
TINY = (ROOT / ".test/config.yaml").read_text()


def environment(**more):
    """The environment of a run of its own: nothing of a run that started these tests."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DDBIAS_")} | more


class Checkout:
    """A working copy of the repository and what a user can do with it."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def __truediv__(self, path):
        return self.folder / path

    def copy(self, folder):
        """Copy everything, results and dates included."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Checkout(folder)

    def study(self, name="tiny.yaml", **changes):
        """Write the tiny study, top-level keys replaced; returns its path in the checkout."""
        (self / name).write_text(yaml.safe_dump(yaml.safe_load(TINY) | changes, sort_keys=False))
        return name

    def append(self, path, text="EDITED = 1\n"):
        with open(self / path, "a") as file:
            file.write(text)

    def start(self, *command, **variables):
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=self.folder,
            env=environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def start_run(self, config, *extra, **variables):
        return self.start("workflow/launch.py", f"--config={config}", "--cores=2", "--", *extra, **variables)

    def run(self, config, *extra, **variables):
        """`make run CONFIG=config ARGS=extra`; returns exit status and output."""
        return self.finish(self.start_run(config, *extra, **variables))

    @staticmethod
    def finish(process):
        output, _ = process.communicate(timeout=900)  # of a run that hangs; a busy machine may need minutes
        return process.returncode, output

    def planned(self, config, *extra):
        """Return how many jobs of each rule a run would start, the target `all` left out."""
        status, output = self.run(config, "--dry-run", *extra)
        assert status == 0, output
        if "Nothing to be done" in output:
            return Counter()
        table = output.split("Job stats:")[1].split("total")[0]
        counts = Counter({rule: int(count) for rule, count in re.findall(r"^(\w+) +(\d+)$", table, re.MULTILINE)})
        assert counts, output
        del counts["all"]
        return counts


def repository_files():
    """Return the files of this checkout as git sees them: tracked, or new and not ignored."""
    call = ["git", "-C", ROOT, "ls-files", "-coz", "--exclude-standard"]
    listed = subprocess.run(call, capture_output=True, text=True)
    if listed.returncode == 0:
        return [path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file()]
    made_here = {".venv", ".git", ".snakemake", "results", "data", "__pycache__"}  # not a clone: an unpacked archive
    return [
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*")
        if path.is_file() and not made_here & set(path.relative_to(ROOT).parts)
    ]


def copy_repository(folder):
    for path in repository_files():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    return Checkout(folder)


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    """A copy in which nothing has been run; for looking only."""
    return copy_repository(tmp_path_factory.mktemp("pristine") / "a checkout")


@pytest.fixture
def checkout(pristine, tmp_path):
    """A copy of one's own in which nothing has been run."""
    return pristine.copy(tmp_path / "a checkout")


@pytest.fixture(scope="session")
def finished_run(pristine, tmp_path_factory):
    """A copy in which the tiny study is complete; for looking only.

    One for all processes that run tests.
    """
    together = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        together = together.parent
    base = together / "finished"
    with FileLock(together / "finished.lock"):
        if not (base / "complete").exists():
            shutil.rmtree(base, ignore_errors=True)
            base.mkdir()
            checkout = pristine.copy(base / "a checkout")
            status, output = checkout.run(checkout.study())
            assert status == 0, output
            (base / "complete").touch()
    return Checkout(base / "a checkout")


@pytest.fixture
def finished(finished_run, tmp_path):
    """A copy of one's own in which the tiny study is complete."""
    return finished_run.copy(tmp_path / "a finished checkout")
