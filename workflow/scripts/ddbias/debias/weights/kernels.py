"""Kernels of a density estimate, as sums over a block of squared distances.

The bandwidth h is the square root of `variance`, and d is the distance. The kernels are those of scikit-learn's
``KernelDensity`` without normalising constants, since weights 1 / p need ratios only:

============  ==================  ====================
gaussian      exp(-d^2 / 2 h^2)   positive everywhere
exponential   exp(-d / h)         positive everywhere
epanechnikov  1 - d^2 / h^2       zero for d >= h
tophat        1                   zero for d >= h
============  ==================  ====================

For weights 1 / p the first two give every sample a positive density. With the others, a sample without another one of
its class within h has the density zero under leave-one-out, so an infinite weight.
`ddbias.debias.weights.inverse_density.density_weights` then weights it like the least dense sample that has a density,
so all such samples get the same weight. Tophat is easy to interpret (how many others are within h), and epanechnikov
is its smooth form. Linear and cosine, which lie between these two, are left out.
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
    """Return the log of the sum of the kernel values of every row.

    Parameters
    ----------
    squares : Tensor of float64, shape (R, n)
        Squared distances, at least 0; infinite for pairs that do not count. Overwritten.
    kernel : {"gaussian", "exponential", "epanechnikov", "tophat"}
    variance : float
        Above 0: the square of the bandwidth.

    Returns
    -------
    Tensor of float64, shape (R,)
        ``-inf`` where all kernel values are zero.
    """
    if kernel == "gaussian":
        return _log_sum_exp(squares.mul_(-0.5 / variance))
    if kernel == "exponential":
        return _log_sum_exp(squares.sqrt_().mul_(-(variance**-0.5)))
    if kernel == "epanechnikov":
        return squares.mul_(-1 / variance).add_(1).clamp_(min=0).sum(1).log()
    return (squares < variance).sum(1).double().log()


def _log_sum_exp(exponents: torch.Tensor) -> torch.Tensor:
    """Return the log-sum-exp of every row; works in place, since allocating a block takes longer than the sums."""
    largest = exponents.amax(1, keepdim=True)
    largest.masked_fill_(largest == -torch.inf, 0)  # a row in which no pair counts
    return exponents.sub_(largest).exp_().sum(1).log_().add_(largest[:, 0])


def squared_distances(rows: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
    """Return squared distances (R, n), at least 0, of rows (R, D) to points (n, D).

    Subtract the same mean from both before the call: ``|a|^2 + |b|^2 - 2 ab`` loses precision far from the origin.
    """
    products = torch.addmm((points**2).sum(1), rows, points.T, alpha=-2)
    return products.add_((rows**2).sum(1, keepdim=True)).clamp_(min=0)
