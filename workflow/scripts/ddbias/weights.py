"""Kernel density of a sample among its class in an embedding, and the sample weights inverse to it.

Source: Cui et al., "Mitigating Bias in Dataset Distillation" (arXiv 2406.06609), f(x) = (1/n) sum_i K(|z - z_i|).
What the paper leaves open is an option here: leave-one-out (a sample's own kernel dominates its density where
its group is small), the temperature of the weights, clipping.

Cost: exact, O(sum_c n_c^2 D) time and O(chunk_size * n_c) memory.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ddbias.errors import DdbiasError


def kde_density(
    embeddings: np.ndarray | torch.Tensor,
    labels: np.ndarray | torch.Tensor,
    *,
    variance: float,
    chunk_size: int = 1024,
    leave_one_out: bool = False,
) -> np.ndarray:
    """Return the log of the Gaussian kernel density of every sample among the samples of its class.

    ``log p(x_i) = logsumexp_j(-|z_i - z_j|^2 / (2 variance)) - log n`` over the j with the label of i, without
    the constant of the kernel. With `leave_one_out`, j runs over the others only and n is one less.

    Parameters
    ----------
    embeddings : array, shape (N, D)
        Taken as they are; the surrogate stores them L2-normalised.
    labels : array of int, shape (N,)
    variance : float
        Variance of the kernel, > 0, in the squared units of the embedding.
    chunk_size : int
        Rows of the distance matrix held at a time; changes memory, not the result.
    leave_one_out : bool
        A class of one sample then has the density ``-inf``.

    Returns
    -------
    ndarray of float64, shape (N,)

    Raises
    ------
    DdbiasError
        If the variance is not positive, an embedding is not finite, or the lengths differ.
    """
    points = torch.from_numpy(np.array(embeddings, np.float64))  # a copy: a memory-mapped embedding is read-only
    labels = np.asarray(labels)
    if not variance > 0:
        raise DdbiasError(f"the kernel variance must be positive, not {variance}")
    if points.ndim != 2 or len(points) != len(labels):
        raise DdbiasError(f"embeddings of shape {tuple(points.shape)} do not fit {len(labels)} labels")
    if not torch.isfinite(points).all():
        raise DdbiasError("the embedding has values that are not finite: the surrogate diverged, lower its rate")
    result = np.empty(len(labels))
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        result[members] = _class_density(points[members], variance, chunk_size, leave_one_out).numpy()
    return result


def _class_density(points: torch.Tensor, variance: float, chunk_size: int, leave_one_out: bool) -> torch.Tensor:
    # Centring changes no distance and avoids cancellation in |a|^2 + |b|^2 - 2ab for points far from the origin.
    points = points - points.mean(0)
    squares = (points**2).sum(1)
    rows = []
    for start in range(0, len(points), chunk_size):
        chunk = points[start : start + chunk_size]
        distance = torch.addmm(squares, chunk, points.T, alpha=-2).add_(squares[start : start + chunk_size, None])
        exponent = distance.clamp_(min=0).mul_(-0.5 / variance)
        if leave_one_out:
            exponent.diagonal(start).fill_(-torch.inf)
        rows.append(torch.logsumexp(exponent, 1))
    others = len(points) - leave_one_out
    return torch.cat(rows) - (math.log(others) if others else 0.0)


def density_weights(
    log_density: np.ndarray, labels: np.ndarray, *, temperature: float = 1.0, clip: float | None = None
) -> np.ndarray:
    """Return weights proportional to ``density ** (-1 / temperature)`` with mean 1 within each class.

    Parameters
    ----------
    log_density : array of float, shape (N,)
    labels : array of int, shape (N,)
    temperature : float
        > 0; large values make the weights equal.
    clip : float, optional
        Quantile of the log-density, 0..1 within each class, below which a sample counts as if it lay at that
        quantile: it stops a few outliers from taking all the weight.

    Returns
    -------
    ndarray of float64, shape (N,)
        Finite and non-negative; a class of one sample gets 1.

    Raises
    ------
    DdbiasError
        If the temperature is not positive or a log-density is NaN or plus infinity.
    """
    if not temperature > 0:
        raise DdbiasError(f"the temperature must be positive, not {temperature}")
    log_density, labels = np.asarray(log_density, np.float64), np.asarray(labels)
    if not (log_density < np.inf).all():
        raise DdbiasError("log-densities must be numbers below infinity: the embedding they come from is damaged")
    weights = np.ones(len(labels))
    for label in np.unique(labels):
        members = labels == label
        if members.sum() == 1:
            continue
        exponent = log_density[members]
        # Densities of minus infinity (nothing near at all) would make the others' weights zero over zero.
        finite = exponent[np.isfinite(exponent)]
        exponent = np.maximum(exponent, finite.min() if finite.size else 0.0)
        if clip is not None:
            exponent = np.maximum(exponent, np.quantile(exponent, clip))
        exponent = -exponent / temperature
        share = np.exp(exponent - exponent.max())
        weights[members] = share / share.mean()
    return weights


def diagnose(weights: np.ndarray, log_density: np.ndarray | None, conflicting: np.ndarray | None) -> dict:
    """Describe weights: how much of them the conflicting samples hold and how many samples they amount to.

    Parameters
    ----------
    weights : ndarray, shape (N,)
    log_density : ndarray, shape (N,), or None
    conflicting : ndarray of bool, shape (N,), or None
        None when the attribute is unknown; what needs it is then None.

    Returns
    -------
    dict
        ``conflicting_share`` (0..1, of the weight), ``conflicting_ratio`` (0..1, of the samples), ``auc`` (0..1,
        of minus the log-density against conflicting), ``effective_sample_size`` (``(sum w)^2 / sum w^2``).
    """
    known = conflicting is not None and 0 < conflicting.sum() < len(conflicting)
    auc = None
    if known and log_density is not None:
        from sklearn.metrics import roc_auc_score

        finite = np.nan_to_num(-log_density, posinf=np.finfo(np.float64).max)
        auc = float(roc_auc_score(conflicting, finite))
    return {
        "auc": auc,
        "conflicting_share": float(weights[conflicting].sum() / weights.sum()) if known else None,
        "conflicting_ratio": float(conflicting.mean()) if conflicting is not None else None,
        "effective_sample_size": float(weights.sum() ** 2 / (weights**2).sum()),
    }
