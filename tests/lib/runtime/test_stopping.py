"""Jobs in processes of their own, asked to stop at every moment of their lives; without torch, which loads slowly."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ddbias.base.environment import RUN_PID
from ddbias.runtime import job, stopping

SCRIPTS = Path(job.__file__).parents[2]
SECONDS = 10  # what a job has for its end
# A rule's script whose loop keeps a state as `ddbias.runtime.checkpoint` does; `case` says what the job does.
JOB = """
import hashlib, os, signal, sys, threading, time
from pathlib import Path
from types import SimpleNamespace
from ddbias.data import store
from ddbias.runtime import job, stopping
from ddbias.base.log import logger

case = sys.argv[1]
stopping.GRACE, stopping.UNWINDING, stopping.FROZEN = 1.0, 0.5, 0.5

def working():
    print("working", flush=True)

def native():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)  # some minutes in which no Python runs

def loop(endless_at):
    stopping.resumed(1000)
    for step in range(1000, 100_000):
        if step == endless_at:
            working()
            native()
        time.sleep(0.01)
        stopping.stepped()
        if stopping.asked():
            store.write_bytes("state", str(step + 1).encode())
            stopping.saved(step + 1)
        if step == 1010:
            working()

def main(snakemake):
    if case == "steps":
        loop(None)
    if case == "a long step":
        loop(1005)
    if case == "a long first step":
        loop(1000)
    if case == "frozen":
        logger.handlers[0].acquire()
        loop(1005)
    if case == "no state":
        with store.whole("output") as part:
            part.write_text("half")
            working()
            time.sleep(60)
    if case == "native, no state":
        working()
        native()
    if case == "deaf":
        working()
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass
    if case == "consequence":
        stopping.stepped()
        working()
        while not stopping.asked():
            time.sleep(0.01)
        raise ConnectionError("the worker was stopped too")
    if case == "complete":
        Path("output").write_text("whole")
        stopping.complete()
        working()
        time.sleep(1)
    if case == "in time":
        stopping.stepped()
        working()
        while not stopping.asked():
            time.sleep(0.01)
        Path("output").write_text("whole")
    if case == "fork":
        for _ in range(20):
            child = os.fork()
            if child == 0:
                time.sleep(5)
                os._exit(1)
            os.kill(child, signal.SIGTERM)  # at once: the child may not have run yet
            assert os.waitpid(child, 0)[1] == signal.SIGTERM
        time.sleep(0.8)  # longer than the job would have after a signal to itself
        print("complete", flush=True)

if case == "imports":
    working()
    time.sleep(60)
job.run(main, SimpleNamespace(rule="distill", log=["log.txt"], config={"plugins": []}))
if case == "ending":
    working()
    time.sleep(0.5)
"""


@pytest.fixture
def begin(tmp_path):
    """Start a job in `tmp_path` and wait until it works; it is gone at the end of the test."""
    started = []

    def start(case, **variables):
        environment = {name: value for name, value in os.environ.items() if name != RUN_PID}
        process = subprocess.Popen(
            [sys.executable, "-c", JOB, case],
            cwd=tmp_path,
            env={**environment, "PYTHONPATH": str(SCRIPTS), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout.readline() == "working\n", process.communicate()[1]
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def stop(process):
    """Send SIGTERM; return the status, what was said, and after how many seconds."""
    began = time.monotonic()
    process.terminate()
    _, said = process.communicate(timeout=SECONDS)
    return process.returncode, said, time.monotonic() - began


def test_the_state_is_written_at_the_end_of_the_step(begin, tmp_path):
    status, said, _ = stop(begin("steps"))
    assert status == stopping.STATUS == 143
    step = int((tmp_path / "state").read_text())
    assert step > 1010
    line = f"ddbias: stopped by SIGTERM at step {step:,}; the state is kept, run again to go on"
    assert said == f"{line}\n"
    assert re.fullmatch(rf"\d\d:\d\d:\d\d {line}\n", (tmp_path / "log.txt").read_text())


def test_asked_twice_is_asked_once(begin, tmp_path):
    process = begin("steps")
    process.terminate()
    status, said, _ = stop(process)
    assert status == 143
    assert said.count("\n") == 1
    assert (tmp_path / "state").exists()


@pytest.mark.parametrize("case", ["a long step", "a long first step"])
def test_a_step_that_takes_too_long_is_given_up(begin, tmp_path, case):
    status, said, _ = stop(begin(case))
    assert status == 143
    assert said == "ddbias: stopped by SIGTERM; the state of step 1,000 is kept, run again to go on\n"
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("case", ["no state", "native, no state", "deaf"])
def test_without_a_state_the_job_ends_at_once(begin, tmp_path, case):
    status, said, _ = stop(begin(case))
    assert status == 143
    assert said == "ddbias: stopped by SIGTERM; there is no state to go on from, run again to start over\n"
    assert [path.name for path in tmp_path.iterdir()] == ["log.txt"]  # no part of an output


def test_during_its_imports_a_job_ends_as_any_process(begin, tmp_path):
    status, _, seconds = stop(begin("imports"))
    assert status == -signal.SIGTERM
    assert seconds < 1.5
    assert list(tmp_path.iterdir()) == []


def test_a_process_that_cannot_even_leave_is_ended_by_the_kernel(begin):
    assert stop(begin("frozen"))[0] == -signal.SIGALRM


def test_an_error_that_follows_from_the_stop_is_no_defect(begin):
    status, said, _ = stop(begin("consequence"))
    assert status == 143
    assert said == "ddbias: stopped by SIGTERM; there is no state to go on from, run again to start over\n"


@pytest.mark.parametrize("case", ["complete", "in time"])
def test_complete_outputs_are_a_success(begin, tmp_path, case):
    assert stop(begin(case))[:2] == (0, "")
    assert (tmp_path / "output").read_text() == "whole"


def test_the_end_of_the_interpreter_is_not_disturbed(begin):
    assert stop(begin("ending"))[:2] == (0, "")


def test_a_stopped_child_stops_nothing_else(begin, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS)}
    call = [sys.executable, "-c", JOB, "fork"]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "complete\n"), done.stderr


@pytest.fixture
def run_process():
    """Stands for the Snakemake that a job belongs to."""
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


def test_a_job_whose_run_is_gone_writes_its_state_first(begin, tmp_path, run_process):
    process = begin("steps", **{RUN_PID: str(run_process.pid)})
    run_process.kill()
    _, said = process.communicate(timeout=5)
    assert process.returncode == 143
    step = int((tmp_path / "state").read_text())
    assert said == f"ddbias: stopped by the end of its run at step {step:,}; the state is kept, run again to go on\n"


@pytest.mark.parametrize("told", [False, True])
def test_but_it_gets_no_more_than_a_moment(begin, run_process, told):
    process = begin("a long step", **{RUN_PID: str(run_process.pid)})
    if told:
        process.terminate()
    run_process.kill()
    # Told before, it may leave by itself within these seconds.
    assert process.wait(timeout=5) in (-signal.SIGKILL, 143)


def test_the_published_limits():
    """Ten seconds in all, also for a process that the kernel has to end."""
    assert stopping.GRACE + stopping.FROZEN < SECONDS
    assert stopping.UNWINDING < stopping.GRACE
