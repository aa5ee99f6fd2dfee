"""How far a study is, in words: from its plan, the files that there are, and what its jobs tell. Without torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from ddbias.planning.costs.report import Stage, duration, report
from ddbias.planning.costs.work import cost
from ddbias.planning.jobs import STAGES, Job, is_done, jobs
from ddbias.planning.study import Study
from ddbias.runtime import progress
from ddbias.runtime.progress import RUNNING, Told

# What this process runs, for its view: a study, and the files that Snakemake was asked for with all that they need.
watched: list[tuple[Study, set[str]]] = []


@dataclass(frozen=True)
class Overview:
    """How far a study is.

    Attributes
    ----------
    name : str
        Of the study, with its scale; and whether it is a part of it.
    jobs, done : int
    running, ended : list of Told
        What the jobs tell that run, and those that failed or were stopped and whose results are still missing.
    seconds : float or None
        Until all is done, from what finished jobs took; None before the first one.
    page : str
        Where the page of a finished study is, else empty.
    """

    name: str
    jobs: int
    done: int
    running: list[Told]
    ended: list[Told]
    seconds: float | None
    page: str

    def headline(self) -> str:
        """Return how far the study is, in one line."""
        counts = {RUNNING: len(self.running)}
        for told in self.ended:
            counts[told.state] = counts.get(told.state, 0) + 1
        said = [f"{self.done:,} of {self.jobs:,} jobs done", *(f"{n} {state}" for state, n in counts.items() if n)]
        if self.seconds is not None and self.done < self.jobs:
            said.append(f"about {duration(self.seconds)} left")
        return f"{self.name}: {', '.join(said)}"


def overview(
    study: Study, folder: str | Path = ".", at_once: int | None = None, outputs: Collection[str] | None = None
) -> Overview:
    """Return how far a study is, or a part of it.

    Parameters
    ----------
    study : Study
    folder : path
        A working directory.
    at_once : int, optional
        How many jobs run at a time; as many as do now where it is not known.
    outputs : collection of str, optional
        Count only jobs that write one of these files, as `Job.output` names them.
    """
    folder = Path(folder)
    every = jobs(study)
    planned = [job for job in every if outputs is None or job.output in outputs]
    told = progress.read(folder / study.folder)
    running = [one for one in told if one.state == RUNNING]
    missing = {log(study, job): job for job in planned if not is_done(job, folder)}
    ended = [one for one in told if one.state != RUNNING and (one.log in missing or one.stage not in STAGES)]
    stages = report(study, folder, of=planned)
    shares = [(missing[one.log], one.step / one.steps) for one in running if one.log in missing and one.steps]
    seconds = seconds_left(study, stages, shares, at_once or len(running) or 1)
    page = f"{study.folder}/report/index.html"
    if missing or all(job.output != page for job in planned):
        page = ""
    name = f"{study.name} {study.scale}{', a part' if len(planned) < len(every) else ''}"
    done = stages["together"].done
    return Overview(name, len(planned), done, running, ended, seconds, page)


def log(study: Study, job: Job) -> str:
    """Return the path of a job's log, which lies as its benchmark does."""
    return f"{study.folder}/logs/{job.benchmark.removeprefix(f'{study.folder}/benchmarks/').removesuffix('.tsv')}.log"


def seconds_left(
    study: Study, stages: dict[str, Stage], shares: Sequence[tuple[Job, float]], at_once: int
) -> float | None:
    """Return how long a study will still take; None where no job has been timed.

    What each stage is expected to take is scaled by what its finished jobs took, and if it has none, all finished jobs.
    Every stage waits for the one before, so that it takes at least as long as the longest job of each together.

    Parameters
    ----------
    study : Study
    stages : dict of Stage
        As `ddbias.planning.costs.report.report` returns them.
    shares : sequence of (Job, float)
        Jobs that run, and which share of each is done.
    at_once : int
        How many jobs run at a time.
    """
    together = stages["together"]
    if not together.expected:
        return None
    work = chain = 0.0
    for name, stage in stages.items():
        if name == "together":
            continue
        speed = (stage if stage.expected else together).taken / (stage if stage.expected else together).expected
        done = [share * cost(study, job.stage, job.wildcards).seconds for job, share in shares if job.stage == name]
        work += speed * (stage.to_do - sum(done))
        chain += speed * (stage.longest - max(done, default=0))
    return max(work / at_once, chain, 0.0)


def columns(told: Told) -> tuple[str, str, str, str]:
    """Return what a job tells as four texts: its stage, its cell, how far it is, and what it shows."""
    far = f"step {told.step:,} of {told.steps:,}" if told.steps else ""
    left = f"{duration(told.left)} left" if told.left is not None and told.state == RUNNING else ""
    return told.stage, told.cell, far, ", ".join(filter(None, [told.values, left]))


def lines(found: Overview) -> list[str]:
    """Return an overview as `make status` prints it: what runs, and of what ended the last line of its log."""
    rows = [(told.state, *columns(told)) for told in found.running]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    said = [found.headline()]
    said += ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for told in found.ended:
        stage, cell, far, _ = columns(told)
        what = ", ".join(filter(None, [f"{stage} {cell}".strip(), far, f"{duration(told.seconds)} ago"]))
        said += [
            f"{told.state}  {what}",
            f"         {progress.last_words(told.log)}".rstrip(),
            f"         log: {told.log}",
        ]
    if not found.running and found.done < found.jobs:
        said.append("No job is running; `make run` goes on from here.")
    return [words for words in said if words]
