"""A metric against the aligned ratio, or against the images per class: a line for every distiller and debias."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddbias.base.cell import WHOLE
from ddbias.results.figures import names, style
from ddbias.results.tables.pool import by_cell, by_size, summarise
from ddbias.results.tables.read import read_evaluations

PLUGIN = {
    "figure": {
        "against_ratio": {
            "description": (
                "A metric against the aligned ratio, a line for every distiller and debias, beside the whole "
                "training set."
            ),
            "required": ["dataset", "evaluation", "ipc"],
            "options": {
                "dataset": {"type": "string", "description": "Name under `datasets`."},
                "evaluation": {"type": "string", "description": "Name under `evaluations`."},
                "ipc": {"$ref": "#/$defs/ipc"},
                "metric": {"$ref": "#/$defs/table_metric", "default": "unbiased_accuracy"},
                "compare": {"$ref": "#/$defs/compare"},
            },
            "files": ["evaluations"],
        },
        "against_ipc": {
            "description": "A metric against the images per class, a line for every distiller and debias.",
            "required": ["dataset", "evaluation", "ratio"],
            "options": {
                "dataset": {"type": "string", "description": "Name under `datasets`."},
                "evaluation": {"type": "string", "description": "Name under `evaluations`."},
                "ratio": {"$ref": "#/$defs/ratio"},
                "metric": {"$ref": "#/$defs/table_metric", "default": "unbiased_accuracy"},
                "compare": {"$ref": "#/$defs/compare"},
            },
            "files": ["evaluations"],
        },
    },
}

AXES = {"against_ratio": ("ratio", "aligned ratio"), "against_ipc": ("ipc", "images per class")}
DASHES = ("-", "--", "-.", ":")  # of distillers, which share the colour of a debias
MARKERS = "x+*"  # of whole training sets
WHOLE_SET = {"color": "black", "linestyle": (0, (1, 1.5))}


def draw(*, evaluations: Sequence[str | Path], settings: dict, **_: object) -> Figure:
    """Draw the mean of every cell and its 95 % interval over seeds, as in the tables.

    Values on the axis are evenly spaced, since ratios crowd towards 1 and numbers of images grow unevenly. The whole
    training set, which has no images per class, is a black line; a cell without finished runs leaves a gap; a marker is
    hollow where a set has not converged, and crossed where a network diverged.

    Parameters
    ----------
    evaluations : sequence of path
    settings : dict
        ``kind``, ``metric``, and ``rows``: the cells as in a table.
    """
    metric, (field, label) = settings["metric"], AXES[settings["kind"]]
    words = metric.replace("_", " ")
    runs = by_cell(read_evaluations(evaluations))
    asked = [summarise(runs, row, None) for row in settings["rows"]]
    cells = [cell for cell in asked if cell.mean is not None]
    if not cells:
        return style.no_value(metric, next((cell.why for cell in asked if cell.why), ""))
    whole: dict[str, list] = {}  # by distiller: they may be trained on for different numbers of steps
    for cell in cells:
        if cell.key["ipc"] == WHOLE:
            whole.setdefault(cell.key["distiller"], []).append(cell)
    places = sorted({cell.key[field] for cell in cells if cell.key[field] != WHOLE}, key=by_size)
    looks = style.debias_styles(cell.key["debias"] for cell in cells)
    distillers = sorted({cell.key["distiller"] for cell in cells if cell.key["ipc"] != WHOLE})
    legend = 0.4 + style.LETTER * max(
        len(distiller) + len(debias) for distiller in distillers or [""] for debias in looks
    )
    figure, (axis,) = style.panels(1, width=max(5.4, 2.4 + legend + 0.6 * len(places)), height=3.2)
    shift = np.linspace(-0.06, 0.06, max(2, len(distillers) * len(looks)))
    lines: dict[tuple, list] = {}
    for cell in cells:
        if cell.key["ipc"] != WHOLE:
            lines.setdefault((cell.key["distiller"], cell.key["debias"]), []).append(cell)
    for number, ((distiller, debias), line) in enumerate(lines.items()):
        dash = DASHES[distillers.index(distiller) % len(DASHES)]
        label_of = f"{names.text(distiller)}, {names.text(debias)}"
        _line(axis, line, places, field, shift[number], linestyle=dash, label=label_of, **looks[debias])
    for marker, (distiller, line) in zip(itertools.cycle(MARKERS), whole.items()):
        name = "whole training set" if len(whole) == 1 else f"whole training set, {names.text(distiller)}"
        if field == "ratio":
            _line(axis, line, places, field, 0, label=name, marker=marker, **WHOLE_SET)
        for cell in line if field == "ipc" else []:
            axis.axhline(cell.mean, label=name, marker=marker, **WHOLE_SET)
            if cell.diverged:
                style.cross(axis, [0], [cell.mean])
    if "amplification" in metric:
        axis.axhline(0, color=".4", linewidth=0.8)
    axis.set_xticks(range(len(places)), map(names.text, places))
    axis.set_xlabel(label)
    axis.set_ylabel(f"{words} ({'points' if 'amplification' in metric else '%'})")
    axis.grid(axis="x", visible=False)
    style.title(figure, _common(cells, field))
    marks = {
        "hollow": any(cell.converged == "false" for cell in cells),
        "crossed": any(cell.diverged for cell in cells),
    }
    handles, labels = style.legend(axis, *axis.get_legend_handles_labels(), **marks)
    figure.legend(handles, labels, loc="outside right center", title="distiller, debias")
    return figure


def _common(cells: list, field: str) -> str:
    """Word what all points of the figure have in common."""
    same = [cell for cell in cells if cell.key["ipc"] != WHOLE] or cells
    fields = ["dataset", "ipc" if field == "ratio" else "ratio", "evaluation"]
    return style.describe([{name: same[0].key[name] for name in fields}])[1]


def _line(axis, cells: list, places: list[str], field: str, shift: float, **look) -> None:
    """Draw one line with its intervals; places without a value are gaps."""
    mean, spread = np.full((2, len(places)), np.nan)
    for cell in cells:
        place = places.index(cell.key[field])
        mean[place], spread[place] = cell.mean, cell.interval  # None of one seed is nan
    x = np.arange(len(places)) + shift
    drawn = axis.errorbar(
        x, mean, spread, capsize=2.5, markersize=5, elinewidth=1.0, linewidth=1.3,
        markeredgecolor="black", markeredgewidth=0.5, **look,
    )  # fmt: skip
    hollow = [places.index(cell.key[field]) for cell in cells if cell.converged == "false"]
    if hollow:
        filling = style.marker(look["color"], hollow=True)
        above = drawn.lines[0].get_zorder() + 1
        axis.plot(x[hollow], mean[hollow], look["marker"], markersize=5, zorder=above, **filling)
    crossed = [places.index(cell.key[field]) for cell in cells if cell.diverged]
    if crossed:
        style.cross(axis, x[crossed], mean[crossed])
