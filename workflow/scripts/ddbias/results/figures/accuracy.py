"""Accuracy (or any other metric) per distiller and debias: every network as a dot, with mean and interval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddbias.results.figures import names, style
from ddbias.results.tables.pool import by_size, half_interval, why_undefined
from ddbias.results.tables.read import read_evaluations

PLUGIN = {
    "figure": {
        "accuracy": {
            "description": "A metric of every set of one data set, one panel a ratio.",
            "required": ["dataset", "evaluation"],
            "options": {
                "dataset": {"type": "string", "description": "Name under `datasets`."},
                "evaluation": {"type": "string", "description": "Name under `evaluations`."},
                "ipc": {"$ref": "#/$defs/ipc", "default": 10},
                "metric": {"$ref": "#/$defs/metric", "default": "unbiased_accuracy"},
            },
            "files": ["evaluations"],
            "whole": True,
        },
    },
}

PANEL = ["dataset", "ratio", "evaluation", "test"]  # test: the convention of the test set
GROUP, WIDEST = 0.8, 0.25  # share of a distiller's slot that all its points, and those of one debias, may take


def draw(*, evaluations: Sequence[str | Path], settings: dict, **_: object) -> Figure:
    """Draw one panel per data set, ratio and evaluation.

    Every network of every seed is a faint dot; the large marker is the mean, the bar its 95 % interval over seeds, as
    in the tables: one seed has none. The marker is hollow where a set has not converged, and crossed where a network
    diverged.

    Parameters
    ----------
    evaluations : sequence of path
    settings : dict
        ``metric`` (default ``unbiased_accuracy``).
    """
    metric = str(settings.get("metric", "unbiased_accuracy"))
    every = read_evaluations(evaluations).rename(columns={"convention": "test"})
    frame = every[every["metric"] == metric]
    if frame.empty:
        return style.no_value(metric, why_undefined(every, metric))
    groups = sorted(frame.groupby(PANEL), key=lambda part: (part[0][0], by_size(part[0][1]), part[0][2:]))
    titles, common = style.describe(dict(zip(PANEL, key, strict=True)) for key, _ in groups)
    looks = style.debias_styles(frame["debias"])
    slots = _slots(frame)
    room = max(0.8, style.LETTER * (names.longest(_slot(*slot) for slot in slots) + 1))  # inches of each label
    figure, axes = style.panels(len(groups), width=max(3.0, 0.75 + room * len(slots)), sharey=True)
    for axis, title, (_, rows) in zip(axes, titles, groups, strict=True):
        _panel(axis, rows, slots, looks)
        axis.set_title(title)
    columns = axes[0].get_gridspec().ncols
    for axis in axes[::columns]:
        axis.set_ylabel(f"{metric.replace('_', ' ')} (%)")
    style.title(figure, common)
    marks = {"hollow": (frame["converged"] == "false").any(), "crossed": frame["diverged"].any()}
    handles, labels = style.legend(axes[0], *style.points(axes[0], looks), **marks)
    ncols = min(4, style.columns(figure, labels))
    figure.set_figheight(figure.get_figheight() + 0.19 * max(0, -(-len(labels) // ncols) - 2))  # room for its lines
    figure.legend(handles, labels, loc="outside lower center", ncols=ncols, title="debias")
    return figure


def _slots(frame) -> list[tuple[str, str]]:
    """Return the (distiller, ipc) pairs in the order of the axis: by distiller, then by images per class."""
    pairs = {(d, i) for d, i in zip(frame["distiller"], frame["ipc"], strict=True)}
    return sorted(
        pairs, key=lambda pair: (pair[1] == "all", pair[0], int(pair[1]) if pair[1].isdigit() else 0, pair[1])
    )


def _panel(axis, rows, slots: list[tuple[str, str]], looks: dict[str, dict]) -> None:
    step = min(GROUP / len(looks), WIDEST)
    for (distiller, ipc, debias), found in rows.groupby(["distiller", "ipc", "debias"]):
        percent = 100 * found["value"].to_numpy(float)
        of_seeds = 100 * found.groupby("seed")["value"].mean()
        here = [n for n in looks if n in set(rows.loc[_same(rows, distiller, ipc), "debias"])]
        centre = slots.index((distiller, ipc)) + step * (here.index(debias) - (len(here) - 1) / 2)
        look, open_ = looks[debias], (found["converged"] == "false").any()
        # Seaborn's strip plot shifts dots at random from the global generator; a fixed ramp keeps the bytes equal.
        spread = np.linspace(-0.36, 0.04, len(percent)) * step
        axis.scatter(centre + spread, percent, s=9, alpha=0.45, linewidths=0, **look)
        axis.errorbar(
            centre + 0.26 * step, of_seeds.mean(), half_interval(of_seeds), capsize=2.5, markersize=6, elinewidth=1.2,
            ecolor=".25", linestyle="none", **style.marker(look["color"], hollow=open_), **look,
        )  # fmt: skip
        if found["diverged"].any():
            style.cross(axis, [centre + 0.26 * step], [of_seeds.mean()])
    axis.set_xticks(range(len(slots)), [_slot(*slot) for slot in slots])
    axis.set_xlim(-0.5, len(slots) - 0.5)
    axis.grid(axis="x", visible=False)


def _slot(distiller: str, ipc: str) -> str:
    return names.text(distiller) if ipc == "all" else f"{names.text(distiller)}\nIPC {names.text(ipc)}"


def _same(rows, distiller: str, ipc: str):
    return (rows["distiller"] == distiller) & (rows["ipc"] == ipc)
