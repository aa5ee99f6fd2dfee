"""A metric over kernel variance and temperature: the ablation of the density weights (figures of arXiv 2406.06609)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddbias.results.figures import style
from ddbias.results.tables.formats import DIVERGED, MARK, MARKS
from ddbias.results.tables.pool import by_size, half_interval, why_undefined
from ddbias.results.tables.read import read_evaluations

PLUGIN = {
    "figure": {
        "heatmap": {
            "description": (
                "A metric over the kernel variance and the temperature of the debias, one panel a ratio; all "
                "seeds together."
            ),
            "required": ["dataset", "distiller", "ipc", "evaluation", "debias"],
            "options": {
                "dataset": {"type": "string", "description": "Name under `datasets`."},
                "distiller": {"type": "string", "description": "Name under `distillers`."},
                "ipc": {"$ref": "#/$defs/ipc"},
                "evaluation": {"type": "string", "description": "Name under `evaluations`."},
                "debias": {
                    "$ref": "#/$defs/names",
                    "description": "Names under `debias` that differ in variance and temperature only.",
                },
                "metric": {"$ref": "#/$defs/metric", "default": "unbiased_accuracy"},
            },
            "files": ["evaluations"],
            "kernels": True,
        },
    },
}

PANEL = ["dataset", "ratio", "distiller", "ipc", "evaluation", "convention"]
COLOURS = "cividis"  # its lightness rises steadily, so it can be read in grey


def draw(*, evaluations: Sequence[str | Path], settings: dict, **_: object) -> Figure:
    """Draw one panel per ratio; a cell holds the mean and half of its 95 % interval over seeds.

    As in the tables, one seed has no interval and daggers mark sets that have not converged and networks that diverged.
    A debias without evaluations is a hatched cell. All panels share the scale of colours.

    Parameters
    ----------
    evaluations : sequence of path
    settings : dict
        ``kernels``: for each debias its kernel variance and its temperature; ``metric`` (default
        ``unbiased_accuracy``).
    """
    metric = str(settings.get("metric", "unbiased_accuracy"))
    kernels = {name: tuple(kernel) for name, kernel in settings.get("kernels", {}).items()}
    every = read_evaluations(evaluations)
    every = every[every["debias"].isin(list(kernels))]
    frame = every[every["metric"] == metric]
    if frame.empty:
        return style.no_value(metric, why_undefined(every, metric))
    variances, temperatures = (sorted({kernel[i] for kernel in kernels.values()}, key=by_size) for i in range(2))
    parts = sorted(frame.groupby(PANEL), key=lambda part: (part[0][0], by_size(part[0][1]), part[0][2:]))
    titles, common = style.describe(dict(zip([*PANEL[:-1], "test"], key, strict=True)) for key, _ in parts)
    grids = [_grid(rows, kernels, variances, temperatures) for _, rows in parts]
    width, height = max(2.6, 0.9 + 0.62 * len(temperatures)), max(2.4, 1.2 + 0.5 * len(variances))
    figure, axes = style.panels(len(parts), width=width, height=height, sharey=True)
    limits = [min(np.nanmin(mean) for mean, *_ in grids), max(np.nanmax(mean) for mean, *_ in grids)]
    for axis, title, grid in zip(axes, titles, grids, strict=True):
        image = _panel(axis, *grid, limits)
        axis.set_title(title)
        axis.set_xticks(range(len(temperatures)), [_text(value) for value in temperatures])
        axis.set_yticks(range(len(variances)), [_text(value) for value in variances])
        axis.set_xlabel("temperature")
    for axis in axes[:: axes[0].get_gridspec().ncols]:
        axis.set_ylabel("kernel variance")
    figure.colorbar(image, ax=list(axes), label=f"{metric.replace('_', ' ')} (%)", aspect=30)
    shown = {mark for *_, marks in grids for text in marks.flat for mark in text.split()}
    style.title(figure, ", ".join([common, *(f"{mark} {text}" for mark, text in MARKS.items() if mark in shown)]))
    return figure


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _grid(rows, kernels: dict[str, tuple], variances: list, temperatures: list) -> tuple[np.ndarray, ...]:
    """Return mean and half interval in percent, NaN where there is none, and marks, all (variances, temperatures)."""
    mean = np.full((len(variances), len(temperatures)), np.nan)
    spread, marks = mean.copy(), np.full(mean.shape, "", dtype=object)
    for name, found in rows.groupby("debias"):
        variance, temperature = kernels[name]
        place = variances.index(variance), temperatures.index(temperature)
        percent = 100 * found.groupby("seed")["value"].mean()
        mean[place] = percent.mean()
        spread[place] = half_interval(percent) if len(percent) > 1 else np.nan
        holds = {MARK: (found["converged"] == "false").any(), DIVERGED: found["diverged"].any()}
        marks[place] = "".join(f" {mark}" for mark, one in holds.items() if one)
    return mean, spread, marks


def _panel(axis, mean: np.ndarray, spread: np.ndarray, marks: np.ndarray, limits: list[float]):
    """Draw one grid and write its numbers; return the image, for the scale of colours."""
    from matplotlib.patches import Rectangle

    image = axis.imshow(mean, cmap=COLOURS, vmin=limits[0], vmax=limits[1], origin="lower", aspect="auto")
    for (row, column), value in np.ndenumerate(mean):
        if np.isnan(value):
            corner = (column - 0.5, row - 0.5)
            axis.add_patch(Rectangle(corner, 1, 1, facecolor="white", edgecolor=".7", hatch="////", linewidth=0))
            continue
        light = image.norm(value) > 0.5
        interval = f"\n±{spread[row, column]:.1f}" if np.isfinite(spread[row, column]) else ""
        text = f"{value:.1f}{marks[row, column]}{interval}"
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color="black" if light else "white")
    axis.grid(visible=False)
    return image
