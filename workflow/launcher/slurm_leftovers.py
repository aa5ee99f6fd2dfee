"""Jobs that a killed run left in SLURM: they would write what the next run makes. Standard library only.

Snakemake cancels its jobs when it is interrupted, but not when it is killed (a login node that restarts, a session that
ends). The holder of a folder's lock may take every job of that folder as left behind.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable

from launcher import LaunchError

PATIENCE = 90.0  # seconds: SLURM gives a cancelled job 30 to end before it is killed, and looks every 30


def cancel(say: Callable[[str], None], patience: float = PATIENCE) -> int:
    """Cancel the jobs of this folder that SLURM still has, wait until they are gone, and return how many they were.

    A cancelled job keeps its state, so the same job of the next run goes on from there. Does nothing where SLURM
    cannot be asked: Snakemake's own message about that comes next. Raises `LaunchError` when they do not end.
    """
    left = jobs_here()
    if not (count := len(left)):
        return 0
    say(f"cancelling {count} jobs that a killed run left in SLURM; their states are kept")
    subprocess.run(["scancel", *left], check=False)
    deadline = time.monotonic() + patience
    while left := jobs_here():
        if time.monotonic() > deadline:
            raise LaunchError(
                f"SLURM still runs jobs of a killed run in this folder ({', '.join(left)}); "
                "wait until squeue no longer shows them and run again"
            )
        time.sleep(1)
    return count


def jobs_here() -> list[str]:
    """Return the ids of this user's pending and running jobs that work in this folder and are Snakemake's."""
    call = ["squeue", "--noheader", f"--user={os.getuid()}", "--format=%A|%k|%Z"]
    try:
        done = subprocess.run(call, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    here = os.path.realpath(".")
    found = []
    for line in done.stdout.splitlines():
        match line.split("|", 2):  # another line tells of no job: a heading (CLUSTER: main), the rest of a comment
            case job, comment, folder if comment.startswith("rule_") and os.path.realpath(folder) == here:
                found.append(job)
    return list(dict.fromkeys(found))  # the tasks of an array share their id
