"""Frost: a crop of a frost texture over a dimmed image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddbias.datasets.corruptions.frost_textures import CROP

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261): weight of the image, weight of the frost.
FROST = ((1.0, 0.2), (1.0, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45))


def frost(image: np.ndarray, rng: np.random.Generator, level: int, textures: Sequence[np.ndarray]) -> np.ndarray:
    """Lay frost f over an image: ``a x + b f``.

    All textures are equally likely, and all corners of the crop from 0 up to, not including, the texture's side minus
    32: three uniform numbers say which, its row and its column.

    Parameters
    ----------
    image, rng, level
        As of every corruption.
    textures : sequence of float ndarray (h, w, 3)
        Grey levels 0..255, sides above 32; see `ddbias.datasets.corruptions.frost_textures`.
    """
    image_weight, frost_weight = FROST[level - 1]
    which, *corner = rng.random(3)
    texture = textures[int(which * len(textures))]
    top, left = (int(u * (side - CROP)) for u, side in zip(corner, texture.shape, strict=False))
    return image_weight * image + frost_weight * texture[top : top + CROP, left : left + CROP]
