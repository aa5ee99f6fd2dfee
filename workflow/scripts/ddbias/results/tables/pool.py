"""The mean over the distillation seeds of a cell: one number of a table.

A cell is one (dataset, ratio, distiller, debias, ipc, evaluation, metric). Values are percent. Its value for a seed is
the mean over the networks that were trained on the set of that seed; a metric of several cells is put together seed by
seed, of the seeds that all of them have. The interval is Student's, at 95 %, over the values of seeds: networks that
were trained on one set say nothing about the next one, so one seed has none. The standard deviation is what papers
print: ddof 0, over all networks of all seeds (over the seeds for a metric of several cells), left out over one value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ddbias.base.cell import Cell, shortest
from ddbias.evaluation import comparisons
from ddbias.results.tables.formats import NOT_DEFINED, NOT_PAIRED, NOT_RUN, Difference, Entry
from ddbias.results.tables.published import Published

if TYPE_CHECKING:
    import pandas as pd

Cells = Mapping[tuple[str, ...], "pd.DataFrame"]  # see `by_cell`
STATES = ("", NOT_PAIRED, NOT_DEFINED, NOT_RUN)  # from the best to the worst


def by_cell(evaluations: pd.DataFrame) -> Cells:
    """Return the rows of `ddbias.results.tables.read.read_evaluations` by cell (without its seed)."""
    return dict(iter(evaluations.groupby(list(Cell.fields_without_seed), sort=False)))


def summarise(cells: Cells, row: Mapping, published: Published | None) -> Entry:
    """Pool all networks and seeds of one cell, or put a metric together from those of several.

    Parameters
    ----------
    cells : mapping
        What `by_cell` returns.
    row : mapping
        The cell: the fields of a `ddbias.base.cell.Cell` but the seed, and ``metric``; ``terms`` if the metric is one
        of `ddbias.evaluation.comparisons`; ``against``, another such row, if the difference to that is wanted.
    published : Published or None

    Returns
    -------
    Entry
        In percent; without a value its ``state`` tells that it is not run yet, not defined (``why`` says why), or made
        of cells that have no seed in common. ``converged`` is "false" if any set behind the number has not converged,
        "true" if all that can be judged have; ``moved`` and ``first_conflicting`` are means over the cell's own sets.
    """
    found = _pooled(cells, row)
    # What is told of the sets is told of those behind the number.
    behind = of_seeds(cells, [row], found.seeds) if "terms" in row and found.seeds else cells
    sets = _sets(behind, row)
    converged, diverged = _trained(behind, row)
    return Entry(
        key=_texts(row),
        metric=str(row["metric"]),
        mean=found.mean,
        std=float(found.values.std()) if len(found.values) > 1 else None,
        n=len(found.seeds),
        networks=found.networks,
        interval=half_interval(found.seeds.values()),
        published=published.value if published else None,
        published_std=published.std if published else None,
        state=found.state,
        why=found.why,
        diverged=diverged,
        converged=converged,
        moved=_known_mean(sets.get("moved", [])),
        first_conflicting=_known_mean(sets.get("first_conflicting", [])),
        difference=_difference(cells, row, found) if row.get("against") else None,
    )


def of_seeds(cells: Cells, rows: Iterable[Mapping], seeds: Iterable[int]) -> Cells:
    """Return what some rows of a table and their terms need, of some seeds only."""
    keys = {key_of(part) for row in rows for part in (row, *_parts(row))} & cells.keys()
    return {key: cells[key][cells[key]["seed"].isin(list(seeds))] for key in keys}


def common_seeds(cells: Cells, rows: Iterable[Mapping]) -> list[int]:
    """Return the seeds that all metrics of some cells have, in order."""
    return _common(*(_pooled(cells, row) for row in rows))


def key_of(row: Mapping) -> tuple[str, ...]:
    """Return the key of a row's cell in what `by_cell` returns."""
    return tuple(_texts(row).values())


def _texts(row: Mapping) -> dict[str, str]:
    return {name: shortest(row[name]) if name == "ratio" else str(row[name]) for name in Cell.fields_without_seed}


@dataclass
class _Pooled:
    """Percent of every distillation seed, and of every network (or seed); without any, the state says why."""

    seeds: dict[int, float] = field(default_factory=dict)
    values: np.ndarray = field(default_factory=lambda: np.empty(0))
    networks: int = 0
    state: str = ""
    why: str = ""

    @property
    def mean(self) -> float | None:
        return float(np.mean(list(self.seeds.values()))) if self.seeds else None


def _runs(cells: Cells, row: Mapping) -> pd.DataFrame | None:
    return cells.get(key_of(row))


def _sets(cells: Cells, row: Mapping) -> dict[str, list]:
    """Return what is known of each distilled set of a cell that was evaluated, by column."""
    runs = _runs(cells, row)
    return {} if runs is None else runs.drop_duplicates("seed").to_dict("list")


def _parts(row: Mapping) -> list[Mapping]:
    return list(row["terms"].values()) if "terms" in row else [row]


def _pooled(cells: Cells, row: Mapping) -> _Pooled:
    """Pool one metric of one cell, or put it together from its cells."""
    if "terms" in row:
        return _compared(row["metric"], {part: _pooled(cells, cell) for part, cell in row["terms"].items()})
    runs = _runs(cells, row)
    if runs is None:
        return _Pooled(state=NOT_RUN)
    found = runs[runs["metric"] == row["metric"]]
    if not len(found):
        return _Pooled(state=NOT_DEFINED, why=why_undefined(runs, row["metric"]))
    by_seed = found.groupby("seed")["value"]
    seeds = {int(seed): 100 * float(value) for seed, value in by_seed.mean().items()}
    return _Pooled(seeds, 100 * found["value"].to_numpy(float), int(by_seed.count().min()))


def why_undefined(evaluations: pd.DataFrame, metric: str) -> str:
    """Return why none of some evaluations, as `read_evaluations` returns them, has a metric; empty without any."""
    return next((lacking[metric] for lacking in evaluations["lacking"] if metric in lacking), "")


def _compared(metric: str, parts: Mapping[str, _Pooled]) -> _Pooled:
    """Put a metric together from its cells, seed by seed."""
    worst = max(parts.values(), key=lambda part: STATES.index(part.state))
    if worst.state:
        return _Pooled(state=worst.state, why=worst.why)
    common = _common(*parts.values())
    if not common:
        return _Pooled(state=NOT_PAIRED)
    seeds = {s: comparisons.value(metric, {name: part.seeds[s] for name, part in parts.items()}) for s in common}
    return _Pooled(seeds, np.asarray(list(seeds.values())), min(part.networks for part in parts.values()))


def _common(first: _Pooled, *others: _Pooled) -> list[int]:
    """Return the seeds that all have, in order."""
    return sorted(set(first.seeds).intersection(*(other.seeds for other in others)))


def _difference(cells: Cells, row: Mapping, found: _Pooled) -> Difference:
    """Return how much more a row has than the one that it is shown against, paired by seed."""
    other = _pooled(cells, row["against"])
    common = _common(found, other)
    points = [found.seeds[seed] - other.seeds[seed] for seed in common]
    mean = float(np.mean(points)) if points else None
    behind = of_seeds(cells, [row, row["against"]], common)
    trained = _trained(behind, row, row["against"])
    return Difference(str(row["against"]["debias"]), mean, half_interval(points), len(points), *trained)


def _trained(cells: Cells, *rows: Mapping) -> tuple[str, int]:
    """Return whether the sets behind some rows have converged, and how many of the networks diverged.

    A diverged network has no value of some metrics (calibration error), which then are those of the others.
    """
    parts = [part for row in rows for part in _parts(row)]
    states = {one for part in parts for one in _sets(cells, part).get("converged", [])}
    runs = [runs for part in parts if (runs := _runs(cells, part)) is not None]
    diverged = sum(int(one.drop_duplicates(["seed", "repeat"])["diverged"].sum()) for one in runs)
    return next((text for text in ("false", "true") if text in states), ""), diverged


def _known_mean(values: list) -> float | None:
    known = np.asarray(values, float)
    known = known[~np.isnan(known)]
    return float(known.mean()) if len(known) else None


def half_interval(values: Iterable[float], *, of: int = 1) -> float | None:
    """Return half of the 95 % interval of the mean of independent values (Student's t); None below two of them.

    With ``of`` such intervals, all of them together hold with 95 % (Bonferroni): for the largest of several.
    """
    from scipy import stats

    values = np.asarray(list(values), float)
    if len(values) < 2:
        return None
    return float(stats.t.ppf(1 - 0.025 / of, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))


def by_size(value: object) -> tuple[int, float, str]:
    """Return a key that sorts numbers, also as texts, by size, and then names such as ``natural``."""
    try:
        return 0, float(value), str(value)
    except ValueError:
        return 1, 0.0, str(value)
