"""Cells that a table or a metric needs and the grid does not make, and metrics of no cell: one line each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher

from ddbias.base.cell import Cell, chosen_cells, identity, named
from ddbias.evaluation import comparisons
from ddbias.planning import metric_kinds
from ddbias.planning.study import Study, figure_metrics


def errors(study: Study) -> Iterator[str]:
    """Yield a line for every cell that a table or a metric needs and the grid does not make, and metrics of no cell."""
    made = {identity(cell) for cell in chosen_cells(study.cells, [])}
    for name, figure in study.config["figures"].items():
        if "compare" in figure:
            lacking = list(comparisons.lacking(f"figures.{name}", figure, figure_metrics(figure)))
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
            yield from metric_kinds.unmeasured(study.config, path, metric, evaluations)
        for published in study.published(name):
            cell, path = published.cell, f"tables.{name}.published[{published.entry}]"
            if identity(cell) not in wanted:
                yield f"{path}.cell: {named(cell)} is not a row of the table.{_closest(cell, wanted)}"
            elif cell["metric"] not in table["metrics"]:
                metrics = ", ".join(table["metrics"])
                yield f"{path}.cell.metric = '{cell['metric']}': must be one of the table's: {metrics}"
            for key, field in published.untold.items():
                yield f"{path}.value.{key}: has no value for {field} = {cell[field]} of the cell; add one"


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
    if not lacking:
        yield from _seed_errors(study, f"tables.{name}.compare", rows)
    if table["against"] in study.config["debias"] and not any("against" in row for row in rows):
        path = f"tables.{name}.against = '{table['against']}'"
        yield f"{path}: the grid makes no row of the table with this debias and with another one"


def _seed_errors(study: Study, path: str, rows: list[dict]) -> Iterator[str]:
    """Yield a line for the first row whose cells have no distillation seed in common, so that nothing can be paired."""
    seeds: dict[tuple, set[str]] = {}
    for cell in study.cells:
        seeds.setdefault(cell.without_seed(), set()).add(cell.seed)
    for row in rows:
        found = {part: seeds.get(identity(cell), set()) for part, cell in row.get("terms", {}).items()}
        if found and all(found.values()) and not set.intersection(*found.values()):
            texts_of = "; ".join(f"{part} {', '.join(sorted(one))}" for part, one in found.items())
            yield f"{path}: {row['metric']} pairs its cells by seed, and they have none in common ({texts_of})"
            return


def _closest(cell: Mapping, made: set) -> str:
    """Name the cell that differs in the fewest fields, the most similar text among those."""

    def distance(key: tuple) -> tuple:
        different = [(a, b) for a, b in zip(identity(cell), key, strict=True) if a != b]
        return len(different), -sum(SequenceMatcher(None, a, b).ratio() for a, b in different), key

    key = min(made, key=distance)
    return f" Nearest: {named(dict(zip(Cell.fields_without_seed, key, strict=True)))}"
