"""What a debias reads off a surrogate's columns: one weight a sample, perhaps its density and its pseudo-group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ddbias.base.errors import DdbiasError


@dataclass(frozen=True, eq=False)
class Estimate:
    """Weights of a training split that come from a surrogate; without attribute labels, unless some are `known`.

    Attributes
    ----------
    weights : ndarray of float64, shape (N,)
        Not negative; only ratios within a class matter.
    log_density : ndarray of float64, shape (N,), or None
        Of a debias that estimates one.
    groups : ndarray of int64, shape (N,), or None
        Pseudo-groups, of a debias that has them; compared within a class only.
    diagnostics : mapping of str to float or list of float
        What else is worth keeping with the weights, in the metadata of their file.
    evident : bool
        Whether there is evidence of a bias already (`ddbias.debias.evidence`), so that a trial asks for less.
    """

    weights: np.ndarray
    log_density: np.ndarray | None = None
    groups: np.ndarray | None = None
    diagnostics: Mapping[str, float | list[float]] = field(default_factory=dict)
    evident: bool = False


def column(columns: Mapping[str, np.ndarray], name: str, debias: str, kinds: str) -> np.ndarray:
    """Return a column of a surrogate's file.

    Raises
    ------
    DdbiasError
        If the surrogate stores none of that name; `kinds` says in words which surrogates do.
    """
    if columns.get(name) is None:
        raise DdbiasError(f"debias {debias} needs the {name} of its surrogate, which stores none; use {kinds}")
    return np.asarray(columns[name])


def mean_one(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return values (N,) scaled to mean 1 within each class, as float64.

    A class whose values are all zero says nothing about its samples: they count alike.

    Raises
    ------
    DdbiasError
        If a value is negative or not finite.
    """
    values, labels = np.asarray(values, np.float64), np.asarray(labels)
    if not np.isfinite(values).all() or (values < 0).any():
        raise DdbiasError("what weights are made of must be finite and not negative; the surrogate may have diverged")
    scaled = np.ones(len(labels))
    for label in np.unique(labels):
        members = labels == label
        largest = values[members].max()
        if largest > 0:
            share = values[members] / largest  # so that neither tiny nor huge values lose the sum
            scaled[members] = share / share.mean()
    return scaled


def cross_entropies(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cross-entropy (N,) float64, in nats, of logits (N, K) against labels (N,).

    Raises
    ------
    DdbiasError
        If a logit is not finite or a label has none.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or len(logits) != len(labels) or labels.max() >= logits.shape[1]:
        raise DdbiasError(f"logits of shape {logits.shape} do not fit {len(labels)} labels up to {labels.max()}")
    if not np.isfinite(logits).all():
        raise DdbiasError("the logits have values that are not finite: the surrogate diverged, lower its rate")
    shifted = logits - logits.max(1, keepdims=True)
    # Rounding may leave a loss a little below zero.
    return np.maximum(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels], 0.0)
