"""The mean over all networks of a cell: what one number of a table is made of.

A cell is one (dataset, ratio, distiller, debias, ipc, evaluation, metric). Values are percent; the standard
deviation has ddof 0, as the papers print it, and is left out over a single value. The interval is Student's, at 95 %,
over the means of distillation seeds: networks that were trained on one distilled set say nothing about the next one.
Where there is one seed it is over its networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ddbias.base.cell import Cell, shortest
from ddbias.evaluation import comparisons
from ddbias.results.tables.formats import Entry
from ddbias.results.tables.published import Published

if TYPE_CHECKING:
    import pandas as pd

STATES = ("", "not defined", "not run yet")  # from the best to the worst


def summarise(evaluations: pd.DataFrame, row: Mapping, published: Published | None) -> Entry:
    """Pool all networks and seeds of one cell, or put a metric together from those of several.

    Parameters
    ----------
    evaluations : DataFrame
        What `ddbias.results.tables.read.read_evaluations` returns.
    row : mapping
        The cell: the fields of a `ddbias.base.cell.Cell` but the seed, and ``metric``; ``terms`` if the metric is one
        of `ddbias.evaluation.comparisons`.
    published : Published or None

    Returns
    -------
    Entry
        Mean, population standard deviation and half of the interval in percent over the n pooled values; the latter
        two are None for n = 1, and without a value ``state`` tells why: not run yet, or not defined on this test set.
        A metric of several cells has the smallest n of them.
    """
    found = _compared(evaluations, row) if "terms" in row else _pooled(evaluations, row)
    return Entry(
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
    return {name: shortest(row[name]) if name == "ratio" else str(row[name]) for name in Cell.fields_without_seed}


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
