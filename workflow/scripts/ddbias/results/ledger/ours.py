"""Our value of a cell, from finished results or else from kept tables, with the recorded facts."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from ddbias.base.cell import shortest
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.results.ledger.asked import Asked, Scale
from ddbias.results.tables.pool import by_cell, summarise
from ddbias.results.tables.read import read_evaluation, read_evaluations

CELL = ("dataset", "ratio", "distiller", "debias", "ipc", "evaluation", "metric")


@dataclass(frozen=True)
class Ours:
    """Our value and the facts behind it; what is not recorded is None or empty.

    Attributes
    ----------
    mean, interval : float or None
        Percent, and half of its 95 % interval over seeds; no mean where the metric is not defined, and `why` says why.
    diverged : int
        Number of diverged networks behind it.
    seeds : int
        Of distillation.
    scale, origin : str
        The scale, and the folder of results or the kept table.
    commit, device, date : str
    converged : bool or None
        False if any of the sets has not converged.
    moved : str
        Mean change of a raw pixel, 0..255.
    iterations : int or None
        Done, the most of any seed.
    distiller, evaluation : mapping or None
        The settings that were recorded.
    notes : tuple of str
        Facts on the copy of the data.
    """

    mean: float | None
    interval: float | None
    seeds: int
    scale: str
    origin: str
    commit: str = ""
    device: str = ""
    date: str = ""
    why: str = ""
    diverged: int = 0
    converged: bool | None = None
    moved: str = ""
    iterations: int | None = None
    distiller: Mapping | None = None
    evaluation: Mapping | None = None
    notes: tuple[str, ...] = field(default=())


class Kept(NamedTuple):
    """A row of a kept table, and the name of its file."""

    file: str
    row: Mapping[str, str]


def read_kept(paths: Iterable[str | Path]) -> dict[tuple[str, ...], list[Kept]]:
    """Read the kept tables; return their rows by cell and metric.

    Raises
    ------
    DdbiasError
        If a file lacks a column.
    """
    rows: dict[tuple[str, ...], list[Kept]] = {}
    for path in map(Path, paths):
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            lacking = [name for name in (*CELL, "mean", "n", "scale") if name not in (reader.fieldnames or ())]
            if lacking:
                raise DdbiasError(f"{path} is no kept table: it lacks {', '.join(lacking)}; keep the table again")
            for row in reader:
                rows.setdefault(tuple(row[name] for name in CELL), []).append(Kept(path.as_posix(), row))
    return rows


def find(asked: Asked, kept: Mapping[tuple[str, ...], Sequence[Kept]], folder: Path = Path()) -> Ours | None:
    """Return our value beside a published number, that of the largest scale there is; None if it was not run.

    At the same scale finished results take precedence over kept tables. A row of these counts if it names the study; of
    several the one with most seeds.

    Parameters
    ----------
    asked : Asked
    kept : mapping
        What `read_kept` returns.
    folder : path
        The working directory of the studies.
    """
    for name, scale in reversed(asked.scales.items()):
        if found := _from_results(asked, name, scale, folder):
            return found
        of_cell = kept.get((*asked.cell.values(), asked.metric), ())
        fitting = [one for one in of_cell if one.row["scale"] == name and one.row.get("study") == asked.study]
        if fitting:
            return max((_from_kept(*one) for one in fitting), key=lambda ours: ours.seeds)
    return None


def _from_results(asked: Asked, name: str, scale: Scale, folder: Path) -> Ours | None:
    there = [(folder / made, folder / file) for made, file in scale.sets if (folder / file).is_file()]
    if not there:
        return None
    frame = read_evaluations([file for _, file in there])
    # Files may have been copied from another study: what is in them counts.
    entry = summarise(by_cell(frame), {**asked.cell, "metric": asked.metric}, None)
    seeds = frame["seed"].nunique()
    runs = [store.read_json(made / "run.json") for made, _ in there if (made / "run.json").is_file()]
    settings = [_settings(made / "distilled.safetensors") for made, _ in there]
    records = [run.get("distillation") or {} for run in runs]
    return Ours(
        mean=entry.mean,
        interval=entry.interval if seeds > 1 else None,
        seeds=seeds,
        scale=name,
        origin=scale.folder,
        commit=_distinct(run.get("commit") for run in runs),
        device=_distinct(run.get("device") for run in runs),
        date=_distinct(str(run.get("date", ""))[:10] for run in runs),
        why=entry.why,
        diverged=entry.diverged,
        converged=_all(record.get("converged") for record in records),
        moved=_range([record["moved"] for record in records if record.get("moved") is not None]),
        iterations=max((record["iterations"] for record in records if record.get("iterations")), default=None),
        distiller=settings[0],
        evaluation=read_evaluation(there[0][1])[1].get("settings"),
        notes=_data_notes(folder / scale.data / "train.arrow"),
    )


def _settings(path: Path) -> Mapping | None:
    """Return the settings of the distiller that are recorded in a distilled set."""
    if not path.is_file():
        return None
    _, meta = store.read_tensors(path, framework="np", prefix=None)
    return (meta.get("settings") or {}).get("distiller")


def _data_notes(path: Path) -> tuple[str, ...]:
    """Return what the source of a data set recorded about its copy."""
    if not path.is_file():
        return ()
    _, meta = store.read_arrow(path)
    note = (meta.get("source") or {}).get("note")
    return (str(note),) if note else ()


def _from_kept(file: str, row: Mapping[str, str]) -> Ours:
    iterations = [int(word) for word in row.get("iterations", "").split() if word.isdecimal()]
    states = [word.lower() == "true" for word in row.get("converged", "").split()]
    return Ours(
        mean=float(row["mean"]),
        interval=float(row["interval"]) if row.get("interval") else None,
        seeds=int(row["n"]),
        scale=row["scale"],
        origin=file,
        commit=row.get("commit", ""),
        device=row.get("device", ""),
        date=row.get("date", ""),
        diverged=int(row.get("diverged") or 0),
        converged=_all(states),
        moved=row.get("moved", ""),
        iterations=max(iterations, default=None),
    )


def _all(states: Iterable[bool | None]) -> bool | None:
    known = [state for state in states if state is not None]
    return all(known) if known else None


def _distinct(values: Iterable[str | None]) -> str:
    return " ".join(sorted({str(value) for value in values if value}))


def _range(values: Sequence[float]) -> str:
    """Write numbers as ``1.8`` or ``1.8 to 2.1``."""
    ends = dict.fromkeys(shortest(round(value, 1)) for value in (min(values), max(values))) if values else ()
    return " to ".join(ends)
