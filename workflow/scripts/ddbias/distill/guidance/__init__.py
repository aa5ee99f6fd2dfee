"""Further losses on the synthetic images of a distiller, beside its own. `MODULES` is the registry.

A kind is one module with a class ``Guidance(settings, models, split, labels, seed, device)``; an instance is called
with the images and the step and returns the value of the loss and its gradient.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from ddbias.base import plugins
from ddbias.base.errors import unknown

MODULES = {"clom": "clom"}


def module(kind: str) -> ModuleType:
    """Return the module of a kind of guidance, built in or of a plug-in; an unknown kind raises `DdbiasError`."""
    if kind in MODULES:
        return importlib.import_module(f"{__name__}.{MODULES[kind]}")
    if own := plugins.module("guidance", kind):
        return own
    raise unknown("guidance", kind, [*MODULES, *plugins.kinds("guidance")])
