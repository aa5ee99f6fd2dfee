"""Amplification split into size amplification and distillation amplification."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddbias.evaluation import comparisons
from ddbias.results.figures import names, style
from ddbias.results.tables.formats import MARKS, Entry
from ddbias.results.tables.pool import by_cell, common_seeds, key_of, of_seeds, summarise
from ddbias.results.tables.read import read_evaluations

PLUGIN = {
    "figure": {
        "amplification": {
            "description": (
                "What a set loses to the bias more than the whole training set, split into what any set of its "
                "size loses and what distillation adds, two bars for every distiller and debias, one panel a "
                "number of images per class."
            ),
            "required": ["dataset", "evaluation", "ratio", "compare"],
            "options": {
                "dataset": {"type": "string", "description": "Name under `datasets`."},
                "evaluation": {"type": "string", "description": "Name under `evaluations`."},
                "ratio": {"$ref": "#/$defs/ratio"},
                "metric": {
                    "enum": ["unbiased_amplification", "conflicting_amplification", "worst_group_amplification"],
                    "default": "unbiased_amplification",
                    "description": "The sum that is split.",
                },
                "compare": {"$ref": "#/$defs/compare"},
            },
            "files": ["evaluations"],
            "split": True,
        },
    },
}

HEIGHT = 0.36  # of a bar, of the room of a cell
LOOKS = {"size": (7, ""), "distillation": (1, "////")}  # colour of the palette, hatch


def draw(*, evaluations: Sequence[str | Path], settings: dict, **_: object) -> Figure:
    """Draw two bars for every distiller and debias, from zero to either side; one panel per number of images per class.

    Lines at their ends are 95 % intervals over seeds; one seed has none. Both bars are over the seeds that all sets
    behind them have, so that their sum is the amplification, which the label says.

    Parameters
    ----------
    evaluations : sequence of path
    settings : dict
        ``metric``, an amplification, and ``rows``: its size and its distillation amplification for every cell, as in a
        table.
    """
    size, distillation = comparisons.split(settings["metric"])
    runs = by_cell(read_evaluations(evaluations))
    asked: dict[tuple[str, ...], dict[str, dict]] = {}
    for row in settings["rows"]:
        asked.setdefault(key_of(row), {})[row["metric"]] = row
    pairs, cells = [], []
    for parts in asked.values():
        seeds = common_seeds(runs, parts.values())
        of_both = of_seeds(runs, parts.values(), seeds) if seeds else runs
        pairs.append([summarise(of_both, parts[name], None) for name in (size, distillation)])
        cells += pairs[-1:] if seeds else []
    words = settings["metric"].replace("_", " ")
    if not cells:
        why = next((entry.why for pair in pairs for entry in pair if entry.why), "")
        return style.no_value(settings["metric"], why)
    images = sorted({cell[0].key["ipc"] for cell in cells}, key=int)
    panels = [[cell for cell in cells if cell[0].key["ipc"] == ipc] for ipc in images]
    longest = max(map(len, panels))
    width = max(4.6, 2.6 + style.LETTER * names.longest(map(_label, cells)))
    figure, axes = style.panels(len(panels), width=width, height=0.9 + 0.55 * longest, columns=2, sharex=True)
    for axis, ipc, panel in zip(axes, images, panels, strict=True):
        _panel(axis, panel, longest)
        axis.set_title(f"IPC {ipc}")
        axis.set_xlabel(f"{words} (points)")
    handles, labels = axes[0].get_legend_handles_labels()
    shown = "".join(map(_marks, cells))
    marked = [f"{mark} {text}" for mark, text in MARKS.items() if mark in shown]
    common = style.describe([{name: cells[0][0].key[name] for name in ("dataset", "ratio", "evaluation")}])[1]
    style.title(figure, ", ".join([common, *marked]))
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _panel(axis, cells: list[tuple[Entry, Entry]], room: int) -> None:
    """Draw the bars of some cells where there is room for as many or more."""
    places = np.arange(len(cells))
    for number, (name, (colour, hatch)) in enumerate(LOOKS.items()):
        entries = [cell[number] for cell in cells]
        spread = np.array([entry.interval for entry in entries], float)  # nan for one seed, which has none
        axis.barh(
            places + (number - 0.5) * HEIGHT, [entry.mean for entry in entries], HEIGHT, label=name, hatch=hatch,
            xerr=spread, color=style.colour(colour), edgecolor=".25", linewidth=0.6,
            error_kw={"elinewidth": 1.0, "capsize": 2, "ecolor": ".15"},
        )  # fmt: skip
    axis.axvline(0, color=".25", linewidth=0.9)
    axis.set_yticks(places, [_label(cell) for cell in cells])
    axis.set_ylim(room - 0.5, -0.5)
    axis.grid(axis="y", visible=False)


def _label(cell: tuple[Entry, Entry]) -> str:
    key, total = cell[0].key, f"{sum(entry.mean for entry in cell):+.1f}".replace("-", "−")
    return f"{names.text(key['distiller'])}, {names.text(key['debias'])}{_marks(cell)}\ntogether {total}"


def _marks(cell: tuple[Entry, Entry]) -> str:
    return "".join(f" {mark}" for mark in MARKS if any(mark in entry.marks for entry in cell))
