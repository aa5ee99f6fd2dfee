"""Frost: a crop of a frost texture over a dimmed image.

Constants of CIFAR-10-C (Hendrycks & Dietterich, arXiv:1903.12261) as used by Learning from Failure (arXiv:2007.02561).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddbias.datasets.corruptions.frost_textures import CROP
from ddbias.datasets.corruptions.truncation import truncate

# level: weight of the image, weight of the frost
CONSTANTS = {1: (1.0, 0.2), 2: (1.0, 0.3), 3: (0.9, 0.4), 4: (0.85, 0.4), 5: (0.75, 0.45)}
_BLOCK = 64  # images mixed at a time: their float32 copy stays in the cache


def draw_frost(rng: np.random.Generator, level: int) -> np.ndarray:
    """Draw three uniform numbers in [0, 1), float64 (3,): for the texture, the row and the column of the crop."""
    return rng.random(3)


def places(draws: np.ndarray, textures: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the texture of each image, int (n,), and the corner (row, column) of its crop, int (n, 2).

    All textures are equally likely, and all corners from 0 up to, not including, the texture's side minus 32.
    """
    which = (draws[:, 0] * len(textures)).astype(np.intp)
    room = np.array([texture.shape[:2] for texture in textures])[which] - CROP
    return which, (draws[:, 1:] * room).astype(np.intp)


def frost(images: np.ndarray, draws: np.ndarray, level: int, textures: Sequence[np.ndarray]) -> np.ndarray:
    """Lay frost f over images: ``clip(c0 x + c1 f, 0, 255)``.

    Parameters
    ----------
    images : uint8, shape (n, 3, 32, 32)
    draws : float64, shape (n, 3)
        The stacked draws of `draw_frost`.
    level : int
        Column 1..5 of `CONSTANTS`.
    textures : sequence of float arrays (h, w, 3)
        Grey levels 0..255, sides above 32; see `ddbias.datasets.corruptions.frost_textures`.

    Returns
    -------
    uint8, shape (n, 3, 32, 32)
        Truncated, not rounded.
    """
    image_weight, frost_weight = (np.float32(weight) for weight in CONSTANTS[level])
    which, corners = places(draws, textures)
    windows = [
        np.lib.stride_tricks.sliding_window_view(
            np.ascontiguousarray((frost_weight * texture).transpose(2, 0, 1), np.float32), (CROP, CROP), axis=(1, 2)
        )
        for texture in textures
    ]
    out = np.empty(images.shape, np.uint8)
    mixed = np.empty((min(_BLOCK, len(images)), *images.shape[1:]), np.float32)
    for start in range(0, len(images), _BLOCK):
        part = slice(start, start + _BLOCK)
        x = mixed[: len(images[part])]
        np.multiply(images[part], image_weight, out=x)
        for value, index, (row, column) in zip(x, which[part].tolist(), corners[part].tolist(), strict=True):
            value += windows[index][:, row, column]
        out[part] = truncate(x)
    return out
