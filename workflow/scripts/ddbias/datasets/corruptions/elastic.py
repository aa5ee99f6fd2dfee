"""Elastic: a random affine map, then a smooth random displacement of every pixel."""

from __future__ import annotations

import numpy as np

from ddbias.datasets.corruptions.pixels import SIDE, draw_uniform

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261), in pixels: size of the displacement,
# standard deviation of its smoothing, reach of the three points.
ELASTIC = ((0.0, 0.0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96))
POINTS = np.array([[26, 26], [26, 6], [6, 6]], np.float32)  # (x, y): 10 pixels around the centre 16


def elastic(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Warp by the affine map that moves three points, then by the displacement, bilinearly.

    The border is mirrored at the centres of the edge pixels for the first, at their outer edge for the second.
    """
    drawn = draw_uniform(rng, 2 * SIDE * SIDE + 6)
    return warp(image, drawn[-6:].reshape(3, 2), drawn[:-6].reshape(2, SIDE, SIDE), level)


def warp(image: np.ndarray, moves: np.ndarray, fields: np.ndarray, level: int) -> np.ndarray:
    """Return the warped image, float32 (32, 32, 3).

    Parameters
    ----------
    image : ndarray of uint8, shape (32, 32, 3)
    moves : ndarray of float, shape (3, 2)
        Moves of `POINTS` along (x, y), uniform in [-1, 1).
    fields : ndarray of float, shape (2, 32, 32)
        Displacement along x, then y, before it is smoothed; uniform in [-1, 1).
    level : int
        Column 1..5.
    """
    import cv2
    from scipy import ndimage

    size, sigma, reach = ELASTIC[level - 1]
    affine = cv2.getAffineTransform(POINTS, POINTS + (reach * moves).astype(np.float32))
    moved = cv2.warpAffine(image.astype(np.float32), affine, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT_101)
    along_x, along_y = (size * ndimage.gaussian_filter(f, sigma, mode="reflect", truncate=3) for f in fields)
    rows, columns = np.indices((SIDE, SIDE))
    places = rows + along_y, columns + along_x
    channels = [ndimage.map_coordinates(moved[..., c], places, order=1, mode="reflect") for c in range(3)]
    return np.stack(channels, axis=-1)
