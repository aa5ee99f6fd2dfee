"""`make estimate`: what a study takes, and what it took."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


def estimated(checkout, *options):
    """Return exit status and output of the command behind `make estimate`."""
    command = [sys.executable, "workflow/estimate.py", *options]
    done = subprocess.run(command, cwd=checkout.folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def counts(output):
    """Return jobs and done jobs of each stage."""
    return {
        name: (int(jobs), int(done)) for name, jobs, done in re.findall(r"^(\w+) +(\d+) +(\d+)\b", output, re.MULTILINE)
    }


@pytest.mark.thorough
def test_what_was_done_and_what_it_took(finished):
    status, output = estimated(finished, "--config=tiny.yaml", "--cores=3")
    assert status == 0
    made = {
        "synthesize_dataset": 1,
        "train_surrogate": 1,
        "estimate_weights": 1,
        "distill": 4,
        "train_attribute_model": 1,
    }
    made |= {"evaluate": 4, "measure_images": 1, "make_table": 1, "plot": 2, "write_report": 1, "together": 17}
    assert counts(output) == {name: (count, count) for name, count in made.items()}
    row = next(line for line in output.splitlines() if line.startswith("distill"))
    assert re.search(r"distill +4 +4 +\d+ s +\d+ s +\d+ MB$", row), row  # expected, taken, memory
    assert re.search(r"a core of this machine takes \d+\.\d\d times as long as that of the reference machine", output)
    assert "on the clock" not in output  # nothing is left

    for path in (finished / "results/tiny/quick/evaluations").rglob("convnet.parquet"):
        path.unlink()
    (finished / "results/tiny/quick/tables/main.csv").unlink()  # else Snakemake sees that nothing needs them
    status, output = estimated(finished, "--config=tiny.yaml", "--cores=3")
    assert counts(output)["evaluate"] == (4, 0)
    assert counts(output)["distill"] == (4, 4)
    assert finished.planned("tiny.yaml")["evaluate"] == 4
    assert "With 3 jobs at once (3 cores, 1 a job)" in output


def test_profile_and_scale(pristine, tmp_path):
    (tmp_path / "config.yaml").write_text("executor: slurm\njobs: 40\n")
    status, output = estimated(pristine, f"--profile={tmp_path}", "--scale=fast")
    assert status == 0
    assert output.startswith("digits at scale fast: 120 jobs, 0 done\n")
    assert f"With 40 jobs at once (profile {tmp_path}): about " in output
    assert counts(output)["distill"] == (50, 0)


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--profile=nowhere", "ddbias: there is no profile 'nowhere'; known profiles: "),
        ("--config=nothing.yaml", "ddbias: nothing.yaml: cannot be read ("),
        ("--scale=huge", "ddbias: config.yaml: scale = 'huge': must be one of"),
        ("--cores=0", "ddbias: CORES=0 is neither a positive number nor 'all'"),
        ("--profile=broken", "ddbias: broken/config.yaml is no YAML (while parsing a flow sequence"),
        ("--profile=list", "ddbias: list/config.yaml: a profile is a mapping of Snakemake's options such as executor"),
        ("--colour=red", "ddbias: unknown option --colour=red; known: --config=, --cores=, "),
    ],
)
def test_mistakes_are_one_line(checkout, option, line):
    for name, text in (("broken", "jobs: [3\n"), ("list", "- jobs: 3\n")):
        (checkout / name).mkdir()
        (checkout / name / "config.yaml").write_text(text)
    status, output = estimated(checkout, option)
    assert status == 1
    assert output.startswith(line)
    assert output.count("\n") == 1


@pytest.mark.parametrize("command", ["estimate", "status"])
def test_results_that_may_not_be_read_are_one_line(checkout, command):
    folder = checkout / "results/digits/quick"
    folder.mkdir(parents=True)
    folder.chmod(0)
    if os.access(folder, os.X_OK):
        pytest.skip("this user may read everything")
    status, output = checkout.finish(checkout.start(f"workflow/{command}.py"))
    assert status == 1
    assert output.startswith("ddbias: results/digits/quick/")
    assert output.endswith(" cannot be read (Permission denied); change its owner or rights and run again\n")
    assert output.count("\n") == 1


def test_an_interrupt_ends_it_without_a_traceback(pristine):
    process = pristine.start("workflow/estimate.py")
    while "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text():  # it is loading, or measures
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert pristine.finish(process) == (-signal.SIGINT, "")
