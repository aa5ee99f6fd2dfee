"""A study's cost, stage by stage: what is to be done, and beside what was expected of the rest what it took.

Without torch. An output that exists counts as done, whether or not Snakemake would make it again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ddbias.planning.costs import measured
from ddbias.planning.costs.work import Cost, cost
from ddbias.planning.jobs import STAGES, Job, is_done, jobs
from ddbias.planning.study import Study

ABOVE = ("", "", "", "TO DO", "a job's", "to", "DONE", "", "a job's", "")
HEAD = ("stage", "jobs", "done", "time", "memory", "write", "expected", "took", "memory", "wrote")


@dataclass
class Stage:
    """The sums of a stage.

    Attributes
    ----------
    jobs, done, timed, guessed : int
        Of `timed` jobs is known what they took; `guessed` rest on no measured figure.
    todo_seconds, longest, memory_mb, disk_mb : float
        Expected of the jobs that are still to do: sum of the seconds of one core, the longest, the highest, sum.
    expected, measured : float
        Seconds of one core of the timed jobs.
    measured_mb, written_mb : float
        The highest memory of the timed jobs, and what all that is done takes on the disk.
    """

    jobs: int = 0
    done: int = 0
    timed: int = 0
    guessed: int = 0
    todo_seconds: float = 0
    longest: float = 0
    memory_mb: float = 0
    disk_mb: float = 0
    expected: float = 0
    measured: float = 0
    measured_mb: float = 0
    written_mb: float = 0

    def add(self, job: Job, expected: Cost, folder: Path) -> None:
        """Count a job."""
        self.jobs += 1
        if not is_done(job, folder):
            self.guessed += not expected.measured
            self.todo_seconds += expected.seconds
            self.longest = max(self.longest, expected.seconds)
            self.memory_mb = max(self.memory_mb, expected.memory_mb)
            self.disk_mb += expected.disk_mb
            return
        self.done += 1
        self.written_mb += sum((folder / path).stat().st_size for path in job.outputs) / 1e6
        taken = measured.read(folder / job.benchmark) if job.benchmark else None
        if taken:
            self.timed += 1
            self.expected += expected.seconds
            self.measured += taken.seconds
            self.measured_mb = max(self.measured_mb, taken.memory_mb)


@dataclass
class Report:
    """What a study takes.

    Attributes
    ----------
    study : Study
    stages : dict of str to Stage
        Those that have jobs, in their order.
    """

    study: Study
    stages: dict[str, Stage] = field(default_factory=dict)

    @property
    def todo_seconds(self) -> float:
        """Seconds of one core that are still to be spent."""
        return sum(stage.todo_seconds for stage in self.stages.values())

    @property
    def chain(self) -> float:
        """Seconds of the longest jobs of all stages, one after the other: less time no number of cores takes."""
        return sum(stage.longest for stage in self.stages.values())

    def lines(self, at_once: int, where: str) -> list[str]:
        """Return the table and what there is to say of it.

        Parameters
        ----------
        at_once : int
            Jobs that run at a time.
        where : str
            What says so, as a part of a sentence.
        """
        total = _sum(self.stages.values())
        cells = [[name, *_cells(stage)] for name, stage in self.stages.items()]
        cells.append(["together", *_cells(total)])
        return [
            f"{self.study.name} at scale {self.study.scale}: {total.jobs:,} jobs, {total.done:,} done",
            "",
            *aligned([list(ABOVE), list(HEAD), *cells]),
            "",
            *self._notes(total, at_once, where),
        ]

    def _notes(self, total: Stage, at_once: int, where: str) -> list[str]:
        lines = []
        if self.todo_seconds:
            wall = max(self.todo_seconds / at_once, self.chain)
            lines.append(f"With {at_once} jobs at once ({where}): about {duration(wall)} on the clock.")
        lines.append("Time is that of one core of the measured processor, see docs/scaling.md; no GPU was measured.")
        if total.guessed:
            lines.append(
                f"{total.guessed:,} jobs rest on no measured figure: their networks, images or sources were not run."
            )
        lines.append(
            "A file that exists counts as done, however old; `make run ARGS=-n` asks Snakemake what it would make."
        )
        return lines


def report(study: Study, folder: Path = Path()) -> Report:
    """Return what a study takes, by what there is in a working directory."""
    found = Report(study)
    for job in jobs(study):
        found.stages.setdefault(job.stage, Stage()).add(job, cost(study, job.stage, job.wildcards), folder)
    found.stages = {name: found.stages[name] for name in STAGES if name in found.stages}
    return found


def _sum(stages: Iterable[Stage]) -> Stage:
    total = Stage()
    for stage in stages:
        for name, value in vars(stage).items():
            joined = max if name in ("longest", "memory_mb", "measured_mb") else (lambda a, b: a + b)
            setattr(total, name, joined(getattr(total, name), value))
    return total


def _cells(stage: Stage) -> list[str]:
    todo = stage.jobs > stage.done
    return [
        f"{stage.jobs:,}",
        f"{stage.done:,}",
        *([duration(stage.todo_seconds), size(stage.memory_mb), size(stage.disk_mb)] if todo else ["", "", ""]),
        *([duration(stage.expected), duration(stage.measured)] if stage.timed else ["", ""]),
        size(stage.measured_mb) if stage.measured_mb else "",
        size(stage.written_mb) if stage.done else "",
    ]


def aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as lines with aligned columns, the first to the left and the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            text.rjust(width) if at else text.ljust(width)
            for at, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def duration(seconds: float) -> str:
    """Return a time in words, in the unit that fits."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.0f} hours" if seconds < 72 * 3600 else f"{seconds / 86400:,.0f} days"


def size(megabytes: float) -> str:
    """Return a number of bytes in words."""
    if megabytes < 1000:
        return f"{max(megabytes, 1):.0f} MB"
    return f"{megabytes / 1000:.1f} GB" if megabytes < 10**6 else f"{megabytes / 10**6:.1f} TB"


def jobs_at_once(profile: Mapping, name: str, cores: str, threads: int) -> tuple[int, str]:
    """Return how many jobs run at a time, and what says so.

    Parameters
    ----------
    profile : mapping
        The settings of the profile called `name`; empty for this machine.
    name : str
    cores : str
        As the user gave them, ``all`` or nothing for what is here.
    threads : int
        Of a job.
    """
    if profile.get("executor", "local") != "local" and isinstance(profile.get("jobs"), int):
        return profile["jobs"], f"profile {name}"
    given = cores if cores.isdecimal() else str(profile.get("cores", ""))
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = int(given) if given.isdecimal() and int(given) else available
    return max(1, count // threads), f"{count} cores, {threads} a job"
