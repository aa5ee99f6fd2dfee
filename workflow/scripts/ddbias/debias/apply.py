"""Apply a debias of any kind: weights off what a surrogate says, and what the real side of the matching is to be."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ddbias.base import plugins
from ddbias.base.errors import DdbiasError, Misuse
from ddbias.base.plugins.given import need, need_kind
from ddbias.data import store
from ddbias.data.split import Split
from ddbias.debias import kinds
from ddbias.debias.estimates import Estimate
from ddbias.debias.known_attributes import known_attributes
from ddbias.debias.real_side import RealSettings, check_weights, draws


def estimate_weights(settings: Mapping, columns: Mapping[str, np.ndarray], *, seed: int = 0) -> Estimate:
    """Return what a debias reads off a surrogate's columns.

    Parameters
    ----------
    settings : mapping
        ``kind`` and options of the debias.
    columns : mapping of str to ndarray
        Of the surrogate's file. An ``attribute`` among them is not passed on: no estimate may look at it, but for the
        share of it that the option ``known`` of a kind states (``attribute_known``, -1 for the others).
    seed : int
        Which samples these are.

    Raises
    ------
    DdbiasError
        If the kind uses no surrogate, or the columns lack what it needs.
    """
    method = plugins.module("debias", settings["kind"])
    if not hasattr(method, "estimate"):
        raise DdbiasError(f"debias {settings['kind']} uses no surrogate; leave it out")
    seen = {name: values for name, values in columns.items() if name != "attribute"}
    if settings.get("known") is not None:
        if columns.get("attribute") is None:
            raise DdbiasError(f"debias {settings['kind']}: this data set has no attribute to be known; leave known out")
        seen["attribute_known"] = known_attributes(columns["attribute"], settings["known"], seed=seed)
    with plugins.calling("debias", settings["kind"]):
        found = method.estimate(seen, **kinds.options(settings))
        need_kind(found, Estimate, "what it estimates", "estimate")
        _check(found.weights, columns["label"], "estimate")
        for what, values, types in (
            ("the groups", found.groups, ["int64"]),
            ("the log density", found.log_density, ["float64", "float32"]),
        ):
            if values is not None:
                need(values, what, "estimate", shape=[len(columns["label"])], types=types)
    return found


def real_settings(settings: Mapping, split: Split, path: str | Path | None) -> RealSettings:
    """Return what a debias says about the real side of a training split.

    Parameters
    ----------
    settings : mapping
        ``kind`` and options of the debias.
    split : Split
    path : path or None
        The weights file of a debias that uses a surrogate.

    Raises
    ------
    DdbiasError
        If the file is damaged or belongs to another split, a debias that needs one has none, or it cannot work
        without attributes.
    """
    method = plugins.module("debias", settings["kind"])
    pooling = getattr(method, "POOLING", "mean")
    if path:
        weights, groups = _read(path, split)
    elif settings.get("surrogate") is not None or not hasattr(method, "sample_weights"):
        raise DdbiasError(
            f"debias {settings['kind']} needs the weights file that estimate_weights writes; none was given"
        )
    else:
        with plugins.calling("debias", settings["kind"]):
            weights, groups = method.sample_weights(split, **kinds.options(settings)), split.attributes
            _check(weights, split.labels, "sample_weights")
    return RealSettings(
        weights,
        None if pooling == "mean" else groups,
        pooling,
        settings.get("draw", draws(pooling)[0]),
        settings.get("reduction", "sum"),
    )


def _check(weights: np.ndarray, labels: np.ndarray, of: str) -> None:
    need(weights, "the weights", of, shape=[len(labels)], types=["float64", "float32"])
    try:
        check_weights(weights, labels)
    except DdbiasError as error:
        raise Misuse(f"gives weights that cannot be: {error}", of) from None


def _read(path: str | Path, split: Split) -> tuple[np.ndarray, np.ndarray | None]:
    """Return weights and groups, if any, of a weights file."""
    table, _ = store.read_table(path)
    store.require(path, "a file of weights", table.column_names, ("index", "weight"))
    weights = table["weight"].to_numpy()
    store.require_finite(path, "weight", weights)
    if not np.array_equal(table["index"].to_numpy(), split.index):
        raise DdbiasError(f"{path} belongs to another training split; delete it and run again")
    groups = table["group"].to_numpy() if "group" in table.column_names else None
    return weights, groups
