"""Common to all rule scripts: log, GPU, error messages, and the end by SIGTERM or with the run."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable

from ddbias.base import environment, paths, plugins
from ddbias.base.errors import DdbiasError, PluginError
from ddbias.base.log import log_to, logger
from ddbias.base.terminal import line as on_one_line
from ddbias.runtime import gpu_slots, progress

TERMINATED = 128 + signal.SIGTERM  # 143: what a shell says of a process that SIGTERM ended


def die_with_run(run_pid: int) -> None:
    """Kill this process as soon as process `run_pid` is gone: a new run may start, and write its files.

    A script job is a grandchild of Snakemake (a shell lies between), so ``PR_SET_PDEATHSIG`` would not fire when
    Snakemake is killed. A thread waits on the process itself: without polling where pidfd exists (Linux), else
    once a second.
    """

    def watch() -> None:
        try:
            descriptor = os.pidfd_open(run_pid)
        except ProcessLookupError:
            pass
        except (AttributeError, OSError):
            while progress.alive(run_pid):
                time.sleep(1)
        else:
            import select

            select.select([descriptor], [], [])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="die-with-run", daemon=True).start()


def explain(error: BaseException) -> str | None:
    """Return the line with cause and remedy of `error` for the user, or None for a defect of ddbias."""
    if isinstance(error, PluginError) and error.__cause__ is not None:
        return _of_machine(error.__cause__) or str(error)
    if isinstance(error, DdbiasError):
        return str(error)
    mistake = plugins.mistake(error)
    return _of_machine(error) or (str(mistake) if mistake else None)


def _of_machine(error: BaseException) -> str | None:
    """Return what to do about a full or read-only disk, no permission, too little memory; None for other errors."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        where = f" while writing {error.filename}" if error.filename else ""
        return f"the disk is full{where}; free some space and run again, finished work is kept"
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return f"{error.filename or 'a file'} is on a read-only file system; make it writable, or work in a copy"
    if isinstance(error, PermissionError):
        return f"no permission for {error.filename or 'a file'}; change its owner or rights and run again"
    if _out_of_memory(error):
        return "not enough memory; run fewer jobs at once (--cores 1, GPU: DDBIAS_JOBS_PER_GPU=1) or a smaller batch"
    return None


# What torch says of a processor, and of a GPU whose memory somebody else holds.
NO_MEMORY = ("can't allocate memory", "CUDA error: out of memory", "STATUS_ALLOC_FAILED")


def _out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out; torch, which this module must not import, has no error class for the CPU."""
    return (
        isinstance(error, MemoryError)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and any(words in str(error) for words in NO_MEMORY))
    )


def put_scripts_last() -> None:
    """Move the folder of the rules' scripts to the end of the module search path.

    It came first, so that this library was found and no other one (``workflow/launcher/job_environment.py``); now an
    installed package called ``evaluate`` or ``distill`` is what a plug-in means.
    """
    folder = str(paths.SCRIPTS)
    if folder in sys.path and not paths.INSTALLED:
        sys.path[:] = [*(path for path in sys.path if path != folder), folder]


def _end(*_: object) -> None:
    """Handle SIGTERM: leave the job, removing part files on the way (`ddbias.data.store.whole`)."""
    sys.exit(TERMINATED)


def run(main: Callable, snakemake: object) -> None:
    """Run ``main(snakemake)`` as a rule's script: the last lines of every script call this."""
    put_scripts_last()
    if environment.RUN_PID in os.environ:
        die_with_run(int(os.environ[environment.RUN_PID]))
    path = snakemake.log[0] if snakemake.log else None
    signal.signal(signal.SIGTERM, _end)
    telling, ended = progress.Telling(path), progress.FAILED
    try:
        log_to(path)
        if environment.GPU_SLOTS in os.environ:
            gpu_slots.take(snakemake.resources)
        plugins.use(snakemake.config["plugins"])
        main(snakemake)
        ended = None
    except SystemExit as end:
        if end.code == TERMINATED:
            ended = progress.STOPPED
            logger.error("ddbias: stopped by SIGTERM; finished work is kept, run again to go on")
        raise
    except KeyboardInterrupt:
        ended = progress.STOPPED
        sys.exit(130)
    except Exception as error:
        line = explain(error)
        if plugins.mistake(error) or isinstance(error, PluginError):  # for whoever wrote the plug-in, in the log only
            logger.info("%s", traceback.format_exc().rstrip())
        if line is None:
            logger.error(
                "ddbias: this is a defect in %s, please report it with the lines below\n%s",
                snakemake.rule,
                traceback.format_exc(),
            )
        else:
            logger.error("ddbias: %s", on_one_line(line))
        sys.exit(1)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # all is written and the state deleted: too late to fail
        telling.end(ended)
