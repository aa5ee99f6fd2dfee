"""The plan that a study's config describes: its cells, what each job needs, and references that do not resolve.

Imported by the Snakefile, so it imports neither torch nor pandas.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from difflib import SequenceMatcher

from ddbias import plugins
from ddbias.class_sizes import smallest_class
from ddbias.config import ConfigErrors, complete
from ddbias.errors import nearest

NATURAL = "natural"
WHOLE = "all"
OWN_ATTRIBUTE = ("none", "subsample")  # biases that keep the attribute of the source


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
        plugins.use(self.config["plugins"])
        self.name, self.scale = self.config["study"], self.config["scale"]
        _raise([*_undefined(self.config), *_contradictions(self.config)])
        for dataset in self.config["datasets"].values():
            own = dataset["bias"]["kind"] in OWN_ATTRIBUTE
            dataset["test"] = dataset["test"] or (NATURAL if own else "balanced")
        self.cells = list(dict.fromkeys(itertools.chain.from_iterable(map(_expand, self.config["grid"]))))
        _raise([*_cell_errors(self), *_figure_errors(self), *_ipc_errors(self.config)])

    def values(self, field: str) -> list[str]:
        """Return the values that a wildcard takes in the study, in order of appearance."""
        return list(dict.fromkeys(getattr(cell, field) for cell in self.cells))

    def needs_surrogate(self, debias: str) -> bool:
        """Tell whether the weights of a debias come from a surrogate."""
        return "surrogate" in self.config["debias"][debias]

    def pools(self, distiller: str) -> list[str]:
        """Return the names of the pools of models that a distiller uses."""
        settings = self.config["distillers"][distiller]
        own, guiding = settings.get("models"), (settings.get("guidance") or {}).get("models", [])
        return [*([own] if own else []), *guiding]

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
    selections = settings["cells"] or [None]
    found = []
    for selection in selections:
        cells = study.cells if selection is None else _expand({**selection, "seeds": ["*"]})
        found += [cell.without_seed() for cell in cells]
    return [dict(zip(Cell.fields_without_seed, values, strict=True)) for values in dict.fromkeys(found)]


def _raise(errors: list[str]) -> None:
    if errors:
        raise ConfigErrors(errors)


def _selections(config: Mapping) -> list[tuple[str, Mapping]]:
    """Return (path, entry) of everything that selects cells by lists of names."""
    found = [(f"grid[{i}]", entry) for i, entry in enumerate(config["grid"])]
    for name, table in config["tables"].items():
        found += [(f"tables.{name}.cells[{i}]", entry) for i, entry in enumerate(table["cells"])]
    return found


def _undefined(config: Mapping) -> Iterator[str]:
    """Yield a line for every name that is used but not defined."""

    def missing(path: str, name: str, section: str) -> Iterator[str]:
        if name not in config[section]:
            known = ", ".join(config[section]) or "none"
            yield f"{path} = '{name}': not defined under {section}; defined: {known}.{nearest(name, config[section])}"

    for section, key, target in (
        ("surrogates", "network", "networks"),
        ("distillers", "network", "networks"),
        ("distillers", "models", "models"),
        ("models", "network", "networks"),
        ("models", "domain", "datasets"),
        ("evaluations", "network", "networks"),
        ("debias", "surrogate", "surrogates"),
        ("figures", "dataset", "datasets"),
        ("figures", "evaluation", "evaluations"),
        ("figures", "debias", "debias"),
    ):
        for name, settings in config[section].items():
            if settings.get(key) is not None:
                yield from missing(f"{section}.{name}.{key}", settings[key], target)
    for name, settings in config["distillers"].items():
        for i, pool in enumerate((settings.get("guidance") or {}).get("models", [])):
            yield from missing(f"distillers.{name}.guidance.models[{i}]", pool, "models")
    for path, entry in _selections(config):
        yield from missing(f"{path}.dataset", entry["dataset"], "datasets")
        for key in ("distillers", "debias", "evaluations"):
            for i, name in enumerate(entry[key]):
                yield from missing(f"{path}.{key}[{i}]", name, key)


def _contradictions(config: Mapping) -> Iterator[str]:
    """Yield a line for every two settings that cannot go together."""
    for path, entry in _selections(config):
        if entry["dataset"] in config["datasets"]:
            natural = config["datasets"][entry["dataset"]]["bias"]["kind"] == "none"
            for i, ratio in enumerate(entry["ratios"]):
                if natural != (ratio == NATURAL):
                    allowed = "'natural', since its bias is none" if natural else "a number, since a bias is injected"
                    yield f"{path}.ratios[{i}] = {ratio}: must be {allowed} in {entry['dataset']}"
        for distiller, (i, ipc) in itertools.product(entry["distillers"], enumerate(entry["ipc"])):
            kind = config["distillers"].get(distiller, {}).get("kind")
            if kind and (kind == "whole") != (ipc == WHOLE):
                allowed = f"only {WHOLE}" if kind == "whole" else "a number"
                yield f"{path}.ipc[{i}] = {ipc}: the distiller {distiller} takes {allowed}; give it its own entry"
    for name, figure in config["figures"].items():
        debias = config["debias"].get(figure.get("debias"))
        if figure["kind"] == "weights" and debias and "surrogate" not in debias:
            known = ", ".join(key for key, settings in config["debias"].items() if "surrogate" in settings) or "none"
            yield f"figures.{name}.debias = '{figure['debias']}': has no weights file; those that have one: {known}"


def _ipc_errors(config: Mapping) -> Iterator[str]:
    """Yield a line for every number of images per class that the data set does not have."""
    smallest = {
        name: smallest_class(settings["source"], config["data"]) for name, settings in config["datasets"].items()
    }
    for i, entry in enumerate(config["grid"]):
        most = smallest[entry["dataset"]]
        for k, ipc in enumerate(entry["ipc"]):
            if most is not None and ipc != WHOLE and ipc > most:
                yield f"grid[{i}].ipc[{k}] = {ipc}: must be at most {most}, the smallest class of {entry['dataset']}"


def _cell_errors(study: Study) -> Iterator[str]:
    """Yield a line for every table cell that the grid does not make."""
    made = {_key(cell) for cell in table_cells(study, {"cells": []})}
    for name, table in study.config["tables"].items():
        rows = table_cells(study, table)
        for cell in rows:
            if _key(cell) not in made:
                yield f"tables.{name}: asks for {_name(cell)}, which the grid does not make.{_closest(cell, made)}"
        wanted = {_key(cell) for cell in rows}
        for i, published in enumerate(table["published"]):
            cell, path = _text(published["cell"]), f"tables.{name}.published[{i}].cell"
            if _key(cell) not in wanted:
                yield f"{path}: {_name(cell)} is not a row of the table.{_closest(cell, wanted)}"
            elif cell["metric"] not in table["metrics"]:
                yield f"{path}.metric = '{cell['metric']}': must be one of the table's: {', '.join(table['metrics'])}"


def _figure_errors(study: Study) -> Iterator[str]:
    """Yield a line for every figure that selects nothing, naming the setting that no cell has if there is one."""
    for name, figure in study.config["figures"].items():
        wanted = _text({key: value for key, value in figure.items() if key in Cell.fields})
        if study.select(**wanted):
            continue
        lone = [key for key, value in wanted.items() if value not in study.values(key)]
        for key in lone:
            text, known = wanted[key], study.values(key)
            yield f"figures.{name}.{key} = {text}: not in the grid; there: {', '.join(known)}.{nearest(text, known)}"
        if not lone:
            yield f"figures.{name}: the grid makes nothing with {_name(wanted)} together"


def _key(cell: Mapping) -> tuple:
    return tuple(cell[field] for field in Cell.fields_without_seed)


def _name(cell: Mapping) -> str:
    return " ".join(f"{key}={value}" for key, value in cell.items() if key != "metric")


def _closest(cell: Mapping, made: set) -> str:
    """Name the cell that differs in the fewest fields, the most similar text among those."""

    def distance(key: tuple) -> tuple:
        different = [(a, b) for a, b in zip(_key(cell), key, strict=True) if a != b]
        return len(different), -sum(SequenceMatcher(None, a, b).ratio() for a, b in different), key

    key = min(made, key=distance)
    return f" Nearest: {_name(dict(zip(Cell.fields_without_seed, key, strict=True)))}"
