"""A study's cost, stage by stage: what is to be done, and beside what was expected of the rest what it took.

Without torch. An output that exists counts as done, whether or not Snakemake would make it again.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from ddbias.planning.costs.work import Cost, cost
from ddbias.planning.jobs import Job, is_done, jobs
from ddbias.planning.study import Study

HEAD = ("stage", "jobs", "done", "to do", "memory", "expected of done", "taken", "memory")
# Snakemake looks at a job every half second at first, and every 30 seconds from about here on; what the job did
# after the last look is in no benchmark.
OFTEN, RARELY, OFTEN_UNTIL = 0.5, 30.0, 15.5


@dataclass
class Stage:
    """The sums of a stage, in seconds of one core, and its highest memory."""

    jobs: int = 0
    done: int = 0
    guessed: int = 0  # of those to do: they rest on no measured figure
    to_do: float = 0  # seconds expected of those to do
    longest: float = 0  # of these
    memory_mb: float = 0  # of these
    timed: int = 0  # of the done ones: it is known what they took
    expected: float = 0
    taken: float = 0
    taken_mb: float = 0

    def add(self, job: Job, expected: Cost, speed: float, folder: Path) -> None:
        """Count a job."""
        self.jobs += 1
        if not is_done(job, folder):
            self.guessed += not expected.measured
            self.to_do += speed * expected.seconds
            self.longest = max(self.longest, speed * expected.seconds)
            self.memory_mb = max(self.memory_mb, expected.memory_mb)
            return
        self.done += 1
        if found := taken(folder / job.benchmark):
            self.timed += 1
            self.expected += speed * expected.seconds
            self.taken += found[0]
            self.taken_mb = max(self.taken_mb, found[1])


def report(study: Study, folder: Path = Path(), speed: float = 1.0) -> dict[str, Stage]:
    """Return what a study takes, stage by stage and ``together``, by what there is in a working directory.

    Parameters
    ----------
    study : Study
    folder : Path
    speed : float
        Seconds that this machine takes for one of the measured machine.
    """
    stages: dict[str, Stage] = {}
    together = Stage()
    for job in jobs(study):
        for stage in (stages.setdefault(job.stage, Stage()), together):
            stage.add(job, cost(study, job.stage, job.wildcards), speed, folder)
    return stages | {"together": together}


def taken(benchmark: Path) -> tuple[float, float] | None:
    """Return what the last attempt of a job took, by Snakemake's benchmark.

    Returns
    -------
    tuple of float, or None
        Seconds of the processor and megabytes of memory at the peak; None without a file, or of one that was cut short.
        What no look of Snakemake's saw is added, as if the job had gone on like before; of a job that none saw at all
        the seconds are those of the clock.
    """
    try:
        with benchmark.open(newline="") as file:
            row = list(csv.DictReader(file, delimiter="\t"))[-1]
        wall, seconds, memory = (_number(row[name]) for name in ("s", "cpu_time", "max_rss"))
    except (OSError, IndexError, KeyError):
        return None
    if not wall:
        return None
    seen = wall - OFTEN / 2 if wall < OFTEN_UNTIL else OFTEN_UNTIL + RARELY * ((wall - OFTEN_UNTIL) // RARELY)
    return (seconds * wall / seen if seconds and seen > 0 else wall), memory


def _number(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:  # NA or -
        return 0.0


# ---- in words ----------------------------------------------------------------------------------------------------


def lines(study: Study, stages: dict[str, Stage], at_once: int, where: str) -> list[str]:
    """Return the table and what there is to say of it; `where` says why so many jobs run `at_once`."""
    all_of_it = stages["together"]
    rows = [list(HEAD), *([name, *_cells(stage)] for name, stage in stages.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    notes = []
    if all_of_it.to_do:
        chain = (
            sum(stage.longest for stage in stages.values()) - all_of_it.longest
        )  # less time no number of cores takes
        clock = duration(max(all_of_it.to_do / at_once, chain))
        notes.append(f"With {at_once} jobs at once ({where}): about {clock} on the clock.")
    if all_of_it.guessed:
        notes.append(f"{all_of_it.guessed:,} jobs are guesses: nobody measured their methods, networks or images.")
    return [
        f"{study.name} at scale {study.scale}: {all_of_it.jobs:,} jobs, {all_of_it.done:,} done",
        "",
        *("  ".join(cells).rstrip() for cells in table),
        "",
        *notes,
        "Times are those of one core, without a GPU. A file that exists counts as done, however old; "
        "`make run ARGS=-n` asks Snakemake.",
    ]


def _cells(stage: Stage) -> list[str]:
    to_do = [duration(stage.to_do), size(stage.memory_mb)] if stage.jobs > stage.done else ["", ""]
    done = [duration(stage.expected), duration(stage.taken), size(stage.taken_mb)] if stage.timed else ["", "", ""]
    return [f"{stage.jobs:,}", f"{stage.done:,}", *to_do, *done]


def summary(study: Study) -> str:
    """Return the line that a dry run begins with: what all jobs of a study take, done or not."""
    every = [(job.stage, cost(study, job.stage, job.wildcards)) for job in jobs(study)]
    seconds = sum(one.seconds for _, one in every)
    distilling = sum(one.seconds for stage, one in every if stage == "distill")
    guesses = sum(not one.measured for _, one in every)
    unsure = f", {guesses:,} jobs by a guess" if guesses else ""
    what = f"{duration(distilling)} of it distillation{unsure}"
    return f"together about {duration(seconds)} of one core ({what}); more: make estimate"


def duration(seconds: float) -> str:
    """Return a time in words, in the unit that fits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 72 * 3600 else f"{seconds / 86400:,.0f} days"


def size(megabytes: float) -> str:
    """Return an amount of memory in words."""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"
