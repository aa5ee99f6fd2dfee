import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from ddbias.base.environment import RUN_PID
from ddbias.base.errors import DdbiasError, unknown
from ddbias.runtime import job

SCRIPTS = Path(job.__file__).parents[2]


class OutOfMemoryError(RuntimeError):
    """Stands for torch's, which only a GPU raises."""


def allocation_failure():
    with pytest.raises(RuntimeError) as error:
        torch.empty(10**15)
    return error.value


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DdbiasError("ratio is 1.2"), "ratio is 1.2"),
        (unknown("init", "reel", ["real"]), "unknown init 'reel'; known: real. Did you mean 'real'?"),
        (
            OSError(errno.ENOSPC, "No space left on device", "a/b.arrow"),
            "the disk is full while writing a/b.arrow; free some space and run again, finished work is kept",
        ),
        (OSError(errno.ENOSPC, "x"), "the disk is full; free some space and run again, finished work is kept"),
        (OSError(errno.EDQUOT, "x"), "the disk is full; free some space and run again, finished work is kept"),
        (
            PermissionError(errno.EACCES, "Permission denied", "a/b.arrow"),
            "no permission for a/b.arrow; change its owner or rights and run again",
        ),
        (
            OSError(errno.EROFS, "Read-only file system", "a/b.arrow"),
            "a/b.arrow is on a read-only file system; make it writable, or work in a copy",
        ),
        (PermissionError(), "no permission for a file; change its owner or rights and run again"),
    ],
)
def test_what_a_user_can_mend_is_one_line(error, line):
    assert job.explain(error) == line


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        OutOfMemoryError("CUDA out of memory."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
    ],
)
def test_memory(error):
    line = "not enough memory; run fewer jobs at once (--cores 1, GPU: DDBIAS_JOBS_PER_GPU=1) or a smaller batch"
    assert job.explain(error) == line
    assert job.explain(allocation_failure()) == line


@pytest.mark.parametrize(
    "error", [ValueError("x"), KeyError("x"), RuntimeError("shapes"), FileNotFoundError(errno.ENOENT, "x"), OSError()]
)
def test_a_defect_has_no_explanation(error):
    assert job.explain(error) is None


def run(error, log, monkeypatch, plugins=None):
    def main(snakemake):
        if error is not None:
            raise error

    monkeypatch.delenv(RUN_PID, raising=False)
    job.run(main, SimpleNamespace(rule="distill", log=[str(log)], config={"plugins": plugins or []}))


def test_a_mistake_ends_with_one_line_in_log_and_stderr(tmp_path, monkeypatch, capsys, log_lines):
    with pytest.raises(SystemExit) as end:
        run(DdbiasError("ratio is 1.2"), tmp_path / "log.txt", monkeypatch)
    assert end.value.code == 1
    assert capsys.readouterr().err == "ddbias: ratio is 1.2\n"
    (line,) = (tmp_path / "log.txt").read_text().splitlines()
    assert line.endswith(" ddbias: ratio is 1.2")


def test_a_defect_ends_with_its_traceback(tmp_path, monkeypatch, capsys, log_lines):
    with pytest.raises(SystemExit) as end:
        run(KeyError("images"), tmp_path / "log.txt", monkeypatch)
    assert end.value.code == 1
    for text in (capsys.readouterr().err, (tmp_path / "log.txt").read_text()):
        assert "ddbias: this is a defect in distill, please report it with the lines below" in text
        assert "Traceback (most recent call last)" in text
        assert "KeyError: 'images'" in text


def test_a_plug_in_that_is_gone_is_one_line(tmp_path, monkeypatch, capsys, log_lines):
    with pytest.raises(SystemExit):
        run(None, tmp_path / "log.txt", monkeypatch, plugins=["gone.py"])
    says = "ddbias: plug-in gone.py: no such file or folder; paths are relative to the working directory\n"
    assert capsys.readouterr().err == says


def test_success_says_nothing(tmp_path, monkeypatch, capsys, log_lines):
    run(None, tmp_path / "log.txt", monkeypatch)
    assert capsys.readouterr().err == ""
    assert (tmp_path / "log.txt").read_text() == ""


def test_a_log_that_cannot_be_written_is_one_line(tmp_path, monkeypatch, capsys, log_lines):
    def refuse(*_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", "logs/log.txt")

    monkeypatch.setattr("logging.FileHandler._open", refuse)
    with pytest.raises(SystemExit):
        run(None, tmp_path / "log.txt", monkeypatch)
    assert (
        capsys.readouterr().err == "ddbias: no permission for logs/log.txt; change its owner or rights and run again\n"
    )


def test_stopping_a_job_is_no_defect(tmp_path, monkeypatch, log_lines):
    with pytest.raises(SystemExit) as stopped:  # without a traceback
        run(KeyboardInterrupt(), tmp_path / "log.txt", monkeypatch)
    assert stopped.value.code == 130
    assert (tmp_path / "log.txt").read_text() == ""


# ---- SIGTERM, and dying with the run --------------------------------------------------------------------------------

JOB = """
import os, sys, time
from types import SimpleNamespace
from ddbias.data import store
from ddbias.runtime import job
if "poll" in sys.argv and hasattr(os, "pidfd_open"):  # as where there is no pidfd
    del os.pidfd_open

def main(snakemake):
    if "complete" in sys.argv:
        return
    with store.whole("output") as part:
        part.write_text("half")
        print("working", flush=True)
        time.sleep(60)

job.run(main, SimpleNamespace(rule="distill", log=[], config={"plugins": []}))
if "complete" in sys.argv:  # as while the interpreter ends
    print("working", flush=True)
    time.sleep(0.5)
"""


@pytest.fixture
def start():
    """Start processes that are gone at the end of the test."""
    processes = []

    def begin(*command, **options):
        process = subprocess.Popen(command, text=True, **options)
        processes.append(process)
        return process

    yield begin
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def begin_job(start, tmp_path):
    """`begin_job(run_pid, *arguments)` starts a job in `tmp_path`, which belongs to the run of that process."""

    def begin(run_pid, *arguments):
        environment = {**os.environ, RUN_PID: str(run_pid), "PYTHONPATH": str(SCRIPTS)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return start(sys.executable, "-c", JOB, *arguments, env=environment, cwd=tmp_path, **pipes)

    return begin


def test_sigterm_ends_a_job_and_removes_its_part_files(begin_job, tmp_path):
    process = begin_job(os.getpid())
    assert process.stdout.readline() == "working\n"
    assert list(tmp_path.iterdir())
    process.terminate()
    _, said = process.communicate(timeout=5)
    assert process.returncode == 143
    assert said == "ddbias: stopped by SIGTERM; finished work is kept, run again to go on\n"
    assert list(tmp_path.iterdir()) == []


def test_sigterm_after_the_outputs_are_complete_is_a_success(begin_job):
    """The state is deleted by then, so a failure would cost the whole job."""
    process = begin_job(os.getpid(), "complete")
    assert process.stdout.readline() == "working\n"
    process.terminate()
    _, said = process.communicate(timeout=5)
    assert (process.returncode, said) == (0, "")


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="pidfd exists on Linux only")
def test_a_job_dies_with_its_run(start, begin_job):
    run_process = start("sleep", "60")
    process = begin_job(run_process.pid)
    assert process.stdout.readline() == "working\n"
    assert process.poll() is None
    run_process.kill()
    began = time.monotonic()
    assert process.wait(timeout=2) == -signal.SIGKILL
    assert time.monotonic() - began < 2


def test_a_job_dies_with_its_run_where_it_has_to_poll(start, begin_job):
    run_process = start("sleep", "60")
    process = begin_job(run_process.pid, "poll")
    assert process.stdout.readline() == "working\n"
    run_process.kill()
    run_process.wait()
    assert process.wait(timeout=5) == -signal.SIGKILL


def test_a_job_whose_run_is_gone_ends_at_once(start, begin_job):
    gone = start("true")
    gone.wait()
    process = begin_job(gone.pid)
    assert process.wait(timeout=5) == -signal.SIGKILL


def test_a_job_lives_while_its_run_lives(begin_job):
    process = begin_job(os.getpid())
    assert process.stdout.readline() == "working\n"
    time.sleep(0.3)
    assert process.poll() is None


def test_the_folder_of_the_scripts_is_looked_into_last(monkeypatch):
    """So that an installed package may be called like a script."""
    monkeypatch.setattr(sys, "path", [str(SCRIPTS), "elsewhere", str(SCRIPTS)])
    job.put_scripts_last()
    assert sys.path == ["elsewhere", str(SCRIPTS)]
