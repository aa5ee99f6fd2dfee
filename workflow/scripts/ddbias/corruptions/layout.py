"""Stacks of pictures with the picture as the first axis, or as the last: a shift is then a slice of long rows."""

from __future__ import annotations

import numpy as np
import torch


def pictures_last(stack: np.ndarray) -> np.ndarray:
    """Return a copy of pictures (n, H, W) as (H, W, n)."""
    return _transposed(stack.reshape(len(stack), -1)).reshape(*stack.shape[1:], len(stack))


def pictures_first(stack: np.ndarray) -> np.ndarray:
    """Return a copy of pictures (H, W, n) as (n, H, W)."""
    return _transposed(stack.reshape(-1, stack.shape[-1])).reshape(stack.shape[-1], *stack.shape[:-1])


def _transposed(matrix: np.ndarray) -> np.ndarray:
    # torch goes through the matrix in tiles, NumPy row by row: several times slower.
    return torch.from_numpy(matrix).t().contiguous().numpy()
