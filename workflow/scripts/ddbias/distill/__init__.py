"""Distillers: from a split, a debias and a number of images per class to a distilled set.

A distiller is one module. One that *learns* images has a class ``Distiller`` (see `ddbias.distill.engine`); one
that *selects* real images has a function ``select``. `MODULES` is the registry.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from ddbias.base import plugins
from ddbias.base.errors import unknown

MODULES = {
    "dm": "distribution_matching",
    "dc": "gradient_matching",
    "dsa": "gradient_matching",
    "mtt": "mtt",
    "idc": "idc",
    "random": "controls.random_selection",
    "herding": "controls.herding",
    "kcenter": "controls.kcenter",
    "whole": "controls.whole_set",
}


def module(kind: str) -> ModuleType:
    """Return the module of a distiller kind, built in or of a plug-in; an unknown kind raises `DdbiasError`."""
    if kind in MODULES:
        return importlib.import_module(f"{__name__}.{MODULES[kind]}")
    if own := plugins.module("distiller", kind):
        return own
    raise unknown("distiller kind", kind, [*MODULES, *plugins.kinds("distiller")])
