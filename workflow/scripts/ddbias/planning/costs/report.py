"""The cost of a study, stage by stage: expected for jobs to do, and expected beside measured for jobs done.

Without torch. A job counts as done if its output exists, whether or not Snakemake would run it again.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ddbias.planning.costs.work import Cost, cost
from ddbias.planning.jobs import Job, is_done, jobs
from ddbias.planning.study import Study

HEAD = ("stage", "jobs", "done", "to do", "memory", "expected of done", "taken", "memory")
# Seconds: Snakemake polls a job every half second at first, and every 30 seconds after OFTEN_UNTIL. What the job did
# after the last poll is missing in the benchmark.
OFTEN, RARELY, OFTEN_UNTIL = 0.5, 30.0, 15.5


@dataclass(frozen=True)
class Stage:
    """Sums over the jobs of a stage, in seconds of one core, and the largest memory in megabytes."""

    jobs: int
    done: int
    guessed: int  # jobs to do whose cost does not rest on a measurement
    to_do: float  # expected seconds of the jobs to do
    longest: float  # expected seconds of the longest of these
    memory_mb: float  # expected, largest of these
    timed: int  # jobs done that have a benchmark
    expected: float  # expected seconds of these
    taken: float  # measured seconds of these
    taken_mb: float  # measured, largest of these


def report(
    study: Study, folder: Path | None = Path(), speed: float = 1.0, of: Sequence[Job] | None = None
) -> dict[str, Stage]:
    """Return the cost of each stage of a study, and of all as ``together``.

    Parameters
    ----------
    study : Study
    folder : Path or None
        A working directory, whose files show which jobs are done; None: no job is done.
    speed : float
        Seconds that this machine needs for one second of the measured machine.
    of : sequence of Job, optional
        All jobs of the study, by default.
    """
    found: dict[str, list] = {}
    for job in jobs(study) if of is None else of:
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
    """Return CPU seconds and peak megabytes of a job's last attempt, from Snakemake's benchmark file.

    None if the file is missing or incomplete. CPU seconds are extrapolated from Snakemake's last poll to the end of the
    job. If the job was never polled, its seconds are those of the wall clock.
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
    """Return the table and the sentences below it; `where` says why `at_once` jobs run at the same time."""
    all_of_it = stages["together"]
    rows = [list(HEAD), *([name, *_cells(stage)] for name, stage in stages.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [[row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])] for row in rows]
    said = [f"{study.name} at scale {study.scale}: {all_of_it.jobs:,} jobs, {all_of_it.done:,} done", ""]
    said += [*("  ".join(cells).rstrip() for cells in table), ""]
    if all_of_it.to_do:
        # Every stage waits for the one before, so more cores do not shorten the chain of each stage's longest job.
        chain = sum(stage.longest for stage in stages.values()) - all_of_it.longest
        clock = duration(max(all_of_it.to_do / at_once, chain))
        said.append(f"With {at_once} jobs at once ({where}): about {clock} on the clock.")
    if all_of_it.guessed:
        said.append(
            f"The times of {all_of_it.guessed:,} jobs are guesses: nobody measured their methods, networks or images."
        )
    return [
        *said,
        "Times are those of one core, without a GPU. A job whose output exists counts as done, however old it is; "
        "`make run ARGS=-n` shows what Snakemake would run.",
    ]


def _cells(stage: Stage) -> list[str]:
    to_do = [duration(stage.to_do), size(stage.memory_mb)] if stage.jobs > stage.done else ["", ""]
    done = [duration(stage.expected), duration(stage.taken), size(stage.taken_mb)] if stage.timed else ["", "", ""]
    return [f"{stage.jobs:,}", f"{stage.done:,}", *to_do, *done]


def summary(study: Study) -> str:
    """Return the first line of a dry run: the cost of all jobs of a study, done or not."""
    stages = report(study, None)
    every, distilling = stages["together"], duration(stages["distill"].to_do)
    unsure = f", {every.guessed:,} jobs guessed" if every.guessed else ""
    what = f"{distilling} of it distillation{unsure}"
    return f"together about {duration(every.to_do)} of one core ({what}); more: make estimate"


def duration(seconds: float) -> str:
    """Return a time as text, in the unit that fits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 72 * 3600 else f"{seconds / 86400:,.0f} days"


def size(megabytes: float) -> str:
    """Return an amount of memory as text, in MB or GB."""
    return f"{megabytes:.0f} MB" if megabytes < 1000 else f"{megabytes / 1000:.1f} GB"
