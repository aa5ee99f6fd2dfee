"""Motion blur of small images with the direction of each image, for snow and for the motion-blur corruption."""

from __future__ import annotations

import itertools

import numpy as np

_BLOCK = 128  # images blurred at a time: their padded copy stays in the cache
_NEGLIGIBLE = 1e-10  # a tap below this share changes no float32 sum of 0..255 values


def motion_kernel(radius: int, sigma: float) -> np.ndarray:
    """Return the one-sided kernel, float64 (2 radius + 1,): ``k_i ~ exp(-i^2 / (2 sigma^2))``, summing to 1."""
    steps = np.arange(2 * int(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * sigma**2))
    return weights / weights.sum()


def motion_blur(images: np.ndarray, angles_degrees: np.ndarray, radius: int, sigma: float) -> np.ndarray:
    """Blur every image along its own direction.

    Tap i of the kernel reads the pixel ``ceil(i cos a - 1/2)`` columns to the right and ``ceil(i sin a - 1/2)`` rows
    below, edge pixels replicated; taps from the first one that leaves the image's size on are left out. This is the
    free equivalent of ImageMagick's motion blur that CIFAR-10-C (Hendrycks & Dietterich, arXiv:1903.12261) calls.
    The result of an image does not depend on the other images of the batch.

    Parameters
    ----------
    images : float, shape (n, C, H, W)
        Any scale.
    angles_degrees : float, shape (n,)
        Direction of each image; 0 is along the columns, 90 along the rows.
    radius : int
        The kernel has 2 radius + 1 taps.
    sigma : float
        Standard deviation of the kernel in pixels, > 0.

    Returns
    -------
    float32, shape (n, C, H, W)
    """
    weights = motion_kernel(radius, sigma)
    weights = weights[weights > _NEGLIGIBLE]
    order = np.argsort(angles_degrees, kind="stable")  # neighbours in angle share most shifts: they move as one slice
    offsets = _offsets(np.asarray(angles_degrees, np.float64)[order], len(weights))
    height, width = images.shape[-2:]
    inside = (np.abs(offsets[0]) < height) & (np.abs(offsets[1]) < width)
    inside = np.logical_and.accumulate(inside, axis=0)
    out = np.empty(images.shape, np.float32)
    for start in range(0, len(images), _BLOCK):
        part = slice(start, start + _BLOCK)
        block = images[order[part]]
        out[order[part]] = _blur_block(block, offsets[:, :, part], inside[:, part], weights.astype(np.float32))
    return out


def _offsets(angles: np.ndarray, taps: int) -> np.ndarray:
    """Return what each tap of each image adds to row and column, int (2, taps, n)."""
    radians = np.deg2rad(angles)
    directions = np.stack([np.sin(radians), np.cos(radians)])
    return np.ceil(np.arange(taps)[:, None] * directions[:, None] - 0.5).astype(np.intp)


def _blur_block(block: np.ndarray, offsets: np.ndarray, inside: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Blur images (n, C, H, W) that are sorted by angle; `offsets` (2, taps, n), `inside` (taps, n)."""
    height, width = block.shape[-2:]
    kept = np.where(inside, offsets, 0)
    low, high = kept.min(axis=(1, 2)), kept.max(axis=(1, 2))
    padded = _replicate_edges(block, -low, high)
    total = np.zeros(block.shape, np.float32)
    product = np.empty_like(total)
    changes = np.any(kept[:, :, 1:] != kept[:, :, :-1], axis=0) | (inside[:, 1:] != inside[:, :-1])
    for tap, weight in enumerate(weights):
        bounds = [0, *(np.flatnonzero(changes[tap]) + 1).tolist(), len(block)]
        for first, last in itertools.pairwise(bounds):
            if not inside[tap, first]:
                continue
            row, column = kept[:, tap, first] - low
            view = padded[first:last, :, row : row + height, column : column + width]
            np.multiply(view, weight, out=product[first:last])
            total[first:last] += product[first:last]
    return total


def _replicate_edges(block: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Pad rows and columns by ``before`` and ``after`` (rows, columns) with copies of the edge pixels, as float32."""
    n, channels, height, width = block.shape
    (top, left), (bottom, right) = before, after
    padded = np.empty((n, channels, top + height + bottom, left + width + right), np.float32)
    middle = padded[:, :, top : top + height]
    middle[..., left : left + width] = block
    middle[..., :left] = block[..., :1]
    middle[..., left + width :] = block[..., -1:]
    padded[:, :, :top] = middle[:, :, :1]
    padded[:, :, top + height :] = middle[:, :, -1:]
    return padded
