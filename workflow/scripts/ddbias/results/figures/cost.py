"""A metric of distilled sets against the seconds and the memory of their distillation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ddbias.data import store
from ddbias.results.figures import names, style
from ddbias.results.tables.pool import why_undefined
from ddbias.results.tables.read import read_evaluations

PLUGIN = {
    "figure": {
        "cost": {
            "description": "A metric of every set against the seconds and the memory of its distillation.",
            "required": ["dataset", "ratio", "evaluation"],
            "options": {
                "dataset": {"type": "string", "description": "Name under `datasets`."},
                "ratio": {"$ref": "#/$defs/ratio"},
                "ipc": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "default": None,
                    "description": "Sets with so many images per class; null shows all.",
                },
                "evaluation": {"type": "string", "description": "Name under `evaluations`."},
                "metric": {"$ref": "#/$defs/metric", "default": "unbiased_accuracy"},
            },
            "files": ["evaluations", "distilled"],
        },
    },
}

SET = ["dataset", "ratio", "distiller", "debias", "ipc", "seed"]
COSTS = {"seconds": "seconds of distillation", "peak_memory_mb": "peak memory (MB)"}


def draw(*, evaluations: Sequence[str | Path], distilled: Sequence[str | Path], settings: dict, **_: object) -> Figure:
    """Draw the mean of every distiller, debias and number of images per class at the mean cost of its sets.

    Costs are those of the machine that made the sets: seconds of its processor, all cores together, or of the clock
    if a GPU was used. Controls that only select images have almost no cost and are the baseline. A marker is
    hollow where a set has not converged, and crossed where a network diverged.

    Parameters
    ----------
    evaluations : sequence of path
    distilled : sequence of path
        ``distilled.safetensors`` files, each with its ``run.json`` beside it.
    settings : dict
        ``metric`` (default ``unbiased_accuracy``).
    """
    metric = str(settings.get("metric", "unbiased_accuracy"))
    every = read_evaluations(evaluations)
    frame = every[every["metric"] == metric]
    why = why_undefined(every, metric) if frame.empty else ""
    costs = _costs(distilled)
    frame = frame.astype({"seed": str}).merge(costs, on=SET) if len(costs) else frame[:0]
    if frame.empty:
        return style.no_value(metric, why)
    looks = style.debias_styles(frame["debias"])
    figure, axes = style.panels(len(COSTS), width=3.8, height=3.2, sharey=True)
    frame = frame.assign(hollow=frame["converged"] == "false")
    parts = frame.groupby(["distiller", "ipc", "debias"])
    flags = {name: parts[name].any() for name in ("hollow", "diverged")}
    points = parts[["value", *COSTS]].mean().assign(**flags).reset_index()
    several = points["ipc"].nunique() > 1
    # The debiases of a distiller cost about the same: its best one is named.
    named = set(points.groupby(["distiller", "ipc"])["value"].idxmax())
    for axis, (cost, label) in zip(axes, COSTS.items(), strict=True):
        for point in points.itertuples():
            place = max(getattr(point, cost), 0.01), 100 * point.value
            look = looks[point.debias]
            look = {**look, **style.marker(look["color"], hollow=point.hollow)}
            axis.plot(*place, markersize=6, linestyle="none", **look)
            if point.diverged:
                style.cross(axis, *place)
            if axis is axes[0] and point.Index in named:  # sets that cost alike in memory would write over each other
                text = names.text(f"{point.distiller} {point.ipc}" if several else point.distiller)
                axis.annotate(text, place, (0, 6), textcoords="offset points", fontsize=7, color=".25", ha="center")
        axis.margins(x=0.25, y=0.15)
        axis.set_xlabel(label)
    axes[0].set_xscale("log")
    axes[0].xaxis.set_major_formatter("{x:g}")
    axes[0].set_ylabel(f"{metric.replace('_', ' ')} (%)")
    marks = {"hollow": points["hollow"].any(), "crossed": points["diverged"].any()}
    handles, labels = style.legend(axes[0], *style.points(axes[0], looks), **marks)
    style.title(figure, style.describe(dict(zip(SET[:2], key, strict=True)) for key, _ in frame.groupby(SET[:2]))[1])
    figure.legend(handles, labels, loc="outside lower center", ncols=style.columns(figure, labels), title="debias")
    return figure


def _costs(distilled: Sequence[str | Path]):
    """Return the key, seconds and peak memory of every set whose ``run.json`` says them."""
    import pandas as pd

    rows = []
    for path in map(Path, distilled):
        run = path.with_name("run.json")
        facts = store.read_json(run) if run.is_file() else {}
        if str(facts.get("device", "")).startswith("cpu"):
            facts["seconds"] = facts.get("processor_seconds", facts.get("seconds"))
        if all(facts.get(cost) is not None for cost in COSTS):
            _, meta = store.read_tensors(path, framework="np", prefix=None)
            store.require(path, "a distilled set", meta, SET)
            rows.append([*(str(meta[name]) for name in SET), *(float(facts[cost]) for cost in COSTS)])
    return pd.DataFrame(rows, columns=[*SET, *COSTS])
