"""The environment variables of ddbias: who sets them, and who reads them.

The launcher (``workflow/launcher``) takes the names from here, too, so this file needs the standard library only. None
of them changes a result.
"""

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
