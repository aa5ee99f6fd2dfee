"""The plan that a study's config describes: its cells, and what each job needs. Without torch and pandas."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ddbias.base import plugins
from ddbias.base.cell import WHOLE, Cell, chosen_cells, identity, texts
from ddbias.evaluation import comparisons
from ddbias.planning import metric_kinds
from ddbias.planning.published import Published, expand

FILE_FIELDS = ("dataset", "ratio", "ipc", "seed")  # of a cell, which the names of a distiller's files may have
KERNEL = ("variance", "temperature")  # the settings of a debias that a heatmap shows


@dataclass(frozen=True, eq=False)
class Study:
    """A finished study, as `ddbias.planning.load.load` returns it.

    Attributes
    ----------
    config : mapping
        The whole study file, completed: defaults filled in, amounts of work scaled.
    cells : tuple of Cell
        What the grid makes, each once, in its order.
    """

    config: Mapping
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """The name of the study, which is also that of its folder."""
        return self.config["study"]

    @property
    def scale(self) -> str:
        """How much of the published compute it spends."""
        return self.config["scale"]

    @property
    def folder(self) -> str:
        """The folder of its files, relative to the working directory."""
        return f"results/{self.name}/{self.scale}"

    def values(self, field: str) -> list[str]:
        """Return the values that a wildcard takes in the study, in order of appearance."""
        return list(dict.fromkeys(getattr(cell, field) for cell in self.cells))

    def needs_surrogate(self, debias: str) -> bool:
        """Tell whether the weights of a debias come from a surrogate."""
        return self.config["debias"][debias].get("surrogate") is not None

    def distiller(self, cell: Cell) -> dict:
        """Return the settings of a cell's distiller, with the fields of the cell in the names of its files.

        `cell` may be any object with these attributes.
        """
        settings = dict(self.config["distillers"][cell.distiller])
        for option in plugins.find("distiller", settings["kind"]).facts.get("files", []):
            for field in FILE_FIELDS if settings[option] else ():
                settings[option] = settings[option].replace(f"{{{field}}}", getattr(cell, field))
        return settings

    def pools(self, distiller: str) -> list[str]:
        """Return the names of the pools of models that a distiller uses."""
        settings = self.config["distillers"][distiller]
        own, guiding = settings.get("models"), (settings.get("guidance") or {}).get("models", [])
        return [*([own] if own else []), *guiding]

    def table_rows(self, table: str) -> list[dict]:
        """Return the rows of a table: cell and metric, with the selector of the published value or None.

        A metric that is made of several cells has these in ``terms``, see `ddbias.evaluation.comparisons`. A metric of
        another kind than a cell's evaluation has no row, nor has an amplification of what others are compared with. In
        a table with differences a row has in ``against`` the one that it is compared with, if the grid makes that.
        """
        settings = self.config["tables"][table]
        rows = [
            row
            for cell in chosen_cells(self.cells, settings["cells"])
            for row in _rows(cell, settings["metrics"], settings)
        ]
        rows = [row for row in rows if metric_kinds.gives(self.config, row["evaluation"], row["metric"])]
        values: dict[tuple, dict] = {}
        for published in self.published(table):
            values.setdefault((*identity(published.cell), published.cell["metric"]), published.value)
        for row in rows:
            row["published"] = values.get((*identity(row), row["metric"]))
        if settings["against"] is not None:
            self._add_differences(rows, settings)
        return rows

    def published(self, table: str) -> list[Published]:
        """Return the published numbers of a table, every one by itself."""
        return list(expand(self.config["tables"][table]["published"]))

    def _add_differences(self, rows: list[dict], settings: Mapping) -> None:
        made = self._made()
        for row in rows:
            cell = {name: row[name] for name in Cell.fields_without_seed} | {"debias": settings["against"]}
            (other,) = _rows(cell, [row["metric"]], settings)
            if row["debias"] != settings["against"] and needed_cells([other]) <= made:
                row["against"] = other

    def _made(self) -> set[tuple[str, ...]]:
        return {cell.without_seed() for cell in self.cells}

    def figure_rows(self, figure: str) -> list[dict]:
        """Return what a figure that is drawn from cells shows, as the rows of a table.

        Of a metric that is made of several cells those that the grid makes all of.
        """
        settings = self.config["figures"][figure]
        wanted = texts({key: settings[key] for key in Cell.fields if key in settings})
        cells = [c for c in self.cells if all(getattr(c, k) in (v, WHOLE) for k, v in wanted.items())]
        if settings["metric"] in comparisons.METRICS:
            cells = [cell for cell in cells if cell.ipc != WHOLE]  # what others are compared with
        found = dict.fromkeys(cell.without_seed() for cell in cells)
        keyed = [dict(zip(Cell.fields_without_seed, values, strict=True)) for values in found]
        rows = [row for cell in keyed for row in _rows(cell, figure_metrics(settings), settings)]
        made = self._made()
        return [row for row in rows if needed_cells([row]) <= made]

    def select(self, **wanted: object) -> list[Cell]:
        """Return the cells whose fields have the wanted values, or their texts."""
        fields = texts(wanted)
        return [c for c in self.cells if all(getattr(c, key) == text for key, text in fields.items())]

    def shown_by(self, figure: Mapping) -> list[Cell]:
        """Return the cells that the settings of a figure select: by every field of a cell that they name, or list."""
        lists = {key: value if isinstance(value, list) else [value] for key, value in figure.items()}
        wanted = {key: values for key, values in lists.items() if key in Cell.fields and values != [None]}
        allowed = {key: {texts({key: value})[key] for value in values} for key, values in wanted.items()}
        if plugins.find("figure", figure["kind"]).facts.get("whole"):
            allowed["ipc"] |= {WHOLE}
        return [c for c in self.cells if all(getattr(c, key) in some for key, some in allowed.items())]

    def with_surrogate(self, surrogate: str, cells: Iterable[Cell]) -> list[Cell]:
        """Return those of some cells whose debias uses a surrogate."""
        return [cell for cell in cells if self.config["debias"][cell.debias].get("surrogate") == surrogate]

    def kernels(self, names: list[str]) -> dict[str, list]:
        """Return kernel variance and temperature of each debias: what a heatmap has on its axes."""
        return {name: [self.config["debias"][name][key] for key in KERNEL] for name in names}


def _rows(cell: Mapping, metrics: list[str], settings: Mapping) -> Iterator[dict]:
    for metric in metrics:
        if metric not in comparisons.METRICS:
            yield {**cell, "metric": metric}
        elif comparisons.has(metric, cell, settings["compare"]):
            yield {**cell, "metric": metric, "terms": comparisons.terms(metric, cell, settings["compare"])}


def figure_metrics(settings: Mapping) -> list[str]:
    """Return the metrics that a figure with a metric shows: its own, or the two that an amplification is split into."""
    metric = settings["metric"]
    return comparisons.split(metric) if plugins.find("figure", settings["kind"]).facts.get("split") else [metric]


def needed_cells(rows: list[dict]) -> set[tuple[str, ...]]:
    """Return the cells, without seeds, that the rows of a table rest on, those that they are compared with included."""
    rows = [*rows, *(row["against"] for row in rows if "against" in row)]
    parts = itertools.chain.from_iterable(row.get("terms", {"itself": row}).values() for row in rows)
    return {identity(part) for part in parts}
