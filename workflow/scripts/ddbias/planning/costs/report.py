"""A study's cost, stage by stage: what is to be done, and beside what was expected of the rest what it took.

Without torch. An output that exists counts as done, whether or not Snakemake would make it again.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from ddbias.planning.costs.work import Cost, cost
from ddbias.planning.jobs import is_done, jobs
from ddbias.planning.study import Study

HEAD = ("stage", "jobs", "done", "to do", "memory", "expected of done", "taken", "memory")
# Snakemake looks at a job every half second at first, and every 30 seconds from about here on; what the job did
# after the last look is in no benchmark.
OFTEN, RARELY, OFTEN_UNTIL = 0.5, 30.0, 15.5


@dataclass(frozen=True)
class Stage:
    """The sums of a stage, in seconds of one core, and its highest memory."""

    jobs: int
    done: int
    guessed: int  # of those to do: they rest on no measured figure
    to_do: float  # seconds expected of those to do
    longest: float  # of these
    memory_mb: float  # of these
    timed: int  # of the done ones: it is known what they took
    expected: float
    taken: float
    taken_mb: float


def report(study: Study, folder: Path | None = Path(), speed: float = 1.0) -> dict[str, Stage]:
    """Return what a study takes, stage by stage and ``together``.

    Parameters
    ----------
    study : Study
    folder : Path or None
        A working directory, whose files tell what is done; None: nothing.
    speed : float
        Seconds that this machine takes for one of the measured machine.
    """
    found: dict[str, list] = {}
    for job in jobs(study):
        done = folder is not None and is_done(job, folder)
        took = taken(folder / job.benchmark) if done else None
        found.setdefault(job.stage, []).append((cost(study, job.stage, job.wildcards), done, took))
    found["together"] = [job for stage in found.values() for job in stage]
    return {name: _sums(of_stage, speed) for name, of_stage in found.items()}


def _sums(of_stage: list[tuple[Cost, bool, tuple[float, float] | None]], speed: float) -> Stage:
    to_do = [expected for expected, done, _ in of_stage if not done]
    timed = [(expected, *took) for expected, _, took in of_stage if took]
    return Stage(
        jobs=len(of_stage),
        done=len(of_stage) - len(to_do),
        guessed=sum(not expected.measured for expected in to_do),
        to_do=speed * sum(expected.seconds for expected in to_do),
        longest=speed * max((expected.seconds for expected in to_do), default=0),
        memory_mb=max((expected.memory_mb for expected in to_do), default=0),
        timed=len(timed),
        expected=speed * sum(expected.seconds for expected, _, _ in timed),
        taken=sum(seconds for _, seconds, _ in timed),
        taken_mb=max((megabytes for _, _, megabytes in timed), default=0),
    )


def taken(benchmark: Path) -> tuple[float, float] | None:
    """Return seconds of the processor and megabytes at the peak of a job's last attempt, by Snakemake's benchmark.

    None without a file, or of one that was cut short. What no look of Snakemake's saw is added, as if the job had gone
    on like before; of a job that none saw at all the seconds are those of the clock.
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
    said = [f"{study.name} at scale {study.scale}: {all_of_it.jobs:,} jobs, {all_of_it.done:,} done", ""]
    said += [*("  ".join(cells).rstrip() for cells in table), ""]
    if all_of_it.to_do:
        # A job of every stage waits for one of the stage before, which no number of cores shortens.
        chain = sum(stage.longest for stage in stages.values()) - all_of_it.longest
        clock = duration(max(all_of_it.to_do / at_once, chain))
        said.append(f"With {at_once} jobs at once ({where}): about {clock} on the clock.")
    if all_of_it.guessed:
        said.append(f"{all_of_it.guessed:,} jobs are guesses: nobody measured their methods, networks or images.")
    return [
        *said,
        "Times are those of one core, without a GPU. A file that exists counts as done, however old; "
        "`make run ARGS=-n` asks Snakemake.",
    ]


def _cells(stage: Stage) -> list[str]:
    to_do = [duration(stage.to_do), size(stage.memory_mb)] if stage.jobs > stage.done else ["", ""]
    done = [duration(stage.expected), duration(stage.taken), size(stage.taken_mb)] if stage.timed else ["", "", ""]
    return [f"{stage.jobs:,}", f"{stage.done:,}", *to_do, *done]


def summary(study: Study) -> str:
    """Return the line that a dry run begins with: what all jobs of a study take, done or not."""
    stages = report(study, None)
    every, distilling = stages["together"], duration(stages["distill"].to_do)
    unsure = f", {every.guessed:,} jobs by a guess" if every.guessed else ""
    what = f"{distilling} of it distillation{unsure}"
    return f"together about {duration(every.to_do)} of one core ({what}); more: make estimate"


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
