"""Histogram of the weights of aligned and of conflicting samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddbias.base import groups
from ddbias.data import store
from ddbias.results.figures import style

PLUGIN = {
    "figure": {
        "weights": {
            "description": "Histogram of the sample weights, aligned against conflicting, one panel a ratio.",
            "required": ["dataset", "debias", "seed"],
            "options": {
                "dataset": {"type": "string", "description": "Name under `datasets`."},
                "debias": {"type": "string", "description": "Name under `debias`."},
                "seed": {"type": "integer", "description": "Distillation seed."},
            },
            "files": ["weights"],
        },
    },
}

PANEL = ("dataset", "ratio", "debias")
BINS = 40


def draw(*, weights: Sequence[str | Path], settings: dict, **_: object) -> Figure:
    """Draw one panel per data set, ratio and debias; several seeds of one are pooled.

    The two groups are normalised apart (share of the group's samples), since conflicting samples are few.

    Parameters
    ----------
    weights : sequence of path
    settings : dict
        ``bins`` (default 40).
    """
    groups: dict[tuple, list[tuple[dict, dict]]] = {}
    for path in weights:
        columns, meta = _read(path)
        groups.setdefault(tuple(str(meta[name]) for name in PANEL), []).append((columns, meta))
    if not groups:
        return style.nothing_yet("weights")
    titles, common = style.describe(dict(zip(PANEL, key, strict=True)) for key in groups)
    figure, axes = style.panels(len(groups), height=2.9, sharey=True)
    for axis, title, runs in zip(axes, titles, groups.values(), strict=True):
        _panel(axis, runs, int(settings.get("bins", BINS)))
        axis.set_title("\n".join(filter(None, [title, _facts(runs)])))
    low, high = min(axis.get_xlim()[0] for axis in axes), max(axis.get_xlim()[1] for axis in axes)
    columns = axes[0].get_gridspec().ncols
    for axis in axes[::columns]:
        axis.set_ylabel("share of the group (%)")
    for axis in axes:
        axis.set_xlim(low, high)
    style.title(figure, common)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    return figure


def _read(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    table, meta = store.read_table(path)
    store.require(path, "a file of weights", [*table.column_names, *meta], ("label", "weight", *PANEL))
    return {name: table[name].to_numpy() for name in table.column_names}, meta


def _panel(axis, runs: list[tuple[dict, dict]], bins: int) -> None:
    parts = _parts(runs)
    pooled = np.concatenate([values for _, values, _ in parts])
    edges = np.histogram_bin_edges(pooled, bins)
    for label, values, look in parts:
        share = np.full(len(values), 100 / max(len(values), 1))
        axis.hist(values, edges, weights=share, label=label, histtype="stepfilled", linewidth=1.2, **look)
    axis.set_xlabel("log10 weight")
    axis.grid(axis="x", visible=False)


def _parts(runs: list[tuple[dict, dict]]) -> list[tuple[str, np.ndarray, dict]]:
    """Return (label, log10 weights, look) of each group; a weight of zero has no place on this axis."""
    weight = np.concatenate([columns["weight"] for columns, _ in runs])
    shown = weight > 0
    masks = [
        groups.conflicting(columns["label"], columns.get("attribute"), meta.get("pairing", groups.IDENTITY))
        for columns, meta in runs
    ]
    grey, orange = style.colour(style.ALIGNED), style.colour(style.CONFLICTING)
    solid = {"facecolor": (*grey, 0.45), "edgecolor": (*grey, 1.0)}
    hatched = {"facecolor": (*orange, 0.3), "edgecolor": (*orange, 1.0), "hatch": "////"}
    if any(mask is None for mask in masks):
        why = "no attribute is paired" if all("attribute" in columns for columns, _ in runs) else "attribute unknown"
        return [(f"all samples ({why})", np.log10(weight[shown]), solid)]
    conflicting = np.concatenate(masks)
    return [
        ("aligned", np.log10(weight[shown & ~conflicting]), solid),
        ("conflicting", np.log10(weight[shown & conflicting]), hatched),
    ]


def _facts(runs: list[tuple[dict, dict]]) -> str:
    """Return AUC and weight share of conflicting samples, as means over the seeds; the unknown is left out."""
    facts = []
    for key, text in (("auc", "AUC {:.2f}"), ("conflicting_share", "conflicting share {:.1%}")):
        values = [meta[key] for _, meta in runs if meta.get(key) is not None]
        if values:
            facts.append(text.format(float(np.mean(values))))
    zeros = sum(int((columns["weight"] <= 0).sum()) for columns, _ in runs)
    return ", ".join(facts + ([f"{zeros} weights of 0 not shown"] if zeros else []))
