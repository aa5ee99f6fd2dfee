"""Choosing the variance of a density's kernel from the samples of a class.

Cui et al. (arXiv 2406.06609), whose weights these are, sweep the variance and publish neither rule:

- ``median``: half the median squared distance between two samples (Garreau et al., "Large sample analysis of the
  median heuristic", arXiv 1707.07269). It is wide: it spans the aligned majority and separates it from the rest.
- ``likelihood``: of `GRID` times the former, the variance with the largest leave-one-out likelihood (Duin, IEEE Trans.
  Comput. 1976). It is narrow, because it follows the structure of the majority. Where many samples are repeated it is
  the smallest of the grid.

Cost: O(min(n, 2000)^2 D) time for ``median``, O(min(n, 500) n (D + 13)) for ``likelihood``, both on evenly spaced
samples of a class of n; memory as for the density.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from ddbias.base.errors import DdbiasError, unknown
from ddbias.debias.weights.kernels import UNBOUNDED, log_sum, squared_distances

CHOICES = ("median", "likelihood")
GRID = tuple(2.0**power for power in range(-10, 3))  # times the median heuristic's variance, 1/1024 to 4
MEDIAN_SAMPLES, LIKELIHOOD_SAMPLES = 2000, 500  # of a class, evenly spaced


def check_variance(variance: float | str, kernel: str) -> None:
    """Raise an error unless the variance is a positive number or a rule that works with the kernel.

    Raises
    ------
    DdbiasError
        Also for ``likelihood`` with a kernel of bounded support: a single isolated sample makes the likelihood zero.
    """
    if isinstance(variance, str):
        if variance not in CHOICES:
            raise unknown("choice of the kernel variance", variance, CHOICES)
        if variance == "likelihood" and kernel not in UNBOUNDED:
            raise DdbiasError(
                f"variance: likelihood needs a kernel that is positive everywhere ({' or '.join(UNBOUNDED)}), "
                f"not {kernel}"
            )
    elif not 0 < variance < math.inf:
        raise DdbiasError(f"the kernel variance must be positive, not {variance}")


def class_variance(points: torch.Tensor, variance: float | str, kernel: str, chunk_size: int) -> float:
    """Return the kernel variance for the samples of one class.

    Parameters
    ----------
    points : Tensor of float64, shape (n, D)
        With mean zero.
    variance : float, "median" or "likelihood"
        A number is returned as it is.
    kernel : str
    chunk_size : int
        Rows of the distance matrix held at a time.

    Returns
    -------
    float
        Above 0.
    """
    if not isinstance(variance, str):
        return float(variance)
    median = _median(points)
    return median if variance == "median" or len(points) < 2 else _likeliest(points, median, kernel, chunk_size)


def _evenly(count: int, most: int) -> np.ndarray:
    """Return at most `most` of `count` rows, evenly spaced: deterministic, and from all parts of an ordered class."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def _median(points: torch.Tensor) -> float:
    """Return half the median squared distance: of differing pairs only if at least half are equal; 1 if all are."""
    chosen = points[torch.from_numpy(_evenly(len(points), MEDIAN_SAMPLES))]
    pairs = squared_distances(chosen, chosen)  # (m, m) of m chosen points
    values = pairs[tuple(torch.triu_indices(len(chosen), len(chosen), 1))].numpy()  # (m (m - 1) / 2,)
    # Rounding errors leave a small distance between equal points.
    differing = values[values > 1e-12 * max(float((chosen**2).sum(1).max()), 1e-300)]
    if not len(differing):
        return 1.0
    return float(np.median(values if 2 * len(differing) > len(values) else differing)) / 2


def _likeliest(points: torch.Tensor, median: float, kernel: str, chunk_size: int) -> float:
    """Return the variance of the grid with the largest leave-one-out likelihood; in a tie the smallest."""
    candidates = [median * factor for factor in GRID]
    totals = torch.zeros(len(candidates), dtype=torch.float64)  # sums of leave-one-out log-densities
    rows = torch.from_numpy(_evenly(len(points), LIKELIHOOD_SAMPLES))
    for part in rows.split(chunk_size):
        squares = squared_distances(points[part], points)  # (chunk_size, n)
        squares[torch.arange(len(part)), part] = torch.inf
        totals += torch.stack([log_sum(squares.clone(), kernel, candidate).sum() for candidate in candidates])
    # The kernel's normalising constant also depends on the variance: variance ** (-D / 2) for every sample.
    totals -= points.shape[1] / 2 * len(rows) * torch.tensor(candidates, dtype=torch.float64).log()
    return candidates[int(totals.argmax())]
