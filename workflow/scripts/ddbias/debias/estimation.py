"""Weights off what a surrogate says, tried out where a debias asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger
from ddbias.base.plugins.given import need, need_kind
from ddbias.data.split import Split
from ddbias.debias import kinds
from ddbias.debias.estimates import Estimate
from ddbias.debias.known_attributes import known_attributes
from ddbias.debias.real_side import check_given
from ddbias.debias.trial import trial


def estimate_weights(
    settings: Mapping, columns: Mapping[str, np.ndarray], split: Split | None = None, *, seed: int = 0
) -> Estimate:
    """Return what a debias reads off a surrogate's columns, if it stands a trial.

    What a debias offers for a trial (see `ddbias.debias.kinds`) is tried on the split; weights that do not pass give
    way to equal ones, and a class is one group. The option ``trial`` has any debias tried, or none.

    Parameters
    ----------
    settings : mapping
        ``kind`` and options of the debias.
    columns : mapping of str to ndarray
        Of the surrogate's file. An ``attribute`` among them is not passed on: no estimate may look at it, but for the
        share of it that the option ``known`` of a kind states (``attribute_known``, -1 for the others).
    split : Split, optional
        Of the same samples; without one nothing is tried.
    seed : int
        Which samples these are, and that of the trial.

    Returns
    -------
    Estimate
        Its diagnostics have the ``trial_gains`` and ``trial_errors`` of all that was tried, and ``trial_chosen``, the
        number of the one taken (None: all samples count alike).

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
        given = method.estimate(seen, **kinds.options(settings))
        offered = given if isinstance(given, list) and given else [given]
        for found in offered:
            _check_estimate(found, columns["label"])
    wanted = settings.get("trial")
    if split is None or not (isinstance(given, list) if wanted is None else wanted):
        return offered[-1]
    return _tried(settings["kind"], offered, split, seed)


def _tried(debias: str, offered: list[Estimate], split: Split, seed: int) -> Estimate:
    """Return the estimate that does best in a trial, or one under which all samples count alike."""
    evident = all(found.evident for found in offered)
    result = trial(split, [found.weights for found in offered], seed=seed, evident=evident)
    told = {"trial_gains": result.gains, "trial_errors": result.errors, "trial_chosen": result.chosen}
    if result.chosen is not None:
        found = offered[result.chosen]
        return replace(found, diagnostics={**found.diagnostics, **told})
    best = int(np.argmax(result.gains))
    logger.warning(
        "debias %s: a classifier trained on the weighted samples gains %.3f (standard error %.3f) over one trained on "
        "all alike, which is not enough: there is no bias that these weights find, and all samples count alike "
        "(trial: false takes the weights as they are)",
        debias,
        result.gains[best],
        result.errors[best],
    )
    alike, labels = np.ones(len(split)), np.asarray(split.labels, np.int64)
    last = offered[-1]
    told = {**last.diagnostics, **told}
    return Estimate(alike, last.log_density, None if last.groups is None else labels, told)


def _check_estimate(found: object, labels: np.ndarray) -> None:
    need_kind(found, Estimate, "what it estimates", "estimate")
    check_given(found.weights, labels, "estimate")
    for what, values, types in (
        ("the groups", found.groups, ["int64"]),
        ("the log density", found.log_density, ["float64", "float32"]),
    ):
        if values is not None:
            need(values, what, "estimate", shape=[len(labels)], types=types)
