"""The unit of a study: one distilled set under one evaluation, named as in the paths of its files."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

NATURAL = "natural"
WHOLE = "all"


@dataclass(frozen=True, order=True)
class Cell:
    """One evaluated distilled set; every field is the text of a wildcard."""

    dataset: str
    ratio: str
    distiller: str
    debias: str
    ipc: str
    seed: str
    evaluation: str

    fields = ("dataset", "ratio", "distiller", "debias", "ipc", "seed", "evaluation")  # as in paths
    fields_without_seed = ("dataset", "ratio", "distiller", "debias", "ipc", "evaluation")

    def without_seed(self) -> tuple[str, ...]:
        """Return the texts of all fields but the seed: what one row of a table stands for."""
        return tuple(getattr(self, field) for field in self.fields_without_seed)


def ratio_text(ratio: float | str) -> str:
    """Write a ratio as its shortest decimal (``0.95``, ``1``), or ``natural``."""
    return ratio if ratio == NATURAL else format(Decimal(str(ratio)).normalize(), "f")


def texts(cell: Mapping) -> dict:
    """Return the values of a cell, or of some of its fields, as wildcards write them."""
    return {k: ratio_text(v) if k == "ratio" else str(v) for k, v in cell.items()}


def named(cell: Mapping) -> str:
    """Return the fields of a cell in words, without the metric."""
    return " ".join(f"{key}={value}" for key, value in cell.items() if key != "metric")


def expand(entry: Mapping) -> Iterator[Cell]:
    """Yield the cells of an entry of the grid: the product of its lists."""
    axes = (entry["ratios"], entry["distillers"], entry["debias"], entry["ipc"], entry["seeds"], entry["evaluations"])
    for ratio, distiller, debias, ipc, seed, evaluation in itertools.product(*axes):
        yield Cell(entry["dataset"], ratio_text(ratio), distiller, debias, str(ipc), str(seed), evaluation)


def chosen_cells(made: list[Cell], selections: list[Mapping]) -> list[dict]:
    """Return the cells that selections name, without seeds, in their order; all that are made when there are none."""
    found = []
    for selection in selections or [None]:
        cells = made if selection is None else expand({**selection, "seeds": ["*"]})
        found += [cell.without_seed() for cell in cells]
    return [dict(zip(Cell.fields_without_seed, values, strict=True)) for values in dict.fromkeys(found)]


def identity(cell: Mapping) -> tuple[str, ...]:
    """Return the fields of a cell without its seed: what one row of a table stands for."""
    return tuple(cell[field] for field in Cell.fields_without_seed)


def shortest(number: object) -> str:
    """Return a ratio as its shortest decimal (``0.95``, ``1``); names such as ``natural`` stay as they are."""
    try:
        return format(float(number), ".12g")
    except (TypeError, ValueError):
        return str(number)
