"""Debias: how the real side of the matching is drawn and pooled.

Every kind is one module; `KINDS` is the registry. It has

``sample_weights(split, **options) -> (N,) float64``
    where no surrogate is named, from labels and attributes, or
``estimate(columns, **options) -> Estimate``
    where one is, from the columns of its file (``embedding``, ``label``, ``index``, perhaps ``logits``,
    ``difficulty``; never the attribute),

or both, and perhaps ``POOLING`` (default ``mean``). What it says is the same for every distiller: see
`ddbias.debias.real_side`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType

from ddbias.base import plugins
from ddbias.base.errors import unknown

KINDS = ("uniform", "group_balanced", "kde", "fairdd", "cobra", "lff_weights", "loss_weighted", "contradiction")
# Settings that say where columns come from and what is done with weights, not how they are made.
OUTSIDE = ("kind", "surrogate", "draw", "reduction")


def module(kind: str) -> ModuleType:
    """Return the module of a debias kind, built in or of a plug-in; an unknown kind raises `DdbiasError`."""
    if kind in KINDS:
        return importlib.import_module(f"{__name__}.{kind}")
    if own := plugins.module("debias", kind):
        return own
    raise unknown("debias kind", kind, [*KINDS, *plugins.kinds("debias")])


def options(settings: Mapping) -> dict:
    """Return the settings of a debias that its functions take."""
    return {name: value for name, value in settings.items() if name not in OUTSIDE}
