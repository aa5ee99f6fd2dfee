"""Kernel density of a sample among its class in an embedding.

Source: Cui et al., "Mitigating Bias in Dataset Distillation" (arXiv 2406.06609), f(x) = (1/n) sum_i K(|z - z_i|). It is
our reading that the n samples are those of a class (`ddbias.debias.kinds.kde`). What was not available to us is an
option here: the kernel (`ddbias.debias.weights.kernels`), its variance (`ddbias.debias.weights.variance`), and
leave-one-out. Without leave-one-out, a sample's own kernel dominates its density in a small group.

Cost: exact, O(sum_c n_c^2 D) time and O(max_c n_c (chunk_size + D)) memory beside the embedding.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from ddbias.base.errors import DdbiasError
from ddbias.base.groups import class_members
from ddbias.debias.weights.kernels import check_kernel, log_sum, squared_distances
from ddbias.debias.weights.variance import check_variance, class_variance


def kde_density(
    embeddings: np.ndarray | torch.Tensor,
    labels: np.ndarray | torch.Tensor,
    *,
    variance: float | str | Sequence[float],
    kernel: str = "gaussian",
    chunk_size: int = 1024,
    leave_one_out: bool = False,
) -> np.ndarray:
    """Return the log of the kernel density of every sample among the samples of its class.

    ``log p(x_i) = log sum_j K(|z_i - z_j|) - log n`` with j over the n samples with the label of i. The normalising
    constant of the kernel is left out. With `leave_one_out`, j = i is left out and n is one less.

    Parameters
    ----------
    embeddings : array of float, shape (N, D)
        Used as they are; those of a surrogate are L2-normalised.
    labels : array of int, shape (N,)
    variance : float, "median", "likelihood", or sequence of float
        Square of the kernel's bandwidth, above 0, in squared units of the embedding; or the name of a rule that
        chooses it for each class (`ddbias.debias.weights.variance`); or one of these for each class, in ascending order
        of the labels. Densities of classes with different variances are not comparable; weights do not compare them.
    kernel : {"gaussian", "exponential", "epanechnikov", "tophat"}
    chunk_size : int
        Rows of the distance matrix held at a time; changes memory, not the result.
    leave_one_out : bool
        A class of one sample then has the density ``-inf``.

    Returns
    -------
    ndarray of float64, shape (N,)
        ``-inf`` where the kernel is zero for all samples that count.

    Raises
    ------
    DdbiasError
        If a variance is not positive, it or the kernel is unknown, an embedding is not finite, or the lengths differ.

    Examples
    --------
    Three samples that lie together and one far from them:

    >>> import numpy as np
    >>> from ddbias import kde_density
    >>> embeddings = np.array([[0.0, 0.0], [0.0, 0.1], [0.1, 0.0], [1.0, 0.0]])
    >>> kde_density(embeddings, [0, 0, 0, 0], variance=0.01, leave_one_out=True).round(2)
    array([ -0.91,  -1.12,  -1.12, -41.6 ])
    """
    embeddings, labels = _checked(embeddings, labels)
    check_kernel(kernel)
    classes = [rows for _, rows in class_members(labels)]
    variances = [variance] * len(classes) if np.ndim(variance) == 0 else list(variance)
    if len(variances) != len(classes):
        raise DdbiasError(f"{len(variances)} kernel variances for {len(classes)} classes")
    for value in variances:
        check_variance(value, kernel)
    result = np.empty(len(labels))
    for members, value in zip(classes, variances, strict=True):
        points = _centred(embeddings[members])
        value = class_variance(points, value, kernel, chunk_size)
        result[members] = _class_density(points, value, kernel, chunk_size, leave_one_out).numpy()
    return result


def class_variances(
    embeddings: np.ndarray | torch.Tensor,
    labels: np.ndarray | torch.Tensor,
    *,
    variance: float | str,
    kernel: str = "gaussian",
    chunk_size: int = 1024,
) -> list[float]:
    """Return the kernel variance that `kde_density` takes for each class, in ascending order of the labels."""
    embeddings, labels = _checked(embeddings, labels)
    check_kernel(kernel)
    check_variance(variance, kernel)
    return [
        class_variance(_centred(embeddings[members]), variance, kernel, chunk_size)
        for _, members in class_members(labels)
    ]


def _checked(embeddings: np.ndarray | torch.Tensor, labels: np.ndarray | torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return both as arrays; raise `DdbiasError` if their lengths differ."""
    embeddings, labels = np.asarray(embeddings), np.asarray(labels)
    if embeddings.ndim != 2 or len(embeddings) != len(labels):
        raise DdbiasError(f"embeddings of shape {embeddings.shape} do not fit {len(labels)} labels")
    return embeddings, labels


def _centred(embeddings: np.ndarray) -> torch.Tensor:
    """Return the points of a class as float64 with mean zero, which keeps `squared_distances` precise."""
    points = torch.from_numpy(embeddings.astype(np.float64))
    if not torch.isfinite(points).all():
        raise DdbiasError(
            "the embedding has values that are not finite: the surrogate diverged, lower its learning rate"
        )
    return points - points.mean(0)


def _class_density(
    points: torch.Tensor, variance: float, kernel: str, chunk_size: int, leave_one_out: bool
) -> torch.Tensor:
    """Return the log-densities (n,) of the points (n, D) of one class."""
    rows = []
    for start in range(0, len(points), chunk_size):
        squares = squared_distances(points[start : start + chunk_size], points)  # (chunk_size, n)
        if leave_one_out:
            squares.diagonal(start).fill_(torch.inf)
        rows.append(log_sum(squares, kernel, variance))
    others = len(points) - leave_one_out
    return torch.cat(rows) - (math.log(others) if others else 0.0)
