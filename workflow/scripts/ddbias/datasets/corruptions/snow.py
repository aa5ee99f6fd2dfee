"""Snow: a blurred layer of falling flakes over a whitened image.

Constants of CIFAR-10-C (Hendrycks & Dietterich, arXiv:1903.12261) as used by Learning from Failure (arXiv:2007.02561).
"""

from __future__ import annotations

import numpy as np

from ddbias.datasets.corruptions.draws import draw_normal
from ddbias.datasets.corruptions.motion import motion_blur
from ddbias.datasets.corruptions.smoothing import SIDE, apply_to_both_axes, zoom_matrix
from ddbias.datasets.corruptions.truncation import truncate

# level: mean and standard deviation of the layer, zoom, threshold, radius and sigma of the blur, share of the image
CONSTANTS = {
    1: (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
    2: (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
    3: (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
    4: (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
    5: (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
}
ANGLES = (-135.0, -45.0)  # degrees
GREY = (0.299, 0.587, 0.114)
_BLOCK = 64  # images mixed at a time: their float32 copy stays in the cache


def draw_snow(rng: np.random.Generator, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw what one image needs: standard normal noise, float32 (32, 32), and the angle in degrees, float64 ().

    Neither depends on `level`.
    """
    return draw_normal(rng, (SIDE, SIDE)), np.asarray(rng.uniform(*ANGLES))


def snow_layer(noise: np.ndarray, angles: np.ndarray, level: int) -> np.ndarray:
    """Return the layer of flakes, float32 (n, 32, 32) in steps of 1/255, from 0 to 1.

    Normal noise is magnified, cut off below the threshold, quantised to 8 bit (truncated), blurred along the angle and
    quantised again (rounded: the published program keeps the blurred layer in an 8-bit picture).

    Parameters
    ----------
    noise : float, shape (n, 32, 32)
        Standard normal.
    angles : float, shape (n,)
        Degrees.
    level : int
        Column 1..5 of `CONSTANTS`.
    """
    mean, std, zoom, threshold, radius, sigma, _ = CONSTANTS[level]
    matrix = zoom_matrix(zoom)
    read = np.flatnonzero(matrix.any(axis=0))  # the pixels that are magnified
    middle = slice(read[0], read[-1] + 1)
    flakes = np.empty(noise.shape, np.uint8)
    for start in range(0, len(noise), _BLOCK):
        part = slice(start, start + _BLOCK)
        # Float64, because the threshold is a cliff: single precision would move pixels across it.
        layer = np.multiply(noise[part, middle, middle], std, dtype=np.float64)
        layer += mean
        if zoom != 1:
            layer = apply_to_both_axes(matrix[:, middle], layer)
        layer *= layer >= threshold
        layer *= 255
        flakes[part] = np.minimum(layer, 255, out=layer)
    blurred = motion_blur(flakes[:, None], angles, radius, sigma)[:, 0]
    np.rint(blurred, out=blurred)
    blurred /= 255
    return blurred


def snow(images: np.ndarray, draws: tuple[np.ndarray, np.ndarray], level: int) -> np.ndarray:
    """Let it snow: ``x <- b x + (1 - b) max(x, 1.5 grey(x) + 0.5)``, then ``clip(x + n + rot180(n))`` with the layer n.

    Parameters
    ----------
    images : uint8, shape (n, 3, 32, 32)
    draws : tuple
        Noise, float (n, 32, 32), and angles, float (n,): the stacked draws of `draw_snow`.
    level : int
        Column 1..5 of `CONSTANTS`.

    Returns
    -------
    uint8, shape (n, 3, 32, 32)
        Truncated, not rounded. The motion blur is an equivalent of ImageMagick's, see `motion_blur`.
    """
    share = CONSTANTS[level][-1]
    layer = snow_layer(*draws, level)
    layer *= 255
    layer = layer + layer[:, ::-1, ::-1]
    out = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _BLOCK):
        part = slice(start, start + _BLOCK)
        x = images[part].astype(np.float32)
        grey = np.float32(GREY[0]) * x[:, 0]
        grey += np.float32(GREY[1]) * x[:, 1]
        grey += np.float32(GREY[2]) * x[:, 2]
        grey *= np.float32(1.5 * (1 - share))
        grey += np.float32(127.5 * (1 - share))
        # b x + (1 - b) max(x, g) is the larger of x and b x + (1 - b) g.
        white = np.multiply(x, np.float32(share))
        white += grey[:, None]
        np.maximum(white, x, out=white)
        white += layer[part][:, None]
        out[part] = truncate(white)
    return out
