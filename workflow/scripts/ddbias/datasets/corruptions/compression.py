"""JPEG and pixelation of CIFAR-10-C."""

from __future__ import annotations

from functools import cache

import numpy as np

from ddbias.datasets.corruptions.jpeg_codec import recompress

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261); data sets of severity s use column s + 1
# (Learning from Failure, arXiv:2007.02561).
JPEG = (80, 65, 58, 50, 40)  # quality
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)  # factor of the side
_SIDE = 32


def jpeg(images: np.ndarray, draws: None, level: int) -> np.ndarray:
    """Encode and decode: bit for bit what a JPEG file of Pillow's default settings returns.

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
    return recompress(images, JPEG[level - 1])


def pixelate(images: np.ndarray, draws: None, level: int) -> np.ndarray:
    """Shrink with the box filter and enlarge again: bit for bit what Pillow's ``resize`` returns.

    For these factors a shrunk pixel is one pixel or the mean of two neighbours, rounded up at one half as Pillow's
    fixed-point arithmetic does, along rows first and then along columns; enlarging copies. Arguments as of `jpeg`.
    """
    first, is_pair = _boxes(int(_SIDE * PIXELATE[level - 1]))
    mask = np.where(is_pair, 255, 0).astype(np.uint8)
    rows = _average_pairs(images, 1, np.tile(mask, _SIDE))[..., first]
    return np.take(_average_pairs(rows, _SIDE, np.repeat(mask, _SIDE)), first, axis=2)


def _average_pairs(images: np.ndarray, step: int, mask: np.ndarray) -> np.ndarray:
    """Replace pixels by ``(pixel + the one `step` further + 1) // 2`` where `mask`, uint8 (1024,), is 255, not 0."""
    flat = np.ascontiguousarray(images).reshape(-1)
    later = np.empty_like(flat)  # what comes from the next row or image is masked: no pair begins at an end
    later[:-step], later[-step:] = flat[step:], flat[-step:]
    different = flat ^ later
    later |= flat
    different >>= 1
    later -= different
    later ^= flat
    masked = later.reshape(-1, mask.size)
    masked &= mask
    later ^= flat
    return later.reshape(images.shape)


@cache
def _boxes(side: int) -> tuple[np.ndarray, np.ndarray]:
    """Say where each pixel of a line comes from after resizing 32 -> `side` -> 32 with the box filter.

    Returns
    -------
    first : ndarray of int64, shape (32,)
        The pixel, or the first of the two, whose mean it shows.
    is_pair : ndarray of bool, shape (32,)
        Whether a pixel begins a pair. Boxes share no pixel, so one mask serves all.
    """
    windows = _box_windows(_SIDE, side)
    if max(map(len, windows)) > 2:
        raise ValueError(f"a box from {_SIDE} to {side} pixels covers more than two")
    is_pair = np.zeros(_SIDE, bool)
    is_pair[[members[0] for members in windows if len(members) == 2]] = True
    return np.array([windows[members[0]][0] for members in _box_windows(side, _SIDE)]), is_pair


def _box_windows(before: int, after: int) -> list[list[int]]:
    """Return, for each of `after` pixels, those of `before` whose centre lies in its half-open box."""
    scale = before / after
    half = max(scale, 1) / 2
    windows = []
    for position in range(after):
        centre = (position + 0.5) * scale
        reach = range(max(int(centre - half + 0.5), 0), min(int(centre + half + 0.5), before))
        windows.append([k for k in reach if -half < k + 0.5 - centre <= half])
    return windows
