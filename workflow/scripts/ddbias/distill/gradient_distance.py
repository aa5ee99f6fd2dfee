"""The distances of two gradients of one network that gradient matching minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ddbias.base.errors import unknown

METRICS = ("ours", "mse", "cos", "l1")
EPSILON = 1e-6  # of the published cosine


def gradient_distance(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor], metric: str) -> torch.Tensor:
    """Return the distance of two gradients of one network, as published with DC (appendix of arXiv 2006.05929) or IDC.

    Parameters
    ----------
    a, b : sequence of Tensor
        One tensor per parameter, in the same order and shapes.
    metric : {"ours", "mse", "cos", "l1"}
        ``ours``: 1 - cosine, summed over the tensors and over their rows. A row is what feeds one output: of a
        convolution (O, I, H, W), a linear layer (O, I) or a layer norm (C, H, W) all that follows the first dimension.
        Tensors of one dimension (biases, scales) contribute 0. ``mse``: squared distance of all values. ``cos``:
        1 - cosine of all values as one vector. ``l1``: absolute differences of all values, summed (IDC, arXiv
        2205.14959).

    Returns
    -------
    Tensor
        A scalar, differentiable in both.

    Raises
    ------
    DdbiasError
        For an unknown metric.

    Examples
    --------
    Gradients of a layer with two outputs; the first rows stand at a right angle:

    >>> import torch
    >>> from ddbias import gradient_distance
    >>> a = [torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([5.0])]
    >>> b = [torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([7.0])]
    >>> [round(gradient_distance(a, b, metric).item(), 3) for metric in ("ours", "mse", "cos", "l1")]
    [1.0, 6.0, 0.03, 4.0]
    """
    if metric not in METRICS:
        raise unknown("gradient distance", metric, METRICS)
    if metric == "ours":
        rows = [_angles(x.flatten(1), y.flatten(1)) for x, y in zip(a, b, strict=True) if x.ndim > 1]
        return sum(rows, start=a[0].new_zeros(()))
    x, y = (torch.cat([tensor.flatten() for tensor in side]) for side in (a, b))
    if metric == "cos":
        return _angles(x[None], y[None])
    return (x - y).square().sum() if metric == "mse" else (x - y).abs().sum()


def _angles(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return 1 - cosine of each pair of rows, summed."""
    lengths = torch.linalg.vector_norm(x, dim=1) * torch.linalg.vector_norm(y, dim=1)
    return (1 - (x * y).sum(1) / (lengths + EPSILON)).sum()
