"""The five blurs of CIFAR-10-C.

Blurs that are sums of products of row and column filters are done as 32 x 32 matrices on both sides of each image,
one product per image and channel, so a result does not depend on what else is in the batch.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from ddbias.datasets.corruptions import motion
from ddbias.datasets.corruptions.truncation import truncate

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261); data sets of severity s use column s + 1
# (Learning from Failure, arXiv:2007.02561).
GAUSSIAN = (0.4, 0.6, 0.7, 0.8, 1.0)  # standard deviation in pixels
DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))  # radius, then standard deviation of its edge
GLASS = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))  # standard deviation, rounds; pixels move by 0 or 1
MOTION = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))  # radius, standard deviation
ZOOM_END = (1.06, 1.11, 1.16, 1.21, 1.26)  # factors from 1 in steps of 0.01
MOTION_ANGLE = 45.0  # degrees, largest
_SIDE = 32
_FIXED_POINT = 2**16  # weights of the zoom are multiples of its inverse


def gaussian_blur(images: np.ndarray, draws: None, level: int) -> np.ndarray:
    """Blur with a Gaussian cut at four standard deviations, edge pixels repeated.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 3, 32, 32)
    draws : None
        Nothing is random.
    level : int
        Column 1..5 of the table.

    Returns
    -------
    ndarray of uint8, shape (n, 3, 32, 32)
    """
    return _gaussian(images, GAUSSIAN[level - 1])


def defocus_blur(images: np.ndarray, draws: None, level: int) -> np.ndarray:
    """Filter with a disk whose edge is softened, mirrored at the edge pixels; arguments as of `gaussian_blur`."""
    return _sandwich(images, _defocus_matrices(level))


def draw_glass_blur(rng: np.random.Generator, level: int) -> np.ndarray:
    """Draw where pixels come from: -1 or 0 rows and columns away, int8 (2 rounds, 2, 30, 30), for every level."""
    return rng.integers(-1, 1, (2, 2, _SIDE - 2, _SIDE - 2), dtype=np.int8)


def glass_blur(images: np.ndarray, draws: np.ndarray, level: int) -> np.ndarray:
    """Blur, let inner pixels take the value of a neighbour above or to the left, blur again.

    The published loop means to exchange two pixels, but exchanges views of one array: the second pixel gets back
    its own value. Since it runs from the lower right, each pixel then takes the value that its neighbour had before
    the round, so all pixels can be done at once. This is how the published images are made.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 3, 32, 32)
    draws : ndarray of int8, shape (n, 2, 2, 30, 30)
        For each round: rows, then columns, from each pixel of rows and columns 2..31 to its source, -1 or 0.
    level : int
        Column 1..5 of the table.

    Returns
    -------
    ndarray of uint8, shape (n, 3, 32, 32)
    """
    deviation, rounds = GLASS[level - 1]
    pixels = _gaussian(images, deviation)
    moves = draws.view(np.uint8)[:, :, :, None]  # 0 or 255: masks
    for step in range(rounds):
        up, left = moves[:, step, 0], moves[:, step, 1]
        above = _either(pixels[..., 1:-1, 2:], pixels[..., 1:-1, 1:-1], left)
        beside = _either(pixels[..., 2:, 2:], pixels[..., 2:, 1:-1], left)
        pixels = pixels.copy()
        pixels[..., 2:, 2:] = _either(beside, above, up)
    return _gaussian(pixels, deviation)


def _either(first: np.ndarray, second: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return `first` where the mask's bytes are 0 and `second` where they are 255; several times as fast as where."""
    return first ^ ((first ^ second) & mask)


def draw_motion_blur(rng: np.random.Generator, level: int) -> np.ndarray:
    """Draw the angle in degrees, float64 (), uniform in -45..45, the same for every level."""
    return np.float64(rng.uniform(-MOTION_ANGLE, MOTION_ANGLE))


def motion_blur(images: np.ndarray, draws: np.ndarray, level: int) -> np.ndarray:
    """Smear along a line, see `ddbias.datasets.corruptions.motion`; `draws` are the angles in degrees, float64 (n,)."""
    radius, deviation = MOTION[level - 1]
    return truncate(motion.motion_blur(images.astype(np.float32), draws, radius, deviation))


def zoom_blur(images: np.ndarray, draws: None, level: int) -> np.ndarray:
    """Average the image and its enlargements about the centre; arguments as of `gaussian_blur`."""
    pixels = images.reshape(-1, _SIDE * _SIDE).astype(np.float32)
    # Bytes times whole numbers that sum to 2^16 are exact in float32, in whatever order BLAS adds them.
    out = pixels @ _zoom_matrix(level)
    out *= np.float32(1 / _FIXED_POINT)
    return truncate(out.reshape(images.shape), within=True)


def _gaussian(images: np.ndarray, deviation: float) -> np.ndarray:
    matrices = _gaussian_matrix(deviation)
    return images if matrices is None else _sandwich(images, matrices)


def _sandwich(images: np.ndarray, matrices: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the truncated sum over r of ``rows[r] @ image @ columns[r]`` for `matrices` = (rows, columns)."""
    pixels = images.astype(np.float32)
    terms = [row @ (pixels @ column) for row, column in zip(*matrices, strict=True)]
    return truncate(sum(terms[1:], start=terms[0]), within=True)


@cache
def _gaussian_matrix(deviation: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Return a Gaussian as matrices for `_sandwich`; None when it is narrower than a pixel."""
    radius = int(4 * deviation + 0.5)
    if radius == 0:
        return None
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / deviation) ** 2)
    matrix = _line_filter(taps / taps.sum(), mirrored=False).astype(np.float32)
    return matrix[None], np.ascontiguousarray(matrix.T)[None]


@cache
def _defocus_matrices(level: int) -> tuple[np.ndarray, np.ndarray]:
    """Split the softened disk into products of row and column filters (its singular vectors), as matrices."""
    radius, softness = DEFOCUS[level - 1]
    reach = math.floor(radius) + 1  # the edge is softened by one pixel
    square = np.arange(-reach, reach + 1) ** 2
    disk = (square[:, None] + square <= radius**2).astype(np.float64)
    edge = np.exp(-0.5 * (np.arange(-1, 2) / softness) ** 2)
    edge /= edge.sum()
    for axis in (0, 1):
        disk = np.apply_along_axis(np.convolve, axis, disk, edge, mode="same")
    left, values, right = np.linalg.svd(disk / disk.sum())
    terms = [k for k, value in enumerate(values) if value > 1e-9]
    rows = np.stack([_line_filter(values[k] * left[:, k], mirrored=True) for k in terms])
    columns = np.stack([_line_filter(right[k], mirrored=True).T for k in terms])
    return rows.astype(np.float32), np.ascontiguousarray(columns.astype(np.float32))


def _line_filter(taps: np.ndarray, *, mirrored: bool) -> np.ndarray:
    """Return the matrix (32, 32) that filters a line; beyond its ends it is mirrored without repeating, or constant."""
    radius = len(taps) // 2
    matrix = np.zeros((_SIDE, _SIDE))
    for offset, tap in zip(range(-radius, radius + 1), taps, strict=True):
        source = np.arange(_SIDE) + offset
        if mirrored:
            source = np.abs(source)
            source = np.where(source >= _SIDE, 2 * (_SIDE - 1) - source, source)
        np.add.at(matrix, (np.arange(_SIDE), source.clip(0, _SIDE - 1)), tap)
    return matrix


@cache
def _zoom_matrix(level: int) -> np.ndarray:
    """Return the zoom blur of a flattened channel, float32 (1024 from, 1024 to): whole numbers, columns sum to 2^16."""
    # The published range, whose float steps decide whether the end is reached: 7 factors at level 1, not 6.
    factors = np.arange(1, ZOOM_END[level - 1], 0.01)
    weights = np.eye(_SIDE * _SIDE)
    for factor in factors:
        line = _zoom_line(factor)
        weights += np.kron(line, line)
    weights *= _FIXED_POINT / (len(factors) + 1)
    whole = np.floor(weights)
    # What rounding down left over goes to the largest fractions.
    rank = np.argsort(np.argsort(whole - weights, axis=1, kind="stable"), axis=1, kind="stable")
    whole += rank < _FIXED_POINT - whole.sum(1, keepdims=True)
    return np.ascontiguousarray(whole.T.astype(np.float32))


def _zoom_line(factor: float) -> np.ndarray:
    """Return linear interpolation (32, 32) of the middle of a line, enlarged by `factor` and trimmed to 32."""
    crop = math.ceil(_SIDE / factor)
    size = round(crop * factor)
    position = (np.arange(_SIDE) + (size - _SIDE) // 2) * ((crop - 1) / (size - 1))
    left = np.minimum(np.floor(position).astype(int), crop - 2)
    matrix = np.zeros((_SIDE, _SIDE))
    start = (_SIDE - crop) // 2
    np.add.at(matrix, (np.arange(_SIDE), start + left), 1 - (position - left))
    np.add.at(matrix, (np.arange(_SIDE), start + left + 1), position - left)
    return matrix
