"""Surrogates over their training: separation without attribute labels, and AUC and weight share with them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ddbias.data import store
from ddbias.results.figures import names, style
from ddbias.results.tables.pool import by_size

PLUGIN = {
    "figure": {
        "surrogate": {
            "description": (
                "How well surrogates separate the samples of a class as they are trained, and where the "
                "attribute is known how well that tells the conflicting ones; one column a ratio. Surrogates "
                "need early_stopping, which measures both."
            ),
            "required": ["dataset", "surrogates", "seed"],
            "options": {
                "dataset": {"type": "string", "description": "Name under `datasets`."},
                "surrogates": {"$ref": "#/$defs/names", "description": "Names under `surrogates`, a line each."},
                "seed": {"type": "integer", "description": "Distillation seed."},
            },
            "files": ["histories"],
        },
    },
}

COLUMNS = ("step", "separation", "auc", "conflicting_share")
ROWS = {
    "separation": "separation\n(from labels only)",
    "auc": "AUC of conflicting\n(from attributes)",
    "conflicting_share": "weight of conflicting\n(from attributes)",
}
DASHES = ("-", "--", "-.", ":")
MARKERS = "osD^vPX"


def draw(*, histories: Sequence[str | Path], settings: dict, **_: object) -> Figure:
    """Draw the separation, and below it the measures from attributes; one column per ratio, a line per surrogate.

    These are the AUC of the margins (chance is 0.5), and the share of the weight that conflicting samples would have
    under density weights. A large marker is at the largest separation: the network that early stopping keeps.

    Parameters
    ----------
    histories : sequence of path
        ``.../{dataset}/{ratio}/{surrogate}/seed{seed}/history.parquet`` with the columns of `COLUMNS`, NaN where they
        were not measured.
    settings : dict
        Nothing is used.
    """
    panels: dict[tuple[str, str, str], dict[str, dict]] = {}
    for path in map(Path, histories):
        dataset, ratio, surrogate, seed = (folder.name for folder in reversed(path.parents[:4]))
        panels.setdefault((dataset, ratio, seed.removeprefix("seed")), {})[surrogate] = _read(path)
    if not panels:
        return style.nothing_yet("surrogate")
    keys = sorted(panels, key=lambda key: (key[0], by_size(key[1]), key[2]))
    titles, common = style.describe(dict(zip(("dataset", "ratio", "seed"), key, strict=True)) for key in keys)
    known = any(np.isfinite(values["auc"]).any() for runs in panels.values() for values in runs.values())
    rows = list(ROWS) if known else ["separation"]
    figure = Figure(figsize=(max(3.1 * len(keys), 4.2), 0.7 + 2.1 * len(rows)), layout="constrained")
    axes = figure.subplots(len(rows), len(keys), squeeze=False, sharex="col", sharey="row")
    looks = _looks(dict.fromkeys(name for runs in panels.values() for name in runs))
    for row, kind in enumerate(rows):
        axes[row, 0].set_ylabel(ROWS[kind])
        for axis, key in zip(axes[row], keys, strict=True):
            _panel(axis, kind, panels[key], looks)
    for axis, bottom, title in zip(axes[0], axes[-1], titles, strict=True):
        axis.set_title(title)
        bottom.set_xlabel("step")
        bottom.xaxis.get_major_locator().set_params(integer=True)
    figure.align_ylabels(axes[:, 0])
    style.title(figure, common)
    _legend(figure, axes[0, 0], looks)
    return figure


def _read(path: Path) -> dict[str, np.ndarray]:
    """Return the steps at which something was measured, and what."""
    table, _ = store.read_table(path)
    store.require(path, "the history of a surrogate", table.column_names, COLUMNS)
    columns = {name: table[name].to_numpy().astype(float) for name in COLUMNS}
    measured = np.isfinite(columns["separation"])
    return {name: values[measured] for name, values in columns.items()}


def _looks(surrogates: Sequence[str]) -> dict[str, dict]:
    """Return a colour, dashes and a marker for each surrogate, which differ in grey, too."""
    colours = (0, 1, 2, 4, 3, 5, 9)
    return {
        name: {
            "color": style.colour(colours[i % len(colours)]),
            "linestyle": DASHES[i % len(DASHES)],
            "marker": MARKERS[i % len(MARKERS)],
        }
        for i, name in enumerate(surrogates)
    }


def _panel(axis, kind: str, runs: dict[str, dict], looks: dict[str, dict]) -> None:
    shown = False
    for name, values in runs.items():
        seen = np.isfinite(values[kind])
        if not seen.any():
            continue
        shown = True
        steps, every = values["step"], max(1, len(values["step"]) // 12)
        axis.plot(steps[seen], values[kind][seen], markersize=3.5, markevery=every, linewidth=1.3, **looks[name])
        best = int(np.argmax(values["separation"]))
        look = {key: value for key, value in looks[name].items() if key != "linestyle"}
        axis.plot(
            steps[best], values[kind][best], markersize=8, markeredgecolor="black", linestyle="none", zorder=3,
            clip_on=False, **look,
        )  # fmt: skip
    if not shown:
        what = "not measured" if kind == "separation" else "attribute unknown, or none is paired"
        axis.text(0.5, 0.5, what, transform=axis.transAxes, ha="center", va="center", color=".4")
    elif kind == "auc":
        axis.axhline(0.5, color=".6", linewidth=1, linestyle=(0, (1, 2)))
        axis.set_ylim(bottom=min(axis.get_ylim()[0], 0.44))  # room for the word below the line
        axis.text(
            1, 0.495, "chance ", transform=axis.get_yaxis_transform(), ha="right", va="top", fontsize=8, color=".4"
        )


def _legend(figure: Figure, axis, looks: dict[str, dict]) -> None:
    handles = [axis.plot([], [], markersize=4, linewidth=1.3, **look)[0] for look in looks.values()]
    largest = axis.plot([], [], "o", markersize=8, color=".8", markeredgecolor="black", linestyle="none")[0]
    labels = [*map(names.text, looks), "largest separation"]
    figure.legend([*handles, largest], labels, loc="outside lower center", ncols=style.columns(figure, labels))
