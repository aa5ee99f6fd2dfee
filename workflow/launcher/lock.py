"""The lock of a folder: one run at a time, and what a killed run left behind is cleared by its holder only.

An exclusive ``flock`` on `.snakemake/ddbias.lock` ends exactly when the run ends, however it ends. Who holds it may
clear the lock files that a killed Snakemake left behind, which Snakemake alone cannot tell from those of a live run.
The Snakefile calls `hold_lock` when it starts, so that a `snakemake` started by hand holds the same lock.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import time
from pathlib import Path

from ddbias.base.environment import LOCK_FD

from launcher import LaunchError, say

LOCK = Path(".snakemake/ddbias.lock")
SNAKEMAKE_LOCKS = Path(".snakemake/locks")
DYING = 2.0  # seconds that a killed process may take to let go of the lock


def take_lock(path: str | os.PathLike = LOCK) -> int:
    """Take the exclusive lock on `path` and return the descriptor that holds it until it is closed.

    The file holds the owner's process id, for the message to others. A killed owner keeps the lock until the last of
    its threads is gone, so a taken lock is tried again for a moment. Raises `LaunchError` when another process holds
    the lock or the file cannot be opened.
    """
    path = Path(path)
    deadline = time.monotonic() + DYING
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise LaunchError(
                f"cannot write {path} ({error.strerror}); give this folder to the user who runs, or work in a copy"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
            os.close(descriptor)
            if time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            raise LaunchError(f"another run (pid {owner}) is working in this folder; wait for it or stop it") from None
        if _is_open_on(descriptor, path):
            break
        os.close(descriptor)  # the file was removed (make clean) between opening and locking it
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return descriptor


def hold_lock() -> int:
    """Hold this folder's lock for the life of the process: what the Snakefile does before the first job.

    Under the launcher the lock is already held, through the descriptor named in the environment; a Snakemake started
    by hand takes it here. Returns the descriptor, which jobs do not inherit. Raises `LaunchError` when another run
    holds the lock.
    """
    inherited = os.environ.get(LOCK_FD, "")
    if inherited.isdecimal() and _is_open_on(int(inherited), LOCK):
        descriptor = int(inherited)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)  # no change where it is ours already
        except BlockingIOError:
            descriptor = take_lock()
    else:
        descriptor = take_lock()
    os.set_inheritable(descriptor, False)
    return descriptor


def _is_open_on(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        return False


def live_snakemake() -> int | None:
    """Return the id of a Snakemake process that works in this folder, or None (also where there is no /proc)."""
    here = os.stat(".")
    for process in Path("/proc").glob("[0-9]*"):
        if int(process.name) == os.getpid():
            continue
        try:
            command = (process / "cmdline").read_bytes().split(b"\0")
            if _is_snakemake(command) and os.path.samestat(os.stat(process / "cwd"), here):
                return int(process.name)
        except OSError:  # it ended meanwhile, or is another user's, whose lock files are not ours to clear
            continue
    return None


def _is_snakemake(command: list[bytes]) -> bool:
    names = [os.path.basename(word) for word in command]
    if names[0] == b"snakemake":
        return True
    is_module = any(pair == (b"-m", b"snakemake") for pair in itertools.pairwise(command))
    return names[0].startswith(b"python") and (is_module or b"snakemake" in names[1:4])


def clear_stale_lock(patience: float = 0) -> None:
    """Remove the lock files of a Snakemake that is gone; to be called by the holder of our lock only.

    One that is about to end is waited for, `patience` seconds at most.

    Between Snakemake's own lock and `hold_lock` in its Snakefile lies a moment in which a run started by hand does
    not hold our lock yet: a live Snakemake in this folder therefore keeps its files, and ends the launch.
    """
    left = sorted(SNAKEMAKE_LOCKS.glob("*.lock"))
    if not left:
        return
    deadline = time.monotonic() + patience
    while (pid := live_snakemake()) is not None and time.monotonic() < deadline:
        time.sleep(0.2)
    if pid is not None:
        raise LaunchError(f"another Snakemake (pid {pid}) is working in this folder; wait for it or stop it")
    try:
        for path in left:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise LaunchError(
            f"cannot remove the lock {error.filename} of a run that was killed ({error.strerror}); remove it by hand"
        ) from None
    say("cleared the lock of a run that was killed; finished work is kept")
