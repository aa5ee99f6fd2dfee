"""The environment variables of ddbias: who sets them, and who reads them.

The launcher (``workflow/launcher``) takes the names from here, too, so this file needs the standard library only. None
of them changes a result.
"""

import math
import os

# For the user to set.
DATA = "DDBIAS_DATA"  # a folder of data sets, looked into after ``data.root`` and ``data.mirrors``
STATE_SECONDS = "DDBIAS_STATE_SECONDS"  # between two states of a long job
GPUS = "DDBIAS_GPUS"  # the machine's GPUs, comma-separated, instead of those that are found; empty: none is shared
JOBS_PER_GPU = "DDBIAS_JOBS_PER_GPU"

# Set by the Snakefile for its jobs.
RUN_PID = "DDBIAS_RUN_PID"  # the Snakemake process that a job belongs to and ends with
COMMIT = "DDBIAS_COMMIT"  # of the start of the run, to show
GIVEN = "DDBIAS_GIVEN"  # the study files and settings that were given, quoted for a shell
GPU_SLOTS = "DDBIAS_GPU_SLOTS"  # what jobs share: {"gpus": [...], "jobs_per_gpu": n, "folder": ...} in JSON


def _is_seconds(value: str) -> bool:
    try:
        return 0 <= float(value) < math.inf
    except ValueError:
        return False


_ALLOWED = {
    DATA: (os.path.isdir, "a folder; name the one that holds your data sets, or unset it"),
    STATE_SECONDS: (_is_seconds, "a number of seconds, 0 or more; correct or unset it"),
    GPUS: (lambda value: all(len(name.split()) == 1 for name in value.split(",")), "a list such as 0,1; correct it"),
    JOBS_PER_GPU: (
        lambda value: value.isdecimal() and int(value) > 0,
        "a positive number; set how many jobs share a GPU, or unset it",
    ),
}


def problem(name: str) -> str | None:
    """Return in one line why the value of a variable that the user sets makes no sense, None if it does or is empty.

    Examples
    --------
    >>> os.environ[JOBS_PER_GPU] = "many"
    >>> problem(JOBS_PER_GPU)
    'DDBIAS_JOBS_PER_GPU=many is not a positive number; set how many jobs share a GPU, or unset it'
    """
    value, (is_allowed, allowed) = os.environ.get(name), _ALLOWED[name]
    return f"{name}={value} is not {allowed}" if value and not is_allowed(value) else None


def problems() -> list[str]:
    """Return what is wrong with the variables that the user sets, one line each."""
    return [line for line in map(problem, _ALLOWED) if line]
