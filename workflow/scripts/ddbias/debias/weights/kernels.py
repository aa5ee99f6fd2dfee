"""Kernels of a density estimate, as sums over a block of squared distances.

With the bandwidth h, the square root of `variance`, and the distance d, as in scikit-learn's ``KernelDensity`` but
without the constants that make a kernel integrate to one (a weight 1 / p needs ratios only):

============  ==================  ==================
gaussian      exp(-d^2 / 2 h^2)   everywhere positive
exponential   exp(-d / h)         everywhere positive
epanechnikov  1 - d^2 / h^2       zero from h on
tophat        1                   zero from h on
============  ==================  ==================

Which make sense where samples are weighted by 1 / p: the first two give every sample a density. Under the others a
sample with no other of its class within h has the density zero once its own kernel is left out, an infinite weight;
`ddbias.debias.weights.inverse_density.density_weights` then lets it count like the least dense sample that has a
density, so all samples that far out weigh alike. Tophat is worth having because it says something plain (how many
others are within h), epanechnikov as its smooth form. Linear and cosine, which lie between these two, are left out.
"""

from __future__ import annotations

import torch

from ddbias.base.errors import unknown

UNBOUNDED = ("gaussian", "exponential")  # positive at any distance
KERNELS = (*UNBOUNDED, "epanechnikov", "tophat")


def check_kernel(kernel: str) -> None:
    """Raise `DdbiasError` for an unknown kernel."""
    if kernel not in KERNELS:
        raise unknown("kernel", kernel, KERNELS)


def log_sum(squares: torch.Tensor, kernel: str, variance: float) -> torch.Tensor:
    """Return the log of the sum of the kernels of every row.

    Parameters
    ----------
    squares : Tensor of float64, shape (R, n)
        Squared distances, at least 0; infinite where a pair does not count. Overwritten.
    kernel : {"gaussian", "exponential", "epanechnikov", "tophat"}
    variance : float
        Above 0: the square of the bandwidth.

    Returns
    -------
    Tensor of float64, shape (R,)
        Minus infinity where all are zero.
    """
    if kernel == "gaussian":
        return _log_sum_exp(squares.mul_(-0.5 / variance))
    if kernel == "exponential":
        return _log_sum_exp(squares.sqrt_().mul_(-(variance**-0.5)))
    if kernel == "epanechnikov":
        return squares.mul_(-1 / variance).add_(1).clamp_(min=0).sum(1).log()
    return (squares < variance).sum(1).double().log()


def _log_sum_exp(exponents: torch.Tensor) -> torch.Tensor:
    """Return the log of the sum of exponentials of every row; in place, since a new block costs more than the sums."""
    largest = exponents.amax(1, keepdim=True)
    largest.masked_fill_(largest == -torch.inf, 0)  # a row in which no pair counts
    return exponents.sub_(largest).exp_().sum(1).log_().add_(largest[:, 0])


def squared_distances(rows: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return squared distances (R, n), at least 0, of rows (R, D) to points (n, D).

    Both must be centred alike, so that ``|a|^2 + |b|^2 - 2 ab`` does not cancel for points far from the origin.
    """
    products = torch.addmm((points**2).sum(1), rows, points.T, alpha=-2)
    return products.add_((rows**2).sum(1, keepdim=True)).clamp_(min=0)
