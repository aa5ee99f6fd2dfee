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

ROOT = Path(__file__).resolve().parents[1]
ENVS = ROOT / "envs"
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9A-Za-z.!]*")  # no local label, marker, hash or address


def normalised(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements(path):
    lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def pins(path):
    lines = [line for line in requirements(path) if not line.startswith("-r ")]
    return {normalised(line.split("==")[0]): line.split("==")[1] for line in lines}


def wanted(path):
    return {normalised(re.split("[=<>~]", line)[0]) for line in requirements(path) if not line.startswith("-r ")}


RUN, DEV = pins(ENVS / "requirements.lock"), pins(ENVS / "requirements-dev.lock")
SLURM = pins(ENVS / "requirements-slurm.lock")
ADDITIONS = ["requirements-dev.lock", "requirements-slurm.lock"]


@pytest.mark.parametrize("name", ["requirements.lock", *ADDITIONS])
def test_every_line_is_an_exact_public_pin(name):
    lines = requirements(ENVS / name)
    if name in ADDITIONS:
        assert lines.pop(0) == "-r requirements.lock"
    assert [line for line in lines if not PIN.fullmatch(line)] == []
    assert len(lines) == len(pins(ENVS / name)), "a package is pinned twice"
    text = (ENVS / name).read_text()
    assert "://" not in text
    assert "--" not in text


def test_nothing_is_pinned_that_depends_on_the_machine():
    machine = {name for name in RUN | DEV | SLURM if name.startswith(("nvidia", "triton", "cuda"))}
    assert machine | ({"pip", "setuptools", "wheel"} & (RUN | DEV | SLURM).keys()) == set()


def test_runtime_lock_holds_what_the_workflow_needs_and_no_test_tool():
    assert wanted(ENVS / "requirements.in") <= RUN.keys()
    tools = wanted(ENVS / "requirements-dev.in")
    assert tools <= DEV.keys()
    assert not tools & RUN.keys()
    assert not RUN.keys() & DEV.keys()
    assert wanted(ENVS / "requirements-slurm.in") <= SLURM.keys()
    assert not RUN.keys() & SLURM.keys()


def test_locks_are_complete():
    """Every dependency of a locked package, on this platform, is locked too or brought by torch itself."""
    from packaging.requirements import Requirement

    locked = RUN | DEV
    missing = set()
    for name in locked:
        for line in metadata.requires(name) or []:
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                missing.add(normalised(needed.name))
    missing -= locked.keys()
    assert {name for name in missing if not name.startswith(("nvidia", "triton", "cuda"))} <= {"setuptools", "pip"}


def test_these_tests_run_in_the_locked_environment():
    found = {name: metadata.version(name).split("+")[0] for name in RUN | DEV}
    assert found == RUN | DEV


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
    (folder / "envs/requirements.lock").write_text("# nothing\n")
    for name in ADDITIONS:
        (folder / "envs" / name).write_text("-r requirements.lock\n")
    monkeypatch.chdir(folder)
    spec = importlib.util.spec_from_file_location("install", folder / "envs/install.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def call(*arguments):
    done = subprocess.run([sys.executable, "envs/install.py", *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stderr


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
