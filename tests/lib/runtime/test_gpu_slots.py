"""One GPU for each job that asks for one: shared by real processes, which are killed, too."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ddbias.base.environment import GPU_SLOTS
from ddbias.base.errors import DdbiasError
from ddbias.runtime import gpu_slots

SCRIPTS = Path(gpu_slots.__file__).parents[2]
# Takes a slot, says which GPU it sees and what it has imported, and works until its input ends.
JOB = """
import os, sys
from ddbias.runtime import gpu_slots
from ddbias.base.log import log_to
log_to(None)
gpu_slots.take({"gpu": 1})
print(os.environ["CUDA_VISIBLE_DEVICES"], "torch" in sys.modules, flush=True)
if "fork" in sys.argv and os.fork() == 0:
    os.execvp("sh", ["sh", "-c", "exec sleep 5 <&- >&- 2>&-"]) if "exec" in sys.argv else sys.stdin.read()
    os._exit(0)
sys.stdin.readline()
"""


@pytest.fixture
def shared(tmp_path, monkeypatch):
    """Tell this process and those it starts what to share."""

    def tell(*gpus, jobs_per_gpu=1):
        told = {"gpus": gpus, "jobs_per_gpu": jobs_per_gpu, "folder": str(tmp_path / "slots")}
        monkeypatch.setenv(GPU_SLOTS, json.dumps(told))

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tell


class Job:
    """A process that holds a slot, or waits for one."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [sys.executable, "-c", JOB, *arguments],
            env={**os.environ, "PYTHONPATH": str(SCRIPTS)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def gpu(self):
        """Wait until it has a GPU."""
        gpu, torch = self.process.stdout.readline().split()
        assert torch == "False", "torch was imported before the job saw its GPU"
        return gpu

    def waits(self):
        """Wait until it says that it waits."""
        line = self.process.stderr.readline()
        assert line.startswith("waiting for a GPU"), line
        return line

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait()


@pytest.fixture
def job():
    """Start jobs that are gone at the end of the test."""
    jobs = []

    def begin(*arguments):
        jobs.append(Job(*arguments))
        return jobs[-1]

    yield begin
    for started in jobs:
        started.process.kill()
        started.process.communicate()


def test_concurrent_jobs_have_gpus_of_their_own(shared, job):
    shared("GPU-a", "GPU-b", "MIG-GPU-c/1/0")
    assert {started.gpu() for started in [job() for _ in range(3)]} == {"GPU-a", "GPU-b", "MIG-GPU-c/1/0"}


def test_two_jobs_on_each_of_two_gpus_and_one_that_waits(shared, job):
    shared("GPU-a", "GPU-b", jobs_per_gpu=2)
    first = [job(), job()]
    assert {started.gpu() for started in first} == {"GPU-a", "GPU-b"}, "shared before every GPU has a job"
    second = [job(), job()]
    assert {started.gpu() for started in second} == {"GPU-a", "GPU-b"}
    late = job()
    assert "all 4 slots" in late.waits()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_job_frees_its_gpu(shared, job, how):
    shared("GPU-a")
    first, second = job(), None
    assert first.gpu() == "GPU-a"
    second = job()
    second.waits()
    began = time.monotonic()
    first.end(how)
    assert second.gpu() == "GPU-a"
    assert time.monotonic() - began < 10 * gpu_slots.SECONDS


@pytest.mark.parametrize("child", [["fork"], ["fork", "exec"]])
def test_what_a_killed_job_leaves_behind_holds_no_gpu(shared, job, child):
    shared("GPU-a")
    first = job(*child)
    assert first.gpu() == "GPU-a"
    time.sleep(0.2)
    first.end(signal.SIGKILL)
    assert job().gpu() == "GPU-a"


def test_slots_lie_in_a_locked_folder_of_the_user(shared, job, tmp_path):
    shared("MIG-GPU-a/1/0")
    assert job().gpu() == "MIG-GPU-a/1/0"
    folder = tmp_path / "slots"
    assert [path.name for path in folder.iterdir()] == ["MIG-GPU-a_1_0.0"]
    assert folder.stat().st_mode & 0o777 == 0o700
    descriptor = os.open(folder, os.O_RDONLY)
    with pytest.raises(BlockingIOError):  # as a program that clears away old files would find it
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_a_job_that_asks_for_no_gpu_sees_none(shared, monkeypatch, tmp_path):
    shared("GPU-a")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    gpu_slots.take({"gpu": 0})
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert not (tmp_path / "slots").exists()


def test_where_a_scheduler_gives_devices_nothing_is_done(shared, monkeypatch, tmp_path):
    monkeypatch.delenv(GPU_SLOTS, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    gpu_slots.take({"gpu": 1})
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_used_is_one_line(shared, tmp_path):
    shared("GPU-a")
    (tmp_path / "slots").touch()
    with pytest.raises(
        DdbiasError, match=r"the GPU slots in \S+/slots cannot be used \(.+\); remove that folder, or set"
    ):
        gpu_slots.take({"gpu": 1})
    (tmp_path / "slots").unlink()
    (tmp_path / "slots").symlink_to(tmp_path)
    with pytest.raises(DdbiasError, match="it is a link"):
        gpu_slots.take({"gpu": 1})
