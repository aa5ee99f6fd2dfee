"""Result tables: the mean over all networks of a cell, beside the published number and the gap.

A cell is one (dataset, ratio, distiller, debias, ipc, evaluation, metric). Values are percent; the standard
deviation has ddof 0, as the papers print it, and is left out over a single value. `ddbias.table_formats` writes
what is computed here.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ddbias import image_metrics, store
from ddbias.errors import DdbiasError, unknown
from ddbias.groups import CONVENTIONS
from ddbias.table_formats import Cell, Table, write_csv, write_html, write_markdown, write_tex

if TYPE_CHECKING:
    import pandas as pd

KEYS = ("dataset", "ratio", "distiller", "debias", "ipc", "evaluation")
EVALUATION_COLUMNS = ("study", "scale", *KEYS[:-1], "seed", "evaluation", "repeat", "metric", "value", "support")
PUBLISHED_KEYS = ("source", "table", "dataset", "setting", "method", "ipc", "metric")
WRITERS = {"csv": write_csv, "md": write_markdown, "tex": write_tex, "html": write_html}


def shortest(number: object) -> str:
    """Return a ratio as its shortest decimal (``0.95``, ``1``); names such as ``natural`` stay as they are."""
    try:
        return format(float(number), ".12g")
    except (TypeError, ValueError):
        return str(number)


def read_evaluations(paths: Sequence[str | Path]) -> pd.DataFrame:
    """Read the evaluation files that exist and join them row by row.

    Parameters
    ----------
    paths : sequence of path
        Files that the stage `evaluate` writes; those that do not exist (yet) are passed over.

    Returns
    -------
    DataFrame
        The columns of `EVALUATION_COLUMNS` (``value`` in 0..1, or more for those of
        `ddbias.image_metrics.ABOVE_ONE`; ``ratio`` and ``ipc`` are strings) and
        ``convention``, the test convention from the file's metadata. Without a file it has no rows.

    Raises
    ------
    DdbiasError
        If a file is damaged, lacks a column, holds a value outside 0..1, or a network occurs twice.
    """
    import pandas as pd

    frames = [_read_evaluation(path) for path in dict.fromkeys(map(str, paths)) if Path(path).is_file()]
    if not frames:
        return pd.DataFrame(columns=[*EVALUATION_COLUMNS, "convention"])
    joined = pd.concat(frames, ignore_index=True)
    identity = [c for c in EVALUATION_COLUMNS if c not in ("value", "support")]
    twice = joined[joined.duplicated(identity)]
    if len(twice):
        row = ", ".join(f"{name} {twice.iloc[0][name]}" for name in identity)
        raise DdbiasError(f"the evaluations hold one network twice ({row}); pass each result once")
    return joined


def _read_evaluation(path: str | Path) -> pd.DataFrame:
    table, meta = store.read_table(path)
    missing = [name for name in EVALUATION_COLUMNS if name not in table.column_names]
    if missing:
        raise DdbiasError(f"{path} is not an evaluation: it lacks the columns {', '.join(missing)}; evaluate again")
    frame = table.select(EVALUATION_COLUMNS).to_pandas()
    most = np.where(frame["metric"].isin(image_metrics.ABOVE_ONE), np.inf, 1)
    if not frame["value"].between(0, most).all():  # False for NaN too
        raise DdbiasError(f"{path} holds a value outside 0..1; metrics are stored as fractions, evaluate again")
    frame["ratio"] = [shortest(ratio) for ratio in frame["ratio"]]
    frame["ipc"] = frame["ipc"].astype(str)
    return frame.assign(convention=str(meta.get("convention", "unknown")))


@dataclass(frozen=True)
class Published:
    """A published number, in percent; `std` is None where the source prints none."""

    value: float
    std: float | None
    source: str


def read_published(path: str | Path) -> list[dict[str, str]]:
    """Read the CSV of published numbers as strings; a missing column raises `DdbiasError`."""
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in (*PUBLISHED_KEYS, "value", "std") if name not in (reader.fieldnames or ())]
        if missing:
            raise DdbiasError(f"{path} lacks the columns {', '.join(missing)}; restore it from the repository")
        return list(reader)


def select_published(rows: Sequence[Mapping[str, str]], selector: Mapping[str, object]) -> Published:
    """Return the one published number that `selector` names.

    Parameters
    ----------
    rows : sequence of mapping
        What `read_published` returns.
    selector : mapping
        Wanted values for some of `PUBLISHED_KEYS`, compared as strings; None stands for an empty entry.

    Raises
    ------
    DdbiasError
        If no row or several rows match, or a key is not a column.
    """
    for key, wanted in selector.items():
        if key not in PUBLISHED_KEYS:
            raise DdbiasError(f"published: {unknown('key', key, PUBLISHED_KEYS)}")
        text = "" if wanted is None else str(wanted)
        matching = [row for row in rows if row[key] == text]
        if not matching:
            raise DdbiasError(f"published: no such number, {unknown(key, text, {row[key] for row in rows})}")
        rows = matching
    if len(rows) > 1:
        names = ", ".join(f"{key} {value}" for key, value in selector.items())
        differing = [key for key in PUBLISHED_KEYS if len({row[key] for row in rows}) > 1]
        raise DdbiasError(f"published: {len(rows)} numbers match ({names}); give also {', '.join(differing) or 'one'}")
    row = rows[0]
    std = float(row["std"]) if row["std"] else None
    return Published(float(row["value"]), std, f"{row['source']}, {row['table']}")


def summarise(evaluations: pd.DataFrame, row: Mapping, published: Published | None) -> Cell:
    """Pool all networks and seeds of one cell.

    Parameters
    ----------
    evaluations : DataFrame
        What `read_evaluations` returns.
    row : mapping
        The cell: the `KEYS` and ``metric``.
    published : Published or None

    Returns
    -------
    Cell
        Mean and population standard deviation in percent over the n pooled values; ``std`` is None for n = 1,
        and without a value ``state`` tells why: not run yet, or not defined on this test set.
    """
    key = {name: shortest(row[name]) if name == "ratio" else str(row[name]) for name in KEYS}
    runs = evaluations
    for name, value in key.items():
        runs = runs[runs[name] == value]
    values = 100 * runs.loc[runs["metric"] == row["metric"], "value"].to_numpy(float)
    mean, std = (values.mean(), values.std()) if len(values) else (None, None)
    return Cell(
        key=key,
        metric=str(row["metric"]),
        mean=mean,
        std=std if len(values) > 1 else None,
        n=len(values),
        published=published.value if published else None,
        published_std=published.std if published else None,
        state="" if len(values) else ("not defined" if len(runs) else "not run yet"),
    )


def tabulate(
    *,
    evaluations: Sequence[str | Path],
    rows: Sequence[Mapping],
    published: str | Path,
    scale: str,
    commit: str,
    outputs: Mapping[str, str | Path],
    caption: str,
) -> None:
    """Write one table in every format asked for.

    Parameters
    ----------
    evaluations : sequence of path
        All evaluation files that the table rests on; the missing ones are counted in the footer.
    rows : sequence of mapping
        The cells in table order: `KEYS`, ``metric``, and ``published`` (a selector or None).
    published : path
        The CSV of published numbers.
    scale, commit, caption : str
        Shown with the table. The CSV holds the scale but never the commit, so a rerun gives the same bytes.
    outputs : mapping
        Format (``csv``, ``md``, ``tex``, ``html``) to the path to write.

    Raises
    ------
    DdbiasError
        If a file is not what it should be, the evaluations are of another scale, a published number is not
        found exactly once, or a format is unknown.
    """
    for form in outputs:
        if form not in WRITERS:
            raise unknown("table format", form, WRITERS)
    frame = read_evaluations(evaluations)
    foreign = sorted(set(frame["scale"]) - {scale})
    if foreign:
        raise DdbiasError(f"the table is for scale {scale} but an evaluation has scale {foreign[0]}; mix no scales")
    numbers = read_published(published)
    cells, sources = [], []
    for row in rows:
        number = select_published(numbers, row["published"]) if row.get("published") else None
        sources += [number.source] if number else []
        cells.append(summarise(frame, row, number))
    done = sum(Path(path).is_file() for path in evaluations)
    notes = _notes(frame, cells, sources, scale=scale, commit=commit, done=done, total=len(evaluations))
    table = Table(caption=caption, scale=scale, cells=cells, notes=notes)
    for form, path in outputs.items():
        WRITERS[form](path, table)


def _notes(
    frame: pd.DataFrame, cells: list[Cell], sources: list[str], *, scale: str, commit: str, done: int, total: int
) -> list[str]:
    """Say what the numbers mean: the footer of the table."""
    notes = [f"Scale {scale}, commit {commit}."]
    if done < total:
        notes.append(f"Unfinished: {done} of {total} evaluations have been run.")
    notes.append(
        "Percent; mean ± standard deviation (ddof 0) over n values, every network of every distillation seed; "
        "– where one value has no deviation."
    )
    shown = frame[frame["dataset"].isin({cell.key["dataset"] for cell in cells})]
    for kind, names in shown.groupby("convention")["dataset"].unique().items():
        notes.append(f"Test set {_convention(kind)}: {', '.join(sorted(names))}.")
    if any(cell.state == "not defined" for cell in cells):
        notes.append("Not defined: the metric needs groups that this test set does not have.")
    if any(cell.metric in image_metrics.METRICS for cell in cells):
        notes.append(
            "Of the images themselves: n counts draws of real images; distances are percent of those of real images."
        )
    if sources:
        notes.append(f"Published: {'; '.join(dict.fromkeys(sources))}; gap = mean − published, in points.")
    return notes


def _convention(kind: str) -> str:
    return f"{kind} ({CONVENTIONS[kind]})" if kind in CONVENTIONS else kind
