"""The plan that a study's config describes: its cells, what each job needs, and references that do not resolve.

Imported by the Snakefile, so it imports neither torch nor pandas.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from ddbias.config import ConfigErrors, complete
from ddbias.errors import nearest

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

    def without_seed(self) -> tuple[str, ...]:
        """Return the texts of all fields but the seed: what one row of a table stands for."""
        return tuple(getattr(self, field) for field in self.fields if field != "seed")


def ratio_text(ratio: float | str) -> str:
    """Write a ratio as its shortest decimal (``0.95``, ``1``), or ``natural``."""
    return ratio if ratio == NATURAL else format(Decimal(str(ratio)).normalize(), "f")


class Study:
    """A checked study.

    Parameters
    ----------
    config : mapping
        A whole study file, as read.

    Raises
    ------
    ConfigErrors
        One line for every mistake.
    """

    def __init__(self, config: Mapping) -> None:
        self.config = complete(config)
        self.name, self.scale = self.config["study"], self.config["scale"]
        errors = list(_references(self.config))
        if errors:
            raise ConfigErrors(errors)
        self.cells = list(dict.fromkeys(itertools.chain.from_iterable(map(_expand, self.config["grid"]))))
        errors = list(_cell_errors(self))
        if errors:
            raise ConfigErrors(errors)

    def values(self, field: str) -> list[str]:
        """Return the values that a wildcard takes in the study, in order of appearance."""
        return list(dict.fromkeys(getattr(cell, field) for cell in self.cells))

    def needs_surrogate(self, debias: str) -> bool:
        """Tell whether the weights of a debias come from a surrogate."""
        return "surrogate" in self.config["debias"][debias]

    def weighted(self) -> list[tuple[str, str, str, str]]:
        """Return (dataset, ratio, debias, seed) of every weights file."""
        keys = [(c.dataset, c.ratio, c.debias, c.seed) for c in self.cells if self.needs_surrogate(c.debias)]
        return list(dict.fromkeys(keys))

    def table_rows(self, table: str) -> list[dict]:
        """Return the rows of a table: cell and metric, with the selector of the published value or None."""
        settings = self.config["tables"][table]
        rows = []
        for cell in table_cells(self, settings):
            for metric in settings["metrics"]:
                row = {**cell, "metric": metric}
                row["published"] = next((p["value"] for p in settings["published"] if _text(p["cell"]) == row), None)
                rows.append(row)
        return rows

    def select(self, **wanted: str) -> list[Cell]:
        """Return the cells whose fields have the wanted texts."""
        return [c for c in self.cells if all(getattr(c, key) == str(value) for key, value in wanted.items())]


def _expand(entry: Mapping) -> Iterator[Cell]:
    axes = (entry["ratios"], entry["distillers"], entry["debias"], entry["ipc"], entry["seeds"], entry["evaluations"])
    for ratio, distiller, debias, ipc, seed, evaluation in itertools.product(*axes):
        yield Cell(entry["dataset"], ratio_text(ratio), distiller, debias, str(ipc), str(seed), evaluation)


def _text(cell: Mapping) -> dict:
    """Write the values of a cell as wildcards do."""
    return {k: ratio_text(v) if k == "ratio" else str(v) for k, v in cell.items()}


def table_cells(study: Study, settings: Mapping) -> list[dict]:
    """Return the cells of a table without seeds, in its order; all of the grid when it names none."""
    names = [field for field in Cell.fields if field != "seed"]
    selections = settings["cells"] or [None]
    found = []
    for selection in selections:
        cells = study.cells if selection is None else _expand({**selection, "seeds": ["*"]})
        found += [cell.without_seed() for cell in cells]
    return [dict(zip(names, values, strict=True)) for values in dict.fromkeys(found)]


def _references(config: Mapping) -> Iterator[str]:
    """Yield a line for every name that is used but not defined."""

    def missing(path: str, name: str, section: str) -> Iterator[str]:
        if name not in config[section]:
            known = ", ".join(config[section]) or "none"
            yield f"{path} = '{name}': not defined under {section}; defined: {known}.{nearest(name, config[section])}"

    for section, key, target in (
        ("surrogates", "network", "networks"),
        ("distillers", "network", "networks"),
        ("evaluations", "network", "networks"),
        ("debias", "surrogate", "surrogates"),
    ):
        for name, settings in config[section].items():
            if key in settings:
                yield from missing(f"{section}.{name}.{key}", settings[key], target)
    selections = [(f"grid[{i}]", entry) for i, entry in enumerate(config["grid"])]
    for name, table in config["tables"].items():
        selections += [(f"tables.{name}.cells[{i}]", entry) for i, entry in enumerate(table["cells"])]
    for path, entry in selections:
        yield from missing(f"{path}.dataset", entry["dataset"], "datasets")
        for key in ("distillers", "debias", "evaluations"):
            for i, name in enumerate(entry[key]):
                yield from missing(f"{path}.{key}[{i}]", name, key)
        if entry["dataset"] in config["datasets"]:
            natural = config["datasets"][entry["dataset"]]["bias"]["kind"] == "none"
            for i, ratio in enumerate(entry["ratios"]):
                if natural != (ratio == NATURAL):
                    allowed = "'natural', since its bias is none" if natural else "a number, since a bias is injected"
                    yield f"{path}.ratios[{i}] = {ratio}: must be {allowed} in {entry['dataset']}"
        for i, (distiller, ipc) in enumerate(itertools.product(entry["distillers"], entry["ipc"])):
            kind = config["distillers"].get(distiller, {}).get("kind")
            if kind and (kind == "whole") != (ipc == WHOLE):
                yield f"{path}.ipc = {ipc}: the distiller {distiller} takes {'only all' if kind == 'whole' else 'a number'}"
                break
    for name, figure in config["figures"].items():
        for key, section in (("dataset", "datasets"), ("evaluation", "evaluations"), ("debias", "debias")):
            if key in figure:
                yield from missing(f"figures.{name}.{key}", figure[key], section)


def _cell_errors(study: Study) -> Iterator[str]:
    """Yield a line for every table cell or figure that the grid does not make, and every impossible cell."""
    made = {_key(cell) for cell in table_cells(study, {"cells": []})}
    for name, table in study.config["tables"].items():
        for cell in table_cells(study, table):
            if _key(cell) not in made:
                yield f"tables.{name}: asks for {_name(cell)}, which the grid does not make{_closest(cell, made)}"
        for i, published in enumerate(table["published"]):
            cell = _text(published["cell"])
            if _key(cell) not in {_key(c) for c in table_cells(study, table)}:
                yield f"tables.{name}.published[{i}]: {_name(cell)} is not a row of the table{_closest(cell, made)}"
            elif cell["metric"] not in table["metrics"]:
                yield f"tables.{name}.published[{i}].cell.metric = {cell['metric']}: is not among the table's metrics"
    for name, figure in study.config["figures"].items():
        wanted = {k: ratio_text(v) if k == "ratio" else v for k, v in figure.items() if k in Cell.fields}
        if not study.select(**wanted):
            yield f"figures.{name}: the grid makes nothing with {_name(_text(wanted))}"


def _key(cell: Mapping) -> tuple:
    return tuple(cell[k] for k in ("dataset", "ratio", "distiller", "debias", "ipc", "evaluation"))


def _name(cell: Mapping) -> str:
    return " ".join(f"{key}={value}" for key, value in cell.items() if key != "metric")


def _closest(cell: Mapping, made: set) -> str:
    hint = nearest("/".join(_key(cell)), ["/".join(key) for key in made])
    return hint.replace("Did you mean", "Nearest cell:").replace("?", "") if hint else ""
