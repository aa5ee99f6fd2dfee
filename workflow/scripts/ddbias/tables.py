"""Result tables: the mean over all networks of a cell, beside the published number and the gap.

A cell is one (dataset, ratio, distiller, debias, ipc, evaluation, metric). Values are percent; the standard
deviation has ddof 0, as the papers print it, and is left out over a single value. The interval is Student's, at 95 %,
over the means of distillation seeds: networks that were trained on one distilled set say nothing about the next one.
Where there is one seed it is over its networks. `ddbias.table_formats` writes what is computed here.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ddbias import comparisons, image_metrics, store
from ddbias.errors import DdbiasError, unknown
from ddbias.groups import CONVENTIONS
from ddbias.table_formats import Cell, Table, write_csv, write_html, write_markdown, write_tex

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

KEYS = ("dataset", "ratio", "distiller", "debias", "ipc", "evaluation")
EVALUATION_COLUMNS = ("study", "scale", *KEYS[:-1], "seed", "evaluation", "repeat", "metric", "value", "support")
PUBLISHED_KEYS = ("source", "table", "dataset", "setting", "method", "ipc", "metric")
STATES = ("", "not defined", "not run yet")  # from the best to the worst
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

    frames = [_frame(path) for path in dict.fromkeys(map(str, paths)) if Path(path).is_file()]
    if not frames:
        return pd.DataFrame(columns=[*EVALUATION_COLUMNS, "convention"])
    joined = pd.concat(frames, ignore_index=True)
    identity = [c for c in EVALUATION_COLUMNS if c not in ("value", "support")]
    twice = joined[joined.duplicated(identity)]
    if len(twice):
        row = ", ".join(f"{name} {twice.iloc[0][name]}" for name in identity)
        raise DdbiasError(f"the evaluations hold one network twice ({row}); pass each result once")
    return joined


def read_evaluation(path: str | Path) -> tuple[pa.Table, dict]:
    """Return the rows (the columns of `EVALUATION_COLUMNS`) and the metadata of one evaluation file.

    Raises
    ------
    DdbiasError
        If the file is damaged, lacks a column or holds a value outside 0..1.
    """
    table, meta = store.read_table(path)
    missing = [name for name in EVALUATION_COLUMNS if name not in table.column_names]
    if missing:
        raise DdbiasError(f"{path} is not an evaluation: it lacks the columns {', '.join(missing)}; evaluate again")
    value, metric = table["value"].to_numpy(), np.array(table["metric"].to_pylist())
    most = np.where(np.isin(metric, image_metrics.ABOVE_ONE), np.inf, 1)
    if not ((value >= 0) & (value <= most)).all():  # False for NaN too
        raise DdbiasError(f"{path} holds a value outside 0..1; metrics are stored as fractions, evaluate again")
    return table.select(EVALUATION_COLUMNS), meta


def _frame(path: str | Path) -> pd.DataFrame:
    table, meta = read_evaluation(path)
    frame = table.to_pandas()
    frame["ratio"] = [shortest(ratio) for ratio in frame["ratio"]]
    frame["ipc"] = frame["ipc"].astype(str)
    return frame.assign(convention=str(meta.get("convention", "unknown")))


SPREADS = {
    "deviation": "Percent; mean ± standard deviation (ddof 0) over n values, every network of every distillation seed; "
    "– where one value has no deviation.",
    "interval": "Percent; mean over n values, every network of every distillation seed, ± half of its 95 % interval "
    "(Student's t over the seeds, over the networks where there is one seed); – where one value has none.",
}
COMPARED = (
    "Amplification: points of accuracy that the distilled set loses more to the bias than the whole training set does, "
    "each against its own kind made from unbiased data; ± is the root of the sum of its terms' squares.",
)


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
    """Pool all networks and seeds of one cell, or put a metric together from those of several.

    Parameters
    ----------
    evaluations : DataFrame
        What `read_evaluations` returns.
    row : mapping
        The cell: the `KEYS` and ``metric``; ``terms`` if the metric is one of `ddbias.comparisons`.
    published : Published or None

    Returns
    -------
    Cell
        Mean, population standard deviation and half of the interval in percent over the n pooled values; the latter
        two are None for n = 1, and without a value ``state`` tells why: not run yet, or not defined on this test set.
        A metric of several cells has the smallest n of them.
    """
    found = _compared(evaluations, row) if "terms" in row else _pooled(evaluations, row)
    return Cell(
        key=_texts(row),
        metric=str(row["metric"]),
        mean=found.mean,
        std=found.std,
        n=found.n,
        interval=found.interval,
        published=published.value if published else None,
        published_std=published.std if published else None,
        state=found.state,
    )


def _texts(row: Mapping) -> dict[str, str]:
    return {name: shortest(row[name]) if name == "ratio" else str(row[name]) for name in KEYS}


class _Pooled(NamedTuple):
    """Mean, deviation and half of the interval in percent over n values; without any, the state says why."""

    mean: float | None = None
    std: float | None = None
    interval: float | None = None
    n: int = 0
    state: str = ""


def _pooled(evaluations: pd.DataFrame, row: Mapping) -> _Pooled:
    """Pool one metric of one cell."""
    runs = evaluations
    for name, value in _texts(row).items():
        runs = runs[runs[name] == value]
    found = runs[runs["metric"] == row["metric"]]
    values = 100 * found["value"].to_numpy(float)
    if not len(values):
        return _Pooled(state="not defined" if len(runs) else "not run yet")
    if len(values) == 1:
        return _Pooled(values.mean(), n=1)
    seeds = 100 * found.groupby("seed")["value"].mean().to_numpy(float)
    return _Pooled(values.mean(), values.std(), half_interval(seeds if len(seeds) > 1 else values), len(values))


def _compared(evaluations: pd.DataFrame, row: Mapping) -> _Pooled:
    """Put a metric together from its cells."""
    parts = {part: _pooled(evaluations, cell) for part, cell in row["terms"].items()}
    n, state = min(p.n for p in parts.values()), max((p.state for p in parts.values()), key=STATES.index)
    if state:
        return _Pooled(n=n, state=state)
    means, stds, intervals = ({part: p[i] for part, p in parts.items()} for i in range(3))
    mean = comparisons.value(row["metric"], means)
    spread = partial(comparisons.deviation, row["metric"])
    return _Pooled(mean, spread(stds), spread(intervals), n)


def half_interval(values: np.ndarray) -> float:
    """Return half of the 95 % interval of the mean of at least two independent values (Student's t)."""
    from scipy import stats

    return float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def tabulate(
    *,
    evaluations: Sequence[str | Path],
    rows: Sequence[Mapping],
    published: str | Path,
    scale: str,
    commit: str,
    outputs: Mapping[str, str | Path],
    caption: str,
    spread: str = "deviation",
) -> None:
    """Write one table in every format asked for.

    Parameters
    ----------
    evaluations : sequence of path
        All evaluation files that the table rests on; the missing ones are counted in the footer.
    rows : sequence of mapping
        The cells in table order: `KEYS`, ``metric``, perhaps ``terms``, and ``published`` (a selector or None).
    published : path
        The CSV of published numbers.
    scale, commit, caption : str
        Shown with the table. The CSV holds the scale but never the commit, so a rerun gives the same bytes.
    spread : {"deviation", "interval"}
        What people's formats show behind the ±; the CSV has both.
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
    notes[1:1] = [SPREADS[spread], *COMPARED[: any(cell.metric in comparisons.METRICS for cell in cells)]]
    table = Table(caption=caption, scale=scale, cells=cells, notes=notes, spread=spread)
    for form, path in outputs.items():
        WRITERS[form](path, table)


def _notes(
    frame: pd.DataFrame, cells: list[Cell], sources: list[str], *, scale: str, commit: str, done: int, total: int
) -> list[str]:
    """Say what the numbers mean: the footer of the table."""
    notes = [f"Scale {scale}, commit {commit}."]
    if done < total:
        notes.append(f"Unfinished: {done} of {total} evaluations have been run.")
    shown = frame[frame["dataset"].isin({cell.key["dataset"] for cell in cells})]
    for kind, names in shown.groupby("convention")["dataset"].unique().items():
        notes.append(f"Test set {convention(kind)}: {', '.join(sorted(names))}.")
    if any(cell.state == "not defined" for cell in cells):
        notes.append("Not defined: the metric needs groups that this test set does not have.")
    if any(cell.metric in image_metrics.METRICS for cell in cells):
        notes.append(
            "Of the images themselves: n counts draws of real images; distances are percent of those of real images."
        )
    if sources:
        notes.append(f"Published: {'; '.join(dict.fromkeys(sources))}; gap = mean − published, in points.")
    return notes


def convention(kind: str) -> str:
    """Say how the attributes of a test set relate to its labels."""
    return f"{kind} ({CONVENTIONS[kind]})" if kind in CONVENTIONS else kind
