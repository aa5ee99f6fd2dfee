"""What a debias computes from a surrogate's columns: sample weights, and depending on its kind densities and groups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ddbias.base.errors import DdbiasError


@dataclass(frozen=True, eq=False)
class Estimate:
    """Sample weights of a training split, computed from a surrogate.

    No attribute label enters, except those of the share of the samples that an option ``known`` states.

    Attributes
    ----------
    weights : ndarray of float64, shape (N,)
        Finite and not negative; only ratios within a class matter.
    log_density : ndarray of float64, shape (N,), or None
        None for a debias that estimates no density.
    groups : ndarray of int64, shape (N,), or None
        Pseudo-groups, compared within a class only; None for a debias that has none.
    diagnostics : mapping of str to float or list of float
        Further numbers, kept in the metadata of the weights file.
    evident : bool
        Whether there is evidence of a bias (`ddbias.debias.evidence`); a trial then asks for a smaller gain.
    doubts : bool
        Whether a trial may take the weight of samples whose labels seem wrong (`ddbias.debias.trial`). Needs groups.
        Weights of a publication stay as published.
    """

    weights: np.ndarray
    log_density: np.ndarray | None = None
    groups: np.ndarray | None = None
    diagnostics: Mapping[str, float | list[float]] = field(default_factory=dict)
    evident: bool = False
    doubts: bool = False


def column(columns: Mapping[str, np.ndarray], name: str, debias: str, kinds: str) -> np.ndarray:
    """Return a column of a surrogate's file.

    Parameters
    ----------
    columns : mapping of str to ndarray
    name : str
        Of the column.
    debias, kinds : str
        For the message: the kind of the debias, and in words which surrogates store the column.

    Raises
    ------
    DdbiasError
        If the surrogate does not store that column.
    """
    if columns.get(name) is None:
        raise DdbiasError(f"debias {debias} needs the {name} of its surrogate, which stores none; use {kinds}")
    return np.asarray(columns[name])


def mean_one(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return values (N,) scaled to mean 1 within each class, as float64.

    A class whose values are all zero says nothing about its samples: each of them gets 1.

    Raises
    ------
    DdbiasError
        If a value is negative or not finite.
    """
    values, labels = np.asarray(values, np.float64), np.asarray(labels)
    if not np.isfinite(values).all() or (values < 0).any():
        raise DdbiasError(
            "the values that make the weights must be finite and not negative; the surrogate may have diverged"
        )
    scaled = np.ones(len(labels))
    for label in np.unique(labels):
        members = labels == label
        largest = values[members].max()
        if largest > 0:
            share = values[members] / largest  # so that the mean neither overflows nor underflows
            scaled[members] = share / share.mean()
    return scaled


def cross_entropies(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the cross-entropy (N,) float64, in nats, of logits (N, K) against labels (N,).

    Raises
    ------
    DdbiasError
        If a logit is not finite or a label has no logit.
    """
    logits, labels = np.asarray(logits, np.float64), np.asarray(labels)
    if logits.ndim != 2 or len(logits) != len(labels) or labels.max() >= logits.shape[1]:
        raise DdbiasError(f"logits of shape {logits.shape} do not fit {len(labels)} labels up to {labels.max()}")
    if not np.isfinite(logits).all():
        raise DdbiasError("the logits have values that are not finite: the surrogate diverged, lower its learning rate")
    shifted = logits - logits.max(1, keepdims=True)
    # Rounding may leave a loss a little below zero.
    return np.maximum(np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(labels)), labels], 0.0)
