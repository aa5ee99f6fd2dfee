"""What a study asks for and cannot have: one readable line each. Imported by the Snakefile, without torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from ddbias import comparisons, evaluation_kinds, figure_checks
from ddbias.cell import NATURAL, WHOLE, Cell, chosen_cells, identity, named, texts
from ddbias.class_sizes import smallest_class
from ddbias.errors import nearest

if TYPE_CHECKING:
    from ddbias.study import Study

GROUPED = ("group_balanced", "fairdd", "cobra")  # debias kinds whose groups may come from a surrogate
CLASSIFY = ("cross_entropy", "generalised_ce", "lff")
SURROGATE_KINDS = {"lff_weights": ("lff",), "loss_weighted": CLASSIFY, "contradiction": CLASSIFY, "predicted": CLASSIFY}


def _selections(config: Mapping) -> list[tuple[str, Mapping]]:
    """Return (path, entry) of everything that selects cells by lists of names."""
    found = [(f"grid[{i}]", entry) for i, entry in enumerate(config["grid"])]
    for name, table in config["tables"].items():
        found += [(f"tables.{name}.cells[{i}]", entry) for i, entry in enumerate(table["cells"])]
    return found


def undefined(config: Mapping) -> Iterator[str]:
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


def contradictions(config: Mapping) -> Iterator[str]:
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
    for name, settings in config["evaluations"].items():
        if settings.get("cutmix") and settings["debiasing"]["kind"] != "none":
            path, debiasing = f"evaluations.{name}.cutmix", settings["debiasing"]["kind"]
            yield f"{path} = {settings['cutmix']}: debiasing {debiasing} has a loss of its own; choose one of them"
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
    if groups in ("attribute", "clusters") and settings["min_evidence"] is not None:
        yield f"{path}.min_evidence = {settings['min_evidence']}: only used with groups: predicted"
    wanted = SURROGATE_KINDS.get("predicted" if groups == "predicted" else settings["kind"])
    kind = surrogates.get(surrogate, {}).get("kind")  # a name that is not defined is another mistake
    if wanted and kind and kind not in wanted:
        what = "groups: predicted" if groups == "predicted" else settings["kind"]
        yield f"{path}.surrogate = '{surrogate}': {what} needs one of kind {' or '.join(wanted)}, not {kind}"


def ipc_errors(config: Mapping) -> Iterator[str]:
    """Yield a line for every number of images per class that the data set does not have."""
    smallest = {
        name: smallest_class(settings["source"], config["data"]) for name, settings in config["datasets"].items()
    }
    for i, entry in enumerate(config["grid"]):
        most = smallest[entry["dataset"]]
        for k, ipc in enumerate(entry["ipc"]):
            if most is not None and ipc != WHOLE and ipc > most:
                yield f"grid[{i}].ipc[{k}] = {ipc}: must be at most {most}, the smallest class of {entry['dataset']}"


def cell_errors(study: Study) -> Iterator[str]:
    """Yield a line for every cell that a table or a metric needs and the grid does not make, and metrics of no cell."""
    made = {identity(cell) for cell in chosen_cells(study.cells, [])}
    for name, figure in study.config["figures"].items():
        if "compare" in figure:
            lacking = list(comparisons.lacking(f"figures.{name}", figure, [figure["metric"]]))
            yield from lacking
            if not lacking and figure["metric"] in comparisons.METRICS and not study.figure_rows(name):
                yield f"figures.{name}.compare: the grid makes no cell together with those that it is compared with"
    for name, table in study.config["tables"].items():
        rows = chosen_cells(study.cells, table["cells"])
        for cell in rows:
            if identity(cell) not in made:
                yield f"tables.{name}: asks for {named(cell)}, which the grid does not make.{_closest(cell, made)}"
        yield from _comparison_errors(study, name, table, made)
        wanted = {identity(cell) for cell in rows}
        evaluations = dict.fromkeys(cell["evaluation"] for cell in rows)
        for i, metric in enumerate(table["metrics"]):
            path = f"tables.{name}.metrics[{i}]"
            yield from evaluation_kinds.unmeasured(study.config, path, metric, evaluations)
        for i, published in enumerate(table["published"]):
            cell, path = texts(published["cell"]), f"tables.{name}.published[{i}].cell"
            if identity(cell) not in wanted:
                yield f"{path}: {named(cell)} is not a row of the table.{_closest(cell, wanted)}"
            elif cell["metric"] not in table["metrics"]:
                yield f"{path}.metric = '{cell['metric']}': must be one of the table's: {', '.join(table['metrics'])}"


def _comparison_errors(study: Study, name: str, table: Mapping, made: set) -> Iterator[str]:
    """Yield a line for what the metrics of a table need and do not have."""
    lacking = list(comparisons.lacking(f"tables.{name}", table, table["metrics"]))
    yield from lacking
    rows = [] if lacking else study.table_rows(name)
    parts = {identity(part): part for row in rows for part in row.get("terms", {}).values()}
    for key, part in parts.items():
        if key not in made:
            cell = {field: part[field] for field in Cell.fields_without_seed}
            yield f"tables.{name}.compare: needs {named(cell)}, which the grid does not make.{_closest(cell, made)}"


def _closest(cell: Mapping, made: set) -> str:
    """Name the cell that differs in the fewest fields, the most similar text among those."""

    def distance(key: tuple) -> tuple:
        different = [(a, b) for a, b in zip(identity(cell), key, strict=True) if a != b]
        return len(different), -sum(SequenceMatcher(None, a, b).ratio() for a, b in different), key

    key = min(made, key=distance)
    return f" Nearest: {named(dict(zip(Cell.fields_without_seed, key, strict=True)))}"
