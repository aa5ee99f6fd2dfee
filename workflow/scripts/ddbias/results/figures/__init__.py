"""Figures. Each kind is one module with ``draw(*, settings, **files)``, which returns a figure.

A new kind is one file. Every kind gets the same lists of files, those of `FILES`. Files that do not exist yet are
ignored, and a figure without any says so instead of failing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ddbias.base import plugins
from ddbias.base.errors import unknown
from ddbias.base.plugins.given import need_kind
from ddbias.data import store

FILES = ("evaluations", "weights", "histories", "embeddings", "datasets", "distilled")
FORMATS = {"png": {"dpi": 150, "metadata": {"Software": None}}, "svg": {"metadata": {"Date": None, "Creator": None}}}


def plot(
    *,
    kind: str,
    outputs: Mapping[str, str | Path],
    settings: Mapping[str, object] | None = None,
    **files: Sequence[str | Path],
) -> None:
    """Draw one figure and save it with reproducible bytes (no date, no random ids).

    Parameters
    ----------
    kind : str
        A kind of figure.
    outputs : mapping
        Format (``png`` or ``svg``) to the path to write.
    settings : mapping, optional
        See the docstring of the kind.
    **files : sequence of path
        Already selected for this figure, by the names in `FILES`: evaluation files, ``weights.parquet`` files, the
        ``history.parquet`` and ``embeddings.arrow`` of surrogates, ``train.arrow`` files and
        ``distilled.safetensors`` files. A list that is left out is empty.

    Raises
    ------
    TypeError
        If a list of files has another name.
    DdbiasError
        If the kind or a format is unknown, or a file is not what it should be.
    """
    import matplotlib as mpl
    import matplotlib.figure

    from ddbias.results.figures import names, style

    draw = plugins.module("figure", kind).draw
    for form in outputs:
        if form not in FORMATS:
            raise unknown("figure format", form, FORMATS)
    if not set(files) <= set(FILES):
        raise TypeError(f"plot() takes files called {', '.join(FILES)}, not {', '.join(set(files) - set(FILES))}")
    present = {name: [path for path in files.get(name, ()) if Path(path).is_file()] for name in FILES}
    with mpl.rc_context(style.rc()):
        with plugins.calling("figure", kind):
            figure = draw(**present, settings=dict(settings or {}))
            need_kind(figure, mpl.figure.Figure, "what it draws", "draw")
        names.write(figure)
        for form, path in outputs.items():
            with store.whole(path) as part:
                figure.savefig(part, format=form, **FORMATS[form])
