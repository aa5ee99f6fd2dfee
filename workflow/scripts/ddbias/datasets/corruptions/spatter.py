"""Spatter: drops of water that refract at their rims (columns 1 to 3), or splashes of mud (columns 4 and 5).

Constants of CIFAR-10-C (Hendrycks & Dietterich, arXiv:1903.12261) as used by Learning from Failure (arXiv:2007.02561).
"""

from __future__ import annotations

import numpy as np

from ddbias.datasets.corruptions.canny import canny, chamfer_distance
from ddbias.datasets.corruptions.draws import draw_normal
from ddbias.datasets.corruptions.layout import pictures_first, pictures_last
from ddbias.datasets.corruptions.smoothing import SIDE, apply_to_both_axes, gaussian_matrix
from ddbias.datasets.corruptions.truncation import truncate

# level: mean and standard deviation of the layer, sigma of its smoothing, threshold, strength (mud: sigma), mode
CONSTANTS = {
    1: (0.62, 0.1, 0.7, 0.7, 0.5, "water"),
    2: (0.65, 0.1, 0.8, 0.7, 0.5, "water"),
    3: (0.65, 0.3, 1.0, 0.69, 0.5, "water"),
    4: (0.65, 0.1, 0.7, 0.69, 0.6, "mud"),
    5: (0.65, 0.1, 0.5, 0.68, 0.6, "mud"),
}
WATER, MUD = (175, 238, 238), (63, 42, 20)  # colours, R, G, B
CANNY = (50, 150)
FARTHEST = 20  # pixels from a rim at which the distance stops to count
MUD_FLOOR = 0.8  # thinner mud is not seen
EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))
_TRUNCATE = 4  # Gaussians end at four standard deviations
_BLOCK = 64  # images mixed at a time: their float32 copy stays in the cache


def draw_spatter(rng: np.random.Generator, level: int) -> np.ndarray:
    """Draw standard normal noise, float32 (32, 32), the same for every level."""
    return draw_normal(rng, (SIDE, SIDE))


def liquid_layer(noise: np.ndarray, level: int) -> np.ndarray:
    """Return the smoothed layer with everything below the threshold set to 0, float64 (n, 32, 32)."""
    mean, std, sigma, threshold, _, _ = CONSTANTS[level]
    # The threshold is a cliff: single precision would move pixels across it. Smoothing keeps constants.
    matrix = gaussian_matrix(sigma, mode="nearest", truncate=_TRUNCATE)
    layer = np.empty(noise.shape)
    for start in range(0, len(noise), _BLOCK):
        part = layer[start : start + _BLOCK]
        np.multiply(apply_to_both_axes(matrix, noise[start : start + _BLOCK]), std, out=part)
        part += mean
        part *= part >= threshold
    return layer


def water_mask(layer: np.ndarray, strength: float) -> np.ndarray:
    """Return how much water each pixel gets, float32 (n, 32, 32), at most `strength`, 0 where there is none.

    The distance to the rims of the drops (Canny), truncated, smoothed, equalised, embossed and smoothed again, times
    the layer; scaled to a maximum of `strength` in each image. An image without a drop gets 0: the published code
    divides by zero there. Each step equals OpenCV's bit by bit; distances from Intel's library, which some builds of
    OpenCV call, round differently in the fifth digit.
    """
    # What exceeds 1 (one image in eight of column 3) wraps around to dark, as it does in the published code.
    liquid = pictures_last((layer * 255).astype(np.int32).astype(np.uint8))
    distance = np.minimum(chamfer_distance(canny(liquid, *CANNY)), FARTHEST)
    # A ninth of sums of multiples of 2^-16 below 180: exact enough that the fraction falls as in exact arithmetic.
    near = (_sum_3x3(distance) / np.float32(9)).astype(np.uint8)
    embossed = np.clip(_emboss(equalise(near).astype(np.int16)), 0, 255)
    relief = np.rint(_sum_3x3(embossed) / np.float32(9))
    mask = relief * liquid
    largest = mask.max(axis=(0, 1))
    mask *= np.divide(np.float32(strength), largest, out=np.zeros_like(largest), where=largest > 0)
    return pictures_first(mask)


def equalise(pictures: np.ndarray) -> np.ndarray:
    """Equalise the histogram of each picture, uint8 (H, W, n): rank times 255 over all but the darkest pixels.

    A picture of one level stays as it is.
    """
    height, width, n = pictures.shape
    levels = int(pictures.max(initial=0)) + 1
    bins = pictures + levels * np.arange(n)
    counts = np.bincount(bins.ravel(), minlength=n * levels).reshape(n, levels)
    darkest = np.argmax(counts > 0, axis=1)
    dark = counts[np.arange(n), darkest]
    brighter = np.cumsum(counts, axis=1) - dark[:, None]
    rest = height * width - dark
    scale = np.float32(255) / np.maximum(rest, 1).astype(np.float32)
    table = np.rint(np.maximum(brighter, 0).astype(np.float32) * scale[:, None]).astype(np.uint8)
    table[rest == 0] = np.arange(levels)
    return table.ravel().take(bins)


def _sum_3x3(pictures: np.ndarray) -> np.ndarray:
    """Return the sums over 3 x 3 pixels, mirrored at the edge pixels."""
    padded = np.pad(pictures, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    return rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]


def _emboss(pictures: np.ndarray) -> np.ndarray:
    """Filter with `EMBOSS`, mirrored at the edge pixels."""
    padded = np.pad(pictures, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    height, width, _ = pictures.shape
    total = np.zeros_like(pictures)
    for row, weights in enumerate(EMBOSS):
        for column, weight in enumerate(weights):
            if weight:
                total += weight * padded[row : row + height, column : column + width]
    return total


def mud_mask(layer: np.ndarray, threshold: float, sigma: float) -> np.ndarray:
    """Return how much of each pixel is mud, float64 (n, 32, 32), 0 or from `MUD_FLOOR` to 1."""
    matrix = gaussian_matrix(sigma, mode="nearest", truncate=_TRUNCATE)
    mask = apply_to_both_axes(matrix, layer > threshold)
    mask *= mask >= MUD_FLOOR
    return mask


def spatter(images: np.ndarray, draws: np.ndarray, level: int) -> np.ndarray:
    """Spatter with water, ``x <- clip(x + m c, 0, 1)``, or with mud, ``x <- x (1 - m) + m c``: mask m, colour c.

    Parameters
    ----------
    images : uint8, shape (n, 3, 32, 32)
    draws : float, shape (n, 32, 32)
        The stacked draws of `draw_spatter`.
    level : int
        Column 1..5 of `CONSTANTS`.

    Returns
    -------
    uint8, shape (n, 3, 32, 32)
        Truncated, not rounded. An image without liquid is unchanged.
    """
    _, _, _, threshold, strength, mode = CONSTANTS[level]
    layer = liquid_layer(draws, level)
    if mode == "water":
        mask, colour = water_mask(layer, strength)[:, None], WATER
    else:
        mask, colour = mud_mask(layer, threshold, strength).astype(np.float32)[:, None], MUD
    colour = np.array(colour, np.float32)[:, None, None]
    out = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _BLOCK):
        part = slice(start, start + _BLOCK)
        x = mask[part] * colour
        x += images[part] if mode == "water" else images[part] * (1 - mask[part])
        out[part] = truncate(x)
    return out
