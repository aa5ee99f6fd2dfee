"""The five blurs of CIFAR-10-C, and the motion blur and the zoom that snow shares with them."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from ddbias.datasets.corruptions.pixels import SIDE, truncate

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261).
GAUSSIAN = (0.4, 0.6, 0.7, 0.8, 1.0)  # standard deviation in pixels
DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))  # radius, then standard deviation of its edge
GLASS = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))  # standard deviation, rounds; pixels move by 0 or 1
MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))  # radius, standard deviation
ZOOM_END = (1.06, 1.11, 1.16, 1.21, 1.26)  # factors from 1 in steps of 0.01
MOTION_ANGLE = 45.0  # degrees, largest


def gaussian_blur(image: np.ndarray, rng: np.random.Generator | None, level: int) -> np.ndarray:
    """Blur with a Gaussian cut at four standard deviations, edge pixels repeated."""
    return _gaussian(image, GAUSSIAN[level - 1])


def _gaussian(image: np.ndarray, deviation: float) -> np.ndarray:
    from scipy import ndimage

    return ndimage.gaussian_filter(image.astype(np.float64), (deviation, deviation, 0), mode="nearest", truncate=4)


def defocus_blur(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Filter with a disk whose edge is softened, mirrored at the edge pixels."""
    import cv2

    return cv2.filter2D(image.astype(np.float64), -1, _disk(level), borderType=cv2.BORDER_REFLECT_101)


@cache
def _disk(level: int) -> np.ndarray:
    """Return the softened disk, float64 (7, 7): its radius is at most 1.5, and softening adds one pixel."""
    import cv2

    radius, softness = DEFOCUS[level - 1]
    square = np.arange(-3, 4) ** 2
    disk = (square[:, None] + square <= radius**2).astype(np.float64)
    return cv2.GaussianBlur(disk / disk.sum(), (3, 3), sigmaX=softness)


def glass_blur(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Blur, let inner pixels take the value of a neighbour above or to the left, blur again.

    The published loop means to exchange two pixels, but exchanges views of one array: the second pixel gets back
    its own value. Since it runs from the lower right, each pixel then takes the value that its neighbour had before
    the round, so all pixels can be done at once. This is how the published images are made.
    """
    deviation, rounds = GLASS[level - 1]
    moves = rng.integers(-1, 1, (2, 2, SIDE - 2, SIDE - 2), dtype=np.int8)  # of two rounds: rows, columns
    inner = np.arange(2, SIDE)
    pixels = truncate(_gaussian(image, deviation))
    for down, right in moves[:rounds]:
        pixels[2:, 2:] = pixels[inner[:, None] + down, inner + right]
    return _gaussian(pixels, deviation)


def motion_blur(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Smear along a line whose angle is uniform in -45..45 degrees, see `smear`."""
    return smear(image, rng.uniform(-MOTION_ANGLE, MOTION_ANGLE), *MOTION[level - 1])


def smear(image: np.ndarray, angle: float, radius: int, sigma: float) -> np.ndarray:
    """Blur along one direction: the free equivalent of ImageMagick's motion blur that CIFAR-10-C calls.

    Tap i of the one-sided kernel ``k_i ~ exp(-i^2 / (2 sigma^2))``, whose sum is 1, reads the pixel ``ceil(i cos a -
    1/2)`` columns to the right and ``ceil(i sin a - 1/2)`` rows below, edge pixels repeated.

    Parameters
    ----------
    image : ndarray, shape (H, W) or (H, W, C)
        Any scale.
    angle : float
        Degrees; 0 is along the columns, 90 along the rows.
    radius : int
        The kernel has 2 radius + 1 taps.
    sigma : float
        Standard deviation of the kernel in pixels, > 0.

    Returns
    -------
    ndarray of float64, shape as `image`
    """
    import cv2

    reach = 2 * radius
    steps, radians = np.arange(reach + 1), math.radians(angle)
    rows, columns = (np.ceil(steps * way - 0.5).astype(int) for way in (math.sin(radians), math.cos(radians)))
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    kernel = np.zeros((2 * reach + 1, 2 * reach + 1))
    np.add.at(kernel, (reach + rows, reach + columns), weights / weights.sum())  # near 45 degrees, two read one pixel
    return cv2.filter2D(image.astype(np.float64), -1, kernel, borderType=cv2.BORDER_REPLICATE)


def zoom_blur(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Average the image and its enlargements about the centre."""
    lines = _zoom_lines(level)  # (F, 32, 32)
    rows = np.tensordot(lines, image.astype(np.float64), 1)  # (F, 32, 32, 3)
    total = np.tensordot(rows, lines, ((0, 2), (0, 2)))  # (32, 3, 32): rows, channels, columns
    return (image + total.transpose(0, 2, 1)) / (1 + len(lines))


@cache
def _zoom_lines(level: int) -> np.ndarray:
    # The published range, whose float steps decide whether the end is reached: 7 factors at level 1, not 6.
    return np.stack([zoom_line(factor) for factor in np.arange(1, ZOOM_END[level - 1], 0.01)])


@cache
def zoom_line(factor: float) -> np.ndarray:
    """Return the matrix Z, float64 (32, 32), with which ``Z @ image @ Z.T`` magnifies the centre of an image.

    The centre of side ``ceil(32 / factor)`` is magnified linearly (SciPy's spline of order 1), and the 32 points in
    the middle are kept (CIFAR-10-C, arXiv:1903.12261).
    """
    from scipy import ndimage

    crop = math.ceil(SIDE / factor)
    first = (SIDE - crop) // 2
    enlarged = ndimage.zoom(np.eye(SIDE)[first : first + crop], (factor, 1), order=1)
    trim = (len(enlarged) - SIDE) // 2
    return enlarged[trim : trim + SIDE]
