"""Figures. Each kind is one module with ``draw(*, evaluations, weights, datasets, distilled, settings)``.

A new kind is one file and one line in `PLOTS`. Every kind takes the same lists of files and uses what it needs;
files that do not exist yet are passed over, and a figure without any says so instead of failing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ddbias import store
from ddbias.errors import unknown

PLOTS = {
    "accuracy": "accuracy",
    "weights": "weights",
    "images": "images",
    "datasets": "datasets",
}
FORMATS = {
    "png": {"dpi": 150, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None, "Creator": None}},
}


def plot(
    *,
    kind: str,
    outputs: Mapping[str, str | Path],
    evaluations: Sequence[str | Path] = (),
    weights: Sequence[str | Path] = (),
    datasets: Sequence[str | Path] = (),
    distilled: Sequence[str | Path] = (),
    settings: Mapping[str, object] | None = None,
) -> None:
    """Draw one figure and save it with reproducible bytes (no date, no random ids).

    Parameters
    ----------
    kind : str
        A key of `PLOTS`.
    outputs : mapping
        Format (``png`` or ``svg``) to the path to write.
    evaluations, weights, datasets, distilled : sequence of path
        Evaluation files, ``weights.parquet`` files, ``train.arrow`` files and ``distilled.safetensors`` files,
        already selected for this figure.
    settings : mapping, optional
        What the kind's own docstring lists.

    Raises
    ------
    DdbiasError
        If the kind or a format is unknown, or a file is not what it should be.
    """
    import matplotlib as mpl

    from ddbias.plots import style

    if kind not in PLOTS:
        raise unknown("figure kind", kind, PLOTS)
    for form in outputs:
        if form not in FORMATS:
            raise unknown("figure format", form, FORMATS)
    draw = importlib.import_module(f"ddbias.plots.{PLOTS[kind]}").draw
    files = {"evaluations": evaluations, "weights": weights, "datasets": datasets, "distilled": distilled}
    present = {name: [path for path in paths if Path(path).is_file()] for name, paths in files.items()}
    with mpl.rc_context(style.rc()):
        figure = draw(**present, settings=dict(settings or {}))
        for form, path in outputs.items():
            with store.whole(path) as part:
                figure.savefig(part, format=form, **FORMATS[form])
