"""Ending within ten seconds of SIGTERM, which SLURM and other services send before they kill.

The first of these that is possible ends the job:

1. the end of the step under way: `ddbias.runtime.checkpoint` writes the state and raises `Stopped`;
2. where there is nothing to write (no state kept, or no step done since the last one): `Stopped` is raised at once;
3. a thread that leaves the process after `GRACE` seconds. Python runs a signal handler between two instructions of
   the main thread only, and one call of torch may take minutes. What was under way then is lost, the last state is not.

Once the outputs are complete, SIGTERM is too late to matter: the job succeeds.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from types import FrameType

from ddbias.base.log import logger

STATUS = 128 + signal.SIGTERM  # 143: what a shell says of a process that SIGTERM ended
GRACE = 8.0  # seconds for the step under way and for writing the state
UNWINDING = 2.0  # seconds for leaving a job that has nothing to write: part files are removed on the way
FROZEN = 1.0  # seconds after which the kernel ends a process that could not even leave


class Stopped(BaseException):
    """The job was asked to stop; its message is one line. No Exception, so that nothing takes it for a failed try."""


class _Job:
    """What the main thread has done and was told; the others read it."""

    def __init__(self) -> None:
        self.reason: str | None = None  # why it has to stop
        self.saved: int | None = None  # steps in the last state
        self.unsaved = 0  # steps done since
        self.complete = False
        self.leaving = threading.Lock()  # held by who decides between complete and stopped

    def last_words(self) -> str:
        if self.saved is None:
            return f"stopped by {self.reason}; there is no state to go on from, run again to start over"
        return f"stopped by {self.reason}; the state of step {self.saved:,} is kept, run again to go on"


_job = _Job()
_wakeup: int | None = None  # the end of a pipe that C writes to when a signal arrives


def listen() -> None:
    """Stop on SIGTERM from now on; for the main thread, as the first thing of a job."""
    global _job, _wakeup
    _job = _Job()
    read, _wakeup = os.pipe()
    os.set_blocking(_wakeup, False)
    signal.set_wakeup_fd(_wakeup, warn_on_full_buffer=False)
    threading.Thread(target=_leave_in_time, args=(read, _job), name="stopping", daemon=True).start()
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, _on_signal)


def ignore() -> None:
    """Ignore SIGTERM from now on: the process ends by itself, for a reason of its own."""
    global _wakeup
    complete()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # not Python's to handle, so it holds while the interpreter ends
    if _wakeup is not None:
        signal.set_wakeup_fd(-1)
        os.close(_wakeup)
        _wakeup = None


def _before_fork() -> None:
    if _wakeup is not None:  # a signal to the new process waits until that one handles it itself
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _in_parent() -> None:
    if _wakeup is not None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _in_child() -> None:
    """Let SIGTERM end a forked process as usual, without telling its parent through the pipe they share."""
    global _wakeup
    if _wakeup is not None:
        _wakeup = None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


os.register_at_fork(before=_before_fork, after_in_parent=_in_parent, after_in_child=_in_child)


def ask(reason: str) -> None:
    """Ask for a stop at the end of the step under way."""
    _job.reason = reason


def asked() -> bool:
    """Tell whether the job is to stop at the end of the step under way."""
    return _job.reason is not None


def has_unsaved_steps() -> bool:
    """Tell whether waiting for the end of the step under way is worth it."""
    return _job.unsaved > 0


def stepped() -> None:
    """Note a step of a loop whose state is kept."""
    _job.unsaved += 1


def resumed(step: int) -> None:
    """Note the state that the job goes on from."""
    _job.saved = step


def saved(step: int) -> None:
    """Note that the state of a step was written; raises `Stopped` where the job was asked to stop."""
    _job.saved, _job.unsaved = step, 0
    if _job.reason is not None:
        raise Stopped(f"stopped by {_job.reason} at step {step:,}; the state is kept, run again to go on")


def complete() -> None:
    """Note that all outputs are written: nothing stops the job any more. To be called before its state is deleted."""
    with _job.leaving:
        _job.complete = True
        signal.setitimer(signal.ITIMER_REAL, 0)


def leave(line: str | None = None) -> None:
    """Say `line`, or what is kept, and end the process at once: what the interpreter does at its end may take long."""
    with _job.leaving:
        _leave(line or _job.last_words())


def _leave(line: str) -> None:
    try:
        logger.error("ddbias: %s", line)
        logging.shutdown()
        sys.stderr.flush()
        sys.stdout.flush()
    finally:
        os._exit(STATUS)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if _job.complete or _job.reason is not None:
        return
    _job.reason = signal.Signals(number).name
    if not _job.unsaved:
        raise Stopped(_job.last_words())


def _leave_in_time(read: int, job: _Job) -> None:
    """Wait for SIGTERM, then leave the process if the main thread does not."""
    while (told := os.read(read, 1)) != bytes([signal.SIGTERM]):  # Python's other signals arrive here too
        if not told:
            os.close(read)
            return
    # The pipe stays open, for more signals.
    grace = GRACE if job.unsaved else UNWINDING
    with job.leaving:
        if job.complete:
            return
        # The kernel's clock, in case that a library holds the interpreter for longer.
        signal.setitimer(signal.ITIMER_REAL, grace + FROZEN)
    time.sleep(grace)
    with job.leaving:
        if not job.complete:
            job.reason = job.reason or signal.SIGTERM.name  # the handler has not run yet
            _leave(job.last_words())
