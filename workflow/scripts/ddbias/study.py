"""The plan that a study's config describes: its cells, what each job needs, and references that do not resolve.

Imported by the Snakefile, so it imports neither torch nor pandas.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher

from ddbias import evaluation_kinds, figure_checks, plugins
from ddbias.cell import NATURAL, WHOLE, Cell, named, ratio_text, texts
from ddbias.class_sizes import smallest_class
from ddbias.config import ConfigErrors, complete
from ddbias.errors import nearest

OWN_ATTRIBUTE = ("none", "subsample")  # biases that keep the attribute of the source
GROUPED = ("group_balanced", "fairdd", "cobra")  # debias kinds whose groups may come from a surrogate
CLASSIFY = ("cross_entropy", "generalised_ce", "lff")
SURROGATE_KINDS = {"lff_weights": ("lff",), "loss_weighted": CLASSIFY, "contradiction": CLASSIFY, "predicted": CLASSIFY}


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
        _raise([*_cell_errors(self), *figure_checks.errors(self), *_ipc_errors(self.config)])

    def values(self, field: str) -> list[str]:
        """Return the values that a wildcard takes in the study, in order of appearance."""
        return list(dict.fromkeys(getattr(cell, field) for cell in self.cells))

    def needs_surrogate(self, debias: str) -> bool:
        """Tell whether the weights of a debias come from a surrogate."""
        return self.config["debias"][debias].get("surrogate") is not None

    def pools(self, distiller: str) -> list[str]:
        """Return the names of the pools of models that a distiller uses."""
        settings = self.config["distillers"][distiller]
        own, guiding = settings.get("models"), (settings.get("guidance") or {}).get("models", [])
        return [*([own] if own else []), *guiding]

    def table_rows(self, table: str) -> list[dict]:
        """Return the rows of a table: cell and metric, with the selector of the published value or None.

        A metric of another kind than a cell's evaluation has no row.
        """
        settings = self.config["tables"][table]
        rows = []
        for cell in table_cells(self, settings):
            for metric in settings["metrics"]:
                if not evaluation_kinds.gives(self.config, cell["evaluation"], metric):
                    continue
                row = {**cell, "metric": metric}
                row["published"] = next((p["value"] for p in settings["published"] if texts(p["cell"]) == row), None)
                rows.append(row)
        return rows

    def select(self, **wanted: object) -> list[Cell]:
        """Return the cells whose fields have the wanted values, or their texts."""
        fields = texts(wanted)
        return [c for c in self.cells if all(getattr(c, key) == text for key, text in fields.items())]

    def with_surrogate(self, surrogate: str, cells: list[Cell]) -> list[Cell]:
        """Return those of some cells whose debias uses a surrogate."""
        return [cell for cell in cells if self.config["debias"][cell.debias].get("surrogate") == surrogate]

    def kernels(self, names: list[str]) -> dict[str, list]:
        """Return kernel variance and temperature of each debias: what a heatmap has on its axes."""
        return {name: [self.config["debias"][name][key] for key in figure_checks.KERNEL] for name in names}


def _expand(entry: Mapping) -> Iterator[Cell]:
    axes = (entry["ratios"], entry["distillers"], entry["debias"], entry["ipc"], entry["seeds"], entry["evaluations"])
    for ratio, distiller, debias, ipc, seed, evaluation in itertools.product(*axes):
        yield Cell(entry["dataset"], ratio_text(ratio), distiller, debias, str(ipc), str(seed), evaluation)


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
        ("evaluations", "surrogate", "surrogates"),
        ("debias", "surrogate", "surrogates"),
        ("figures", "dataset", "datasets"),
        ("figures", "evaluation", "evaluations"),
        ("figures", "debias", "debias"),
        ("figures", "distiller", "distillers"),
        ("figures", "surrogate", "surrogates"),
        ("figures", "surrogates", "surrogates"),
    ):
        for name, settings in config[section].items():
            path, used = f"{section}.{name}.{key}", settings.get(key)
            if isinstance(used, list):
                for i, one in enumerate(used):
                    yield from missing(f"{path}[{i}]", one, target)
            elif used is not None:
                yield from missing(path, used, target)
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
        yield from figure_checks.contradictions(name, figure, config)
    for name, settings in config["debias"].items():
        yield from _debias_errors(f"debias.{name}", settings, config["surrogates"])


def _debias_errors(path: str, settings: Mapping, surrogates: Mapping) -> Iterator[str]:
    """Yield a line for what a debias asks of its surrogate, or of none, and does not get."""
    groups = settings.get("groups") if settings["kind"] in GROUPED else None
    surrogate = settings.get("surrogate")
    if groups == "attribute" and surrogate is not None:
        yield f"{path}.surrogate = '{surrogate}': not used with groups: attribute; leave it out or choose other groups"
    if groups in ("clusters", "predicted") and surrogate is None:
        yield f"{path}.groups = {groups}: needs a surrogate; defined: {', '.join(surrogates) or 'none'}"
    if groups in ("attribute", "predicted") and settings["clusters"] is not None:
        yield f"{path}.clusters = {settings['clusters']}: only used with groups: clusters"
    wanted = SURROGATE_KINDS.get("predicted" if groups == "predicted" else settings["kind"])
    kind = surrogates.get(surrogate, {}).get("kind")  # a name that is not defined is another mistake
    if wanted and kind and kind not in wanted:
        what = "groups: predicted" if groups == "predicted" else settings["kind"]
        yield f"{path}.surrogate = '{surrogate}': {what} needs one of kind {' or '.join(wanted)}, not {kind}"


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
    """Yield a line for every table cell that the grid does not make, and every metric that no cell measures."""
    made = {_key(cell) for cell in table_cells(study, {"cells": []})}
    for name, table in study.config["tables"].items():
        rows = table_cells(study, table)
        for cell in rows:
            if _key(cell) not in made:
                yield f"tables.{name}: asks for {named(cell)}, which the grid does not make.{_closest(cell, made)}"
        wanted = {_key(cell) for cell in rows}
        evaluations = dict.fromkeys(cell["evaluation"] for cell in rows)
        for i, metric in enumerate(table["metrics"]):
            path = f"tables.{name}.metrics[{i}]"
            yield from evaluation_kinds.unmeasured(study.config, path, metric, evaluations)
        for i, published in enumerate(table["published"]):
            cell, path = texts(published["cell"]), f"tables.{name}.published[{i}].cell"
            if _key(cell) not in wanted:
                yield f"{path}: {named(cell)} is not a row of the table.{_closest(cell, wanted)}"
            elif cell["metric"] not in table["metrics"]:
                yield f"{path}.metric = '{cell['metric']}': must be one of the table's: {', '.join(table['metrics'])}"


def _key(cell: Mapping) -> tuple:
    return tuple(cell[field] for field in Cell.fields_without_seed)


def _closest(cell: Mapping, made: set) -> str:
    """Name the cell that differs in the fewest fields, the most similar text among those."""

    def distance(key: tuple) -> tuple:
        different = [(a, b) for a, b in zip(_key(cell), key, strict=True) if a != b]
        return len(different), -sum(SequenceMatcher(None, a, b).ratio() for a, b in different), key

    key = min(made, key=distance)
    return f" Nearest: {named(dict(zip(Cell.fields_without_seed, key, strict=True)))}"
