"""The Makefile's own command lines, in a checkout with a space in its path."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def make():
    """Run `make` in a checkout as a user does, with the environment in which these tests run."""
    if Path(sys.prefix) != ROOT / ".venv":
        pytest.skip("these tests do not run in the .venv that make sets up")

    def call(checkout, *arguments):
        if not (checkout / ".venv").exists():
            (checkout / ".venv").symlink_to(ROOT / ".venv")
        kept = {"PATH", "HOME", "LANG", "OMP_NUM_THREADS"}
        variables = {name: value for name, value in os.environ.items() if name in kept}
        done = subprocess.run(
            ["make", *arguments],
            cwd=checkout.folder,
            env=variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout

    return call


def test_clean_and_distclean(checkout, make):
    shutil.rmtree(checkout / ".snakemake", ignore_errors=True)  # of those who looked at the pristine copy
    status, output = make(checkout, "clean")
    assert (status, output) == (0, "ddbias: nothing to clean\n")
    for folder in ("results/tiny", ".snakemake/log", ".pytest_cache"):
        (checkout / folder).mkdir(parents=True)
    status, output = make(checkout, "clean")
    assert (status, output) == (0, "ddbias: removing results/ and .snakemake/\n")
    assert not (checkout / "results").exists()
    assert not (checkout / ".snakemake").exists()
    (checkout / "results").mkdir()
    status, output = make(checkout, "distclean")
    assert status == 0, output
    assert not [name for name in ("results", ".venv", ".pytest_cache") if (checkout / name).exists()]
    assert (ROOT / ".venv").exists(), "a link goes, not what it leads to"


def test_what_works_on_a_study(finished, make, tmp_path):
    config = "CONFIG=tiny.yaml"
    status, output = make(finished, "run", config, "CORES=2")
    assert status == 0, output
    assert "Nothing to be done" in output
    status, output = make(finished, "export", config, f"TO={tmp_path / 'exported sets'}")
    assert status == 0, output
    assert (tmp_path / "exported sets/huggingface/README.md").is_file()
    status, output = make(finished, "status", config)
    assert status == 0, output
    assert output.startswith("tiny quick: 17 of 17 jobs done")
    status, output = make(finished, "run", "CONFIG=tiny.yml")
    assert status != 0
    assert "there is no configuration file 'tiny.yml'" in output


@pytest.mark.parametrize("has_python", [False, True])
def test_status_before_and_during_the_first_installation(checkout, make, has_python):
    (checkout / ".venv/bin").mkdir(parents=True)
    if has_python:  # bare, as pip finds it
        (checkout / ".venv/bin/python").symlink_to(Path(sys.base_prefix) / "bin/python3")
    status, output = make(checkout, "status")
    assert status != 0
    line, *others = output.splitlines()
    assert line == "ddbias: nothing was run here yet, or what runs need is still being installed; make run does both"
    assert [word for word in others if not word.startswith("make: ")] == []


@pytest.mark.thorough
def test_what_tells_about_a_study(finished, make, tmp_path):
    config = "CONFIG=tiny.yaml"
    status, output = make(finished, "estimate", config)
    assert status == 0, output
    assert "together" in output
    for target in ("check-data", "report"):
        status, output = make(finished, target, config)
        assert status == 0, output
    status, output = make(finished, "ledger", config, f"TO={tmp_path / 'a ledger'}")
    assert status == 0, output
    assert (tmp_path / "a ledger/ledger.html").is_file()


def test_test_runs_a_part(checkout, make):
    status, output = make(checkout, "test", "ARGS=-n 0 tests/lib/base/test_seeding.py")
    assert status == 0, output
    assert " passed" in output
