"""Stacks of pictures with the picture as the first axis, or as the last: a shift is then a slice of long rows."""

from __future__ import annotations

import numpy as np
import torch


def pictures_last(stack: np.ndarray) -> np.ndarray:
    """Return a copy of pictures (n, H, W) as (H, W, n)."""
    n, height, width = stack.shape
    return _transposed(stack.reshape(n, height * width)).reshape(height, width, n)


def pictures_first(stack: np.ndarray) -> np.ndarray:
    """Return a copy of pictures (H, W, n) as (n, H, W)."""
    height, width, n = stack.shape
    return _transposed(stack.reshape(height * width, n)).reshape(n, height, width)


def _transposed(matrix: np.ndarray) -> np.ndarray:
    # torch goes through the matrix in tiles, NumPy row by row: several times slower.
    return torch.from_numpy(matrix).t().contiguous().numpy()
