"""What a study asks for: memory and time of its jobs, with a margin, and the lines that a dry run begins with.

What a job is expected to take is told by `ddbias.planning.costs.work`; `ddbias.planning.costs.report` shows it stage by
stage. Imported by the Snakefile: no torch.
"""

from __future__ import annotations

import math
from functools import cache

from ddbias.base.cell import WHOLE
from ddbias.planning.costs.report import duration
from ddbias.planning.costs.work import DEPENDS, Cost, cost, rows
from ddbias.planning.jobs import jobs
from ddbias.planning.study import Study

# A job that takes more than it asked for is killed by a scheduler. Nodes are slower than the measured one, `fast` is
# float32 where the processor has no bfloat16 (up to 2.7 times the time), and memory grows with other versions.
TIME_MARGIN, MEMORY_MARGIN = 3.0, 1.5
UNMEASURED = 2.0  # times as much again, of both, for what nobody measured
LEAST_MINUTES, LEAST_MB = 10, 1000  # starting up on a slow file system, compiling
GPU_MB = 3000  # of the host's memory: torch with CUDA
# How much longer a core takes than a GPU: a guess on the safe side, none was measured.
GPU_FACTOR = 4.0
ON_GPU = ("train_surrogate", "pretrain_models", "distill", "evaluate", "train_attribute_model", "measure_images")


def memory_mb(study: Study, stage: str, wildcards: object) -> int:
    """Return the memory in MiB that a job of a stage may take: what is expected and a margin.

    Parameters
    ----------
    study : Study
    stage : str
        The rule.
    wildcards : object
        Snakemake's, or anything with attributes of these names.
    """
    return _request(study, stage, *_fields(stage, wildcards))[0]


def minutes(study: Study, stage: str, wildcards: object) -> int:
    """Return the minutes that a job of a stage may take: what is expected and a margin.

    On ``device: cuda`` a fourth of a core's time; ``auto`` may find no GPU and asks for a core's.
    """
    return _request(study, stage, *_fields(stage, wildcards))[1]


def _fields(stage: str, wildcards: object) -> tuple[str, ...]:
    return tuple(getattr(wildcards, name) for name in DEPENDS[stage])


@cache
def _request(study: Study, stage: str, *values: str) -> tuple[int, int]:
    expected = cost(study, stage, _Named(zip(DEPENDS[stage], values, strict=True)))
    more = 1.0 if expected.measured else UNMEASURED
    memory, seconds = expected.memory_mb * MEMORY_MARGIN * more, expected.seconds * TIME_MARGIN * more
    device = study.config["device"]
    if stage in ON_GPU and device != "cpu":
        memory += GPU_MB
        seconds /= GPU_FACTOR if device == "cuda" else 1
    return math.ceil(max(memory, LEAST_MB)), math.ceil(seconds / 60) + LEAST_MINUTES


class _Named:
    """Wildcards."""

    def __init__(self, fields: object) -> None:
        self.__dict__.update(fields)


# ---- before a run ------------------------------------------------------------------------------------------------


def estimate(study: Study) -> list[str]:
    """Return one line for each distiller and number of images per class, and one for the sum of all jobs."""
    sets: dict[tuple[str, int], list[Cost]] = {}
    total, distilling, guessed = 0.0, 0.0, 0
    for job in jobs(study):
        expected = cost(study, job.stage, job.wildcards)
        total += expected.seconds
        guessed += not expected.measured
        if job.stage == "distill":
            distilling += expected.seconds
            if job.wildcards.ipc != WHOLE and "iterations" in study.config["distillers"][job.wildcards.distiller]:
                sets.setdefault((job.wildcards.distiller, int(job.wildcards.ipc)), []).append(expected)
    lines = [_line(study, name, ipc, costs) for (name, ipc), costs in sorted(sets.items())]
    share = (
        f"{duration(distilling)} of it distillation, " if distilling and duration(distilling) != duration(total) else ""
    )
    unsure = f", {guessed} jobs by a guess" if guessed else ""
    where = rows()[0]["device"]
    lines.append(
        f"together about {duration(total)} of one core ({share}measured on {where}{unsure}); more: make estimate"
    )
    return lines


def _line(study: Study, name: str, ipc: int, costs: list[Cost]) -> str:
    longest, memory = max(one.seconds for one in costs), max(one.memory_mb for one in costs)
    iterations = study.config["distillers"][name].get("iterations")
    note = "" if all(one.measured for one in costs) else ", by a guess"
    return (
        f"{name}, {ipc} images per class: {len(costs)} sets of {iterations:,} iterations, about {duration(longest)} "
        f"each, {memory / 1000:.1f} GB{note}"
    )
