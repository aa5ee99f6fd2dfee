"""Killing is expected: nothing outlives its run, nothing is lost, and the result is the same to the last bit."""

import os
import signal
import time
from pathlib import Path

import pytest
import yaml

LONG = 600  # steps of the distiller that is killed: some seconds, ten times what passes before it is
FOLDER = "distilled/digits_fg/0.95/long/uniform/ipc1/seed0"
RESULTS = Path("results/tiny/quick")
STATE = RESULTS / "state" / f"{FOLDER}.safetensors"
LOG = RESULTS / "logs" / f"{FOLDER.replace('distilled', 'distill', 1)}.log"
SAID = "ddbias: stopped by SIGTERM; finished work is kept, run again to go on"
DISTILLED = str(RESULTS / FOLDER / "distilled.safetensors")
SAME = ("tables/main.csv", f"{FOLDER}/distilled.safetensors", f"{FOLDER}/history.parquet")


def prepare(checkout):
    """Add a long distiller to the finished tiny study; the table shows it alone."""
    study = yaml.safe_load((checkout / "tiny.yaml").read_text())
    study["distillers"]["long"] = study["distillers"]["dm"] | {"iterations": {"quick": LONG}, "augment": "none"}
    study["grid"] = [study["grid"][0] | {"distillers": ["long"], "debias": ["uniform"]}]
    study["figures"] = {}
    checkout.study("long.yaml", **study)
    return checkout


@pytest.fixture(scope="module")
def undisturbed(finished_run, tmp_path_factory):
    """What a run that nobody disturbs makes."""
    checkout = prepare(finished_run.copy(tmp_path_factory.mktemp("undisturbed") / "a checkout"))
    status, output = checkout.run("long.yaml", "tables", DDBIAS_STATE_SECONDS="0.2")
    assert status == 0, output
    assert not (checkout / STATE).exists()
    assert "going on" not in (checkout / LOG).read_text()
    return {path: (checkout / RESULTS / path).read_bytes() for path in SAME}


@pytest.fixture
def running(finished):
    """A run whose distiller has saved a state and works on."""
    checkout = prepare(finished)
    process = checkout.start_run("long.yaml", "tables", DDBIAS_STATE_SECONDS="0.2")
    deadline = time.monotonic() + 60
    while not (checkout / STATE).exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline, "no state was saved"
        time.sleep(0.02)
    yield checkout, process
    for pid in processes(checkout):
        os.kill(pid, signal.SIGKILL)


def processes(checkout):
    """Return (pid: command) of all living processes that work in the checkout."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(folder / "cwd")) == checkout.folder:  # a zombie has no folder any more
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended meanwhile
            continue
    return found


def gone(checkout, seconds):
    """Wait until nothing works in the checkout any more."""
    deadline = time.monotonic() + seconds
    while processes(checkout) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not processes(checkout)


def complete(checkout, undisturbed, target="tables"):
    """Run again, to the end or to the distilled set, and compare with the undisturbed run."""
    assert not (checkout / RESULTS / FOLDER / "distilled.safetensors").exists()
    status, output = checkout.run("long.yaml", target)
    assert status == 0, output
    assert "resuming from step" in (checkout / LOG).read_text()
    assert not (checkout / STATE).exists()
    for path in SAME if target == "tables" else SAME[1:]:
        assert (checkout / RESULTS / path).read_bytes() == undisturbed[path], path
    assert not list((checkout / "results").rglob(".*.part"))
    assert checkout.planned("long.yaml", target) == {}


def script(checkout):
    """Return the id of the interpreter of the running script, not of the shell that Snakemake puts around it."""
    scripts = [pid for pid, command in processes(checkout).items() if ".snakemake/scripts/" in command]
    (job,) = [pid for pid in scripts if "python" in os.readlink(f"/proc/{pid}/exe")]
    return job


@pytest.mark.thorough
def test_jobs_end_with_a_killed_snakemake(running, undisturbed):
    checkout, process = running
    assert len(processes(checkout)) > 1
    process.kill()
    assert gone(checkout, 2), processes(checkout)
    complete(checkout, undisturbed, DISTILLED)


@pytest.mark.thorough
def test_killed_group(running, undisturbed):
    checkout, process = running
    os.killpg(process.pid, signal.SIGKILL)
    assert gone(checkout, 2), processes(checkout)
    complete(checkout, undisturbed)


@pytest.mark.thorough
def test_killed_job(running, undisturbed):
    checkout, process = running
    os.kill(script(checkout), signal.SIGKILL)
    status, output = checkout.finish(process)
    assert status != 0
    assert "distill" in output
    assert gone(checkout, 2), processes(checkout)
    complete(checkout, undisturbed, DISTILLED)


@pytest.mark.thorough
@pytest.mark.parametrize("group", [False, True])
def test_a_job_that_is_stopped_ends_at_once_and_says_so(running, undisturbed, group):
    """The last state is kept."""
    checkout, process = running
    os.killpg(process.pid, signal.SIGTERM) if group else os.kill(script(checkout), signal.SIGTERM)
    began = time.monotonic()
    status, output = checkout.finish(process)
    assert status != 0
    assert time.monotonic() - began < 10
    assert gone(checkout, 2), processes(checkout)
    assert SAID in (checkout / LOG).read_text()
    assert SAID in output  # without opening a log
    assert "Traceback" not in (checkout / LOG).read_text()
    complete(checkout, undisturbed, DISTILLED)


@pytest.mark.thorough
def test_a_stopped_snakemake_lets_its_job_finish(running):
    checkout, process = running
    process.terminate()
    assert checkout.finish(process)[0] != 0
    assert gone(checkout, 2), processes(checkout)
    assert (checkout / RESULTS / FOLDER / "distilled.safetensors").exists()
    assert not (checkout / STATE).exists()
    assert not (checkout / RESULTS / FOLDER.replace("distilled", "evaluations")).exists()  # what would come next


def test_an_edit_of_the_study_waits_for_the_next_run(running, undisturbed):
    """Jobs that start after it have the settings that they are recorded with."""
    checkout, process = running
    study = (checkout / "long.yaml").read_text()
    edited = yaml.safe_load(study)
    edited["evaluations"]["convnet"]["epochs"]["quick"] = 2
    checkout.study("long.yaml", **edited)
    status, output = checkout.finish(process)
    assert status == 0, output
    for path in SAME:
        assert (checkout / RESULTS / path).read_bytes() == undisturbed[path], path
    assert checkout.planned("long.yaml", "tables")["evaluate"] == 1
    (checkout / "long.yaml").write_text(study)
    assert checkout.planned("long.yaml", "tables") == {}


def test_interrupt_ends_the_jobs_and_keeps_the_state(running):
    checkout, process = running
    os.killpg(process.pid, signal.SIGINT)  # Ctrl-C in a terminal
    assert checkout.finish(process)[0] != 0
    assert gone(checkout, 2), processes(checkout)
    assert not (checkout / RESULTS / FOLDER / "distilled.safetensors").exists()
    assert (checkout / STATE).exists()
