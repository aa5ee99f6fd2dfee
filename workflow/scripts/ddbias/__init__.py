"""ddbias: how dataset distillation amplifies the bias of an image data set, and how to undo it.

The names below are for notebooks and for other code; each loads what it needs when it is first used, so
``import ddbias`` itself loads neither torch nor pandas. The rooms of the package and their order are drawn in
``docs/architecture.md``.
"""

from __future__ import annotations

import importlib

__version__ = "0.2.0"

_HOMES = {  # module, and what it is called there if not the same
    "DSA": "learning.augment.dsa",
    "DistilledSet": "data.distilled",
    "Split": "data.split",
    "assign_attributes": "datasets.assignment",
    "build_network": "learning.networks:build",
    "colorize": "datasets.colorize",
    "density_weights": "debias.weights.inverse_density",
    "distill": "distill",  # the package, which can be called
    "estimate_weights": "calls",
    "gradient_distance": "distill.gradient_distance",
    "group_metrics": "evaluation.metrics",
    "kde_density": "debias.weights.density",
    "load_distilled": "data.distilled",
    "load_split": "data.split",
    "supcon_loss": "debias.surrogate.supcon",
}
__all__ = [*_HOMES]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'ddbias' has no attribute '{name}'; public are {', '.join(_HOMES)}")
    module, _, called = _HOMES[name].partition(":")
    home = importlib.import_module(f"ddbias.{module}")
    found = home if module == name else getattr(home, called or name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
