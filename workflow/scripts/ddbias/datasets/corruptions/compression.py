"""JPEG and pixelation of CIFAR-10-C, by Pillow."""

from __future__ import annotations

import io

import numpy as np

from ddbias.datasets.corruptions.pixels import SIDE

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261).
JPEG = (80, 65, 58, 50, 40)  # quality
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)  # factor of the side


def jpeg(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Write as a JPEG file with Pillow's default settings, and read it again."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=JPEG[level - 1])
    with Image.open(file) as picture:
        return np.asarray(picture)


def pixelate(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Shrink with the box filter and enlarge again, which copies pixels."""
    from PIL import Image

    side, box = int(SIDE * PIXELATE[level - 1]), Image.Resampling.BOX
    return np.asarray(Image.fromarray(image).resize((side, side), box).resize((SIDE, SIDE), box))
