"""From the settings of a debias, of any kind, to its `RealSettings`: weights, groups, draw and pooling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.data.split import Split
from ddbias.debias import kinds
from ddbias.debias.real_side import RealSettings, check_given, draws


def real_settings(settings: Mapping, split: Split, path: str | Path | None) -> RealSettings:
    """Return how a debias draws and pools the real images of a training split.

    Parameters
    ----------
    settings : mapping
        ``kind`` and options of the debias.
    split : Split
    path : path or None
        The file that the rule ``estimate_weights`` wrote; None for a debias without a surrogate.

    Returns
    -------
    RealSettings

    Raises
    ------
    DdbiasError
        If the debias needs a file and `path` is None, or the file is damaged or belongs to another split. Also if the
        debias needs attributes that the split does not have.
    """
    method = plugins.module("debias", settings["kind"])
    if path:
        weights, groups = _read(path, split)
    elif settings.get("surrogate") is not None or not hasattr(method, "sample_weights"):
        raise DdbiasError(
            f"debias {settings['kind']} needs the weights file that estimate_weights writes; none was given"
        )
    else:
        with plugins.calling("debias", settings["kind"]):
            weights, groups = method.sample_weights(split, **kinds.options(settings)), split.attributes
            check_given(weights, split.labels, "sample_weights")
    return formed(settings, weights, groups)


def formed(settings: Mapping, weights: np.ndarray, groups: np.ndarray | None) -> RealSettings:
    """Return how a debias draws and pools real images of some weights (N,) and groups (N,)."""
    pooling = getattr(plugins.module("debias", settings["kind"]), "POOLING", "mean")
    return RealSettings(
        weights,
        None if pooling == "mean" else groups,
        pooling,
        settings.get("draw", draws(pooling)[0]),
        settings.get("reduction", "sum"),
    )


def _read(path: str | Path, split: Split) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the weights (N,) and the groups (N,) of a weights file; None for groups where the file has none."""
    table, _ = store.read_table(path)
    store.require(path, "a file of weights", table.column_names, ("index", "weight"))
    weights = table["weight"].to_numpy()
    store.require_finite(path, "weight", weights)
    if not np.array_equal(table["index"].to_numpy(), split.index):
        raise DdbiasError(f"{path} belongs to another training split; delete it and run again")
    groups = table["group"].to_numpy() if "group" in table.column_names else None
    return weights, groups
