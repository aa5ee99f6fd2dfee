"""Debias: how the real side of the matching is drawn and pooled.

Every kind is one module with ``NEEDS_SURROGATE`` and ``sample_weights(split, **settings)``; `KINDS` is the
registry. What a kind returns is the same for every distiller: see `ddbias.debias.real_side`.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np

from ddbias import plugins, store
from ddbias.data import Split
from ddbias.errors import DdbiasError, unknown

KINDS = ("uniform", "group_balanced", "kde")


def module(kind: str) -> ModuleType:
    """Return the module of a debias kind, built in or of a plug-in; an unknown kind raises `DdbiasError`."""
    if kind in KINDS:
        return importlib.import_module(f"ddbias.debias.{kind}")
    if own := plugins.module("debias", kind):
        return own
    raise unknown("debias kind", kind, [*KINDS, *plugins.kinds("debias")])


def load_weights(kind: str, split: Split, path: str | Path | None) -> np.ndarray:
    """Return the sample weights (N,) float64 of a debias for a training split.

    Parameters
    ----------
    kind : str
    split : Split
    path : path or None
        The weights file of a kind that needs a surrogate.

    Raises
    ------
    DdbiasError
        If the file belongs to another split, a kind that needs one has none, or the kind cannot work without
        attributes.
    """
    if not path:
        if module(kind).NEEDS_SURROGATE:
            raise DdbiasError(f"debias {kind} needs the weights file that estimate_weights writes; none was given")
        return module(kind).sample_weights(split)
    table, _ = store.read_table(path)
    if not np.array_equal(table["index"].to_numpy(), split.index):
        raise DdbiasError(f"{path} belongs to another training split; delete it and run again")
    return table["weight"].to_numpy()
