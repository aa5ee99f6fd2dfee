"""The lock of a folder: one run at a time, and what a killed run left behind is cleared by its holder only.

An exclusive ``flock`` on `.snakemake/ddbias.lock` ends exactly when the run ends, however it ends. The Snakefile has it
taken (`lock_work`), so that a `snakemake` started by hand holds it, too. Who holds it may clear the lock files that a
killed Snakemake left behind, which Snakemake alone cannot tell from those of a live run.

Only the owner of a folder may open the file: whoever can open a file, be it to read, can lock it for ever. Where the
file system has no locks (`ddbias.base.locks`), a run goes on with Snakemake's own, and says so.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ddbias.base import locks

from launcher import LaunchError, say, slurm_leftovers

LOCK = Path(".snakemake/ddbias.lock")
SNAKEMAKE_LOCKS = Path(".snakemake/locks")
FULL = (errno.ENOSPC, errno.EDQUOT)  # of a disk, or of what the user may have of it
DYING = 2.0  # seconds that a killed process may take to let go of the lock


def lock_work(workflow: object) -> None:
    """Let Snakemake take this folder's lock before it starts jobs, not where it only looks; for the Snakefile.

    What it is asked for, Snakemake 9.27 knows when it executes the workflow, not yet while it reads the Snakefile; and
    ``onstart`` comes behind its own lock, which must not be taken before ours. Reading (``--dry-run``, ``--lint``,
    ``--dag`` and their like) and the Snakemake processes of single jobs lock nothing.
    """
    execute: Callable = workflow.execute

    def execute_alone(*, executor_plugin: object, **settings: object) -> object:
        descriptor, killed = None, False
        try:
            if workflow.is_main_process and not executor_plugin.common_settings.dryrun_exec:
                killed = was_killed()
                descriptor = take_lock()  # held until the process ends; jobs do not inherit it
                if descriptor is not None:
                    clear_up(killed)
                    killed = False
            return execute(executor_plugin=executor_plugin, **settings)
        except LaunchError as error:
            say(str(error))
            sys.exit(1)
        except OSError as error:  # Snakemake writes locks and logs of its own, too
            if error.errno not in (*FULL, errno.EROFS):
                raise
            say(str(_unwritable(Path(error.filename or SNAKEMAKE_LOCKS.parent), error)))
            sys.exit(1)
        finally:
            if descriptor is not None and not killed:  # else there is still something to clear up
                os.ftruncate(descriptor, 0)

    workflow.execute = execute_alone


def take_lock(path: str | os.PathLike = LOCK) -> int | None:
    """Take the exclusive lock on `path` and return the descriptor that holds it until it is closed.

    None where the file system has no locks, which is told: then Snakemake's own lock, which a killed run leaves behind,
    is all that there is, and nothing says that no other run is alive.

    The file holds the owner's process id, for the message to others. A killed owner keeps the lock until the last of
    its threads is gone, so a taken lock is tried again for a moment. Raises `LaunchError` when another process holds
    the lock or the file cannot be opened.
    """
    path = Path(path)
    deadline = time.monotonic() + DYING
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unwritable(path, error) from None
        try:
            locks.take(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise LaunchError(f"another run (pid {owner}) is working in this folder; wait for it or stop it") from None
        except locks.NoLocks as error:
            os.close(descriptor)
            say(
                f"no lock on this folder, since its file system has none ({error.strerror}): start one run at a time "
                "here, and after a killed one `make run ARGS=--unlock`"
            )
            return None
        except OSError as error:
            os.close(descriptor)
            raise _unwritable(path, error) from None
        if _is_open_on(descriptor, path):
            break
        os.close(descriptor)  # the file was removed (make clean) between opening and locking it
    if os.fstat(descriptor).st_uid == os.geteuid():
        os.fchmod(descriptor, 0o600)  # earlier versions let everybody read it
    try:
        written = os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        os.ftruncate(descriptor, written)  # afterwards: on a full disk the killed run's id stays
    except OSError as error:
        os.close(descriptor)
        raise _unwritable(path, error) from None
    return descriptor


def _unwritable(path: Path, error: OSError) -> LaunchError:
    full = error.errno in FULL
    remedy = "free some space and run again" if full else "give this folder to the user who runs, or work in a copy"
    return LaunchError(f"cannot write {path} ({error.strerror}); {remedy}")


def _is_open_on(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def was_killed(path: str | os.PathLike = LOCK) -> bool:
    """Tell whether the last run with our lock did not end by itself: then its process id is still in the file."""
    try:
        return bool(Path(path).read_bytes().strip())
    except OSError:
        return False


def clear_up(killed: bool) -> None:
    """Cancel the jobs and remove the lock files of a run that was killed; to be called by the holder of our lock only.

    Lock files of another Snakemake are left alone: a workflow that has this one as a module takes only Snakemake's own
    lock, and may be at work. Raises `LaunchError` then.
    """
    left = sorted(SNAKEMAKE_LOCKS.glob("*.lock"))
    if left and not killed:
        raise LaunchError(
            "a Snakemake without the lock of ddbias (of a workflow that has it as a module) is working in this "
            "folder, or was killed here; wait for it, or if there is none, `make run ARGS=--unlock`"
        )
    slurm_leftovers.cancel(say)
    if not left:
        return
    try:
        for path in left:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise LaunchError(
            f"cannot remove the lock {error.filename} of a run that was killed ({error.strerror}); remove it by hand"
        ) from None
    say("cleared the lock of a run that was killed; finished work is kept")
