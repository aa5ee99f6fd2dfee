"""Anybody can install the lock files, they agree with each other, and `.venv` is never taken for more than it is."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
ENVS = ROOT / "envs"
PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([0-9][0-9A-Za-z.!]*)(?: ; [^;]+)?")  # no local label, no address
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(path):
    """Return what a file asks for: of each package its name, version and marker, then its hashes."""
    lines = (line.split("#")[0].strip() for line in path.read_text().replace("\\\n", " ").splitlines())
    return [re.split(r"\s+(?=--hash)", line) for line in lines if line]


def pins(name):
    found = [PIN.fullmatch(line) for line, *_ in requirements(ENVS / name)]
    return {normalised(pin[1]): pin[2] for pin in found}


def wanted(name):
    return {normalised(re.split(r"[\[=<>~]", line)[0]) for line, *_ in requirements(ENVS / name)}


HASHED = ["bootstrap", "requirements", *[f"requirements-{kind}" for kind in ("dev", "slurm", "audit", "docs")]]
BOOTSTRAP, TORCH = pins("bootstrap.lock"), pins("requirements-torch.lock")
RUN = pins("requirements.lock") | TORCH
DEV, SLURM, AUDIT, DOCS = (pins(f"requirements-{kind}.lock") for kind in ("dev", "slurm", "audit", "docs"))
ELSEWHERE = {"colorama", "pyreadline3"}  # for Windows only


def test_every_lock_is_looked_at():
    assert {path.stem for path in ENVS.glob("*.lock")} == {*HASHED, "requirements-torch"}


@pytest.mark.parametrize("name", [*HASHED, "requirements-torch"])
def test_every_line_is_an_exact_public_pin_with_its_hashes(name):
    lines = requirements(ENVS / f"{name}.lock")
    assert [line for line, *_ in lines if not PIN.fullmatch(line)] == []
    assert len(lines) == len(pins(f"{name}.lock")), "a package is pinned twice"
    for line, *hashes in lines:
        assert bool(hashes) == (name in HASHED), line
        assert [text for text in hashes if not HASH.fullmatch(text)] == [], line
    text = (ENVS / f"{name}.lock").read_text()
    assert "://" not in text
    assert "--" not in text.replace("--hash=", "")


def test_nothing_is_pinned_that_depends_on_the_machine():
    locked = RUN | DEV | SLURM | AUDIT | DOCS
    machine = {name for name in locked if name.startswith(("nvidia", "triton", "cuda"))}
    assert machine | ({"pip", "setuptools", "wheel"} & locked.keys()) == set()
    assert BOOTSTRAP.keys() == wanted("bootstrap.in") == {"pip", "setuptools"}
    assert TORCH.keys() == {"torch", "torchvision"}


def test_runtime_lock_holds_what_the_workflow_needs_and_no_test_tool():
    assert wanted("requirements.in") | wanted("requirements-torch.in") <= RUN.keys()
    for name, locked in (("dev", DEV), ("slurm", SLURM), ("audit", AUDIT), ("docs", DOCS)):
        assert wanted(f"requirements-{name}.in") <= locked.keys()
        assert not RUN.keys() & locked.keys() - ELSEWHERE
        assert DEV | locked == locked | DEV, "they may be installed together"


def test_locks_are_complete():
    """Every dependency of a locked package, on this platform, is locked too or brought by torch itself."""
    from packaging.requirements import Requirement

    locked = RUN | DEV
    missing = set()
    for name in locked.keys() - ELSEWHERE:
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                missing.add(normalised(needed.name))
    missing -= locked.keys()
    assert {name for name in missing if not name.startswith(("nvidia", "triton", "cuda"))} <= {"setuptools", "pip"}


def test_these_tests_run_in_the_locked_environment():
    locked = {name: version for name, version in (RUN | DEV).items() if name not in ELSEWHERE}
    assert {name: metadata.version(name).split("+")[0] for name in locked} == locked


@pytest.mark.parametrize("path", sorted(ENVS.glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environments_pin_what_the_lock_pins(path):
    dependencies = yaml.safe_load(path.read_text())["dependencies"]
    (pip,) = [entry["pip"] for entry in dependencies if isinstance(entry, dict)]
    assert pip
    assert {normalised(line.split("==")[0]): line.split("==")[1] for line in pip}.items() <= RUN.items()


@pytest.fixture
def install(tmp_path, monkeypatch):
    """The installer of a checkout with a space in its path and lock files that need no package."""
    folder = tmp_path / "a checkout"
    (folder / "envs").mkdir(parents=True)
    shutil.copy(ENVS / "install.py", folder / "envs")
    shutil.copytree(ENVS.parent / "workflow/launcher", folder / "workflow/launcher")  # what the installer uses of it
    library = "workflow/scripts/ddbias"
    shutil.copytree(ENVS.parent / library / "base", folder / library / "base")
    shutil.copy(ENVS.parent / library / "__init__.py", folder / library)
    for path in ENVS.glob("*.lock"):
        (folder / "envs" / path.name).write_text("# nothing\n")
    monkeypatch.chdir(folder)
    spec = importlib.util.spec_from_file_location("install", folder / "envs/install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(*arguments):
    done = subprocess.run([sys.executable, "envs/install.py", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


@pytest.mark.thorough
def test_environment_follows_its_lock(install):
    assert call("--check", "run")[0] == 1
    status, said = call("run")
    assert status == 0, said
    assert call("--check", "run")[0] == 0
    assert call("run") == (0, "")
    made = Path(".venv/bin/python").lstat().st_mtime_ns
    assert call("--check", "dev")[0] == 1
    assert call("dev")[0] == 0
    assert Path(".venv/bin/python").lstat().st_mtime_ns == made  # the test tools are added to the runtime packages
    assert call("--check", "dev")[0] == call("--check", "run")[0] == 0

    assert call("slurm")[0] == 0
    assert call("--check", "slurm")[0] == call("--check", "dev")[0] == 0  # additions do not disturb each other

    lock = Path("envs/requirements-dev.lock")
    lock.write_text(lock.read_text() + "./no-such-package\n")
    assert call("--check", "run")[0] == 0
    assert call("--check", "dev")[0] == 1
    status, said = call("dev")
    assert status == 1
    assert "could not install envs/requirements-dev.lock: ERROR: " in said
    assert "no-such-package" in said
    assert said.count("\n") == 2  # what it does, and why not
    assert not Path(".venv/ddbias-dev.stamp").exists(), "a partial installation must not count as whole"
    assert call("--check", "run")[0] == 0


def test_stamp_of_another_python_does_not_count(install, monkeypatch):
    Path(".venv").mkdir()
    install.stamp_path("run").write_text(install.expected_stamp("run"))
    assert install.is_current("run")
    assert not install.works()
    monkeypatch.setattr(sys, "version_info", (4, 0))
    assert not install.is_current("run")


def test_environment_of_a_live_run_is_not_replaced(install, capsys):
    Path(".venv").mkdir()
    descriptor = install.take_lock()
    assert install.main(["run"]) == 1
    assert f"another run (pid {os.getpid()}) is working in this folder" in capsys.readouterr().err
    assert not list(Path(".venv").iterdir())
    os.close(descriptor)


def test_a_removal_that_is_stopped_leaves_no_stamp(install, monkeypatch):
    """Half of the packages are gone then, but the Python of the environment still starts."""
    Path(".venv").mkdir()
    for kind in ("run", "dev"):
        install.stamp_path(kind).write_text(install.expected_stamp(kind))
    monkeypatch.setattr(install, "do", lambda *_, **__: sys.exit(143))
    with pytest.raises(SystemExit):
        install.ensure("dev")
    assert not list(Path(".venv").glob("*.stamp"))


def test_an_environment_of_another_folder_is_left_alone(install, capsys, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other/ddbias-run.stamp").write_text("of other locks\n")
    Path(".venv").symlink_to(tmp_path / "other")
    assert install.main(["dev"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert f".venv is a link to {tmp_path / 'other'}, which is not what these locks say" in said
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["ddbias-run.stamp"]


def test_missing_venv_module_is_one_line_with_a_remedy(install, monkeypatch, capfd):
    """As on a Debian without python3-venv."""
    python = Path("python").absolute()
    python.write_text("#!/bin/sh\necho 'ensurepip is not available.'\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    assert install.main(["run"]) == 1
    said = capfd.readouterr().err
    assert said.count("\n") == 1
    assert "ensurepip is not available. (on Debian and Ubuntu: apt-get install python3-venv" in said
    assert not Path(".venv").exists()


def test_what_snakemakes_report_imports_is_in_the_runtime_lock():
    """Snakemake does not name all of it among its dependencies."""
    report = Path(importlib.util.find_spec("snakemake").origin).parent / "report"
    imported = {
        name.split(".")[0]
        for path in report.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom) and not node.level
            else []
        )
    }
    packages = metadata.packages_distributions()
    outside = sorted(imported - sys.stdlib_module_names)
    assert "pygments" in outside
    assert {normalised(packages[name][0]) for name in outside} <= RUN.keys()
