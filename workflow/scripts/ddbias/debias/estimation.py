"""Sample weights from the columns of a surrogate, and their trial where a debias asks for one."""

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
from ddbias.debias.real_side import check_given, check_weights
from ddbias.debias.trial import let_go, trial


def estimate_weights(
    settings: Mapping, columns: Mapping[str, np.ndarray], split: Split | None = None, *, seed: int = 0
) -> Estimate:
    """Return the weights that a debias estimates from a surrogate's columns; equal weights if a trial rejects them.

    Some kinds return a list of candidates (see `ddbias.debias.kinds`), which are tried on the split
    (`ddbias.debias.trial`). If none passes, all samples get the same weight and each class is one group. The option
    ``trial`` overrides this: true tries the estimates of any kind, false tries none and takes the last candidate.

    Parameters
    ----------
    settings : mapping
        ``kind`` and options of the debias.
    columns : mapping of str to ndarray
        Of the surrogate's file. ``attribute`` is not passed on to the kind. With the option ``known``, the kind gets
        ``attribute_known`` instead: the attributes of that share of the samples, -1 for the others.
    split : Split, optional
        The same samples in the same order; without it nothing is tried.
    seed : int
        Draws the samples whose attribute is known, and seeds the trial.

    Returns
    -------
    Estimate
        After a trial its diagnostics have ``trial_gains`` and ``trial_errors``, one number for each candidate,
        ``trial_chosen``, the position of the candidate taken (None: all samples count alike), and where the estimate
        has doubts ``trial_doubted``, how many samples lost their weight because their labels seem wrong.

    Raises
    ------
    DdbiasError
        If the kind uses no surrogate, the columns lack what it needs, or ``known`` is set without attributes.
    """
    method = plugins.module("debias", settings["kind"])
    if not hasattr(method, "estimate"):
        raise DdbiasError(f"debias {settings['kind']} uses no surrogate; leave the option surrogate out")
    seen = {name: values for name, values in columns.items() if name != "attribute"}
    if settings.get("known") is not None:
        if columns.get("attribute") is None:
            raise DdbiasError(
                f"debias {settings['kind']}: the option known needs attributes, which this data set does not have; "
                "leave known out"
            )
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
    labels = np.asarray(split.labels, np.int64)
    weights = [check_weights(found.weights, labels) for found in offered]  # only ratios within a class count
    result = trial(split, weights, seed=seed, evident=evident)
    told = {"trial_gains": result.gains, "trial_errors": result.errors, "trial_chosen": result.chosen}
    if result.chosen is not None:
        found = offered[result.chosen]
        if found.doubts:
            found, told["trial_doubted"] = let_go(found, result.doubted, labels), int(result.doubted.sum())
        return replace(found, diagnostics={**found.diagnostics, **told})
    logger.warning(
        "debias %s: the weights failed their trial: a classifier trained with them gains %.3f (standard error %.3f) "
        "over one trained with equal weights, which is too little; they find no bias, and all samples count alike "
        "(trial: false takes the weights as they are)",
        debias,
        result.gains[result.best],
        result.errors[result.best],
    )
    alike = np.ones(len(split))
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
