"""Snow: a blurred layer of falling flakes over a whitened image."""

from __future__ import annotations

import numpy as np

from ddbias.datasets.corruptions.blur import smear, zoom_line
from ddbias.datasets.corruptions.pixels import SIDE, draw_normal

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261): mean and standard deviation of the layer,
# zoom, threshold, radius and sigma of the blur, share of the image.
SNOW = (
    (0.1, 0.2, 1.0, 0.6, 8, 3.0, 0.95),
    (0.1, 0.2, 1.0, 0.5, 10, 4.0, 0.9),
    (0.15, 0.3, 1.75, 0.55, 10, 4.0, 0.9),
    (0.25, 0.3, 2.25, 0.6, 12, 6.0, 0.85),
    (0.3, 0.3, 1.25, 0.65, 14, 12.0, 0.8),
)
ANGLES = (-135.0, -45.0)  # degrees
GREY = (0.299, 0.587, 0.114)


def snow(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Let it snow: ``b x + (1 - b) max(x, 1.5 grey(x) + 127.5) + n + rot180(n)`` with the layer n."""
    share = SNOW[level - 1][-1]
    noise, angle = draw_normal(rng, (SIDE, SIDE)), rng.uniform(*ANGLES)
    layer = snow_layer(noise, angle, level)
    grey = image @ np.array(GREY)
    white = np.maximum(image, 1.5 * grey[..., None] + 127.5)
    return share * image + (1 - share) * white + (layer + layer[::-1, ::-1])[..., None]


def snow_layer(noise: np.ndarray, angle: float, level: int) -> np.ndarray:
    """Return the layer of flakes, whole numbers 0..255, float64 (32, 32).

    Normal noise is magnified, cut off below the threshold, quantised to 8 bit (truncated), blurred along the angle and
    quantised again (rounded: the published program keeps the blurred layer in an 8-bit picture).

    Parameters
    ----------
    noise : ndarray of float, shape (32, 32)
        Standard normal.
    angle : float
        Degrees.
    level : int
        Column 1..5.
    """
    mean, std, zoom, threshold, radius, sigma, _ = SNOW[level - 1]
    line = zoom_line(zoom)
    layer = line @ (mean + std * noise) @ line.T
    layer[layer < threshold] = 0
    return np.rint(smear(np.floor(np.minimum(255 * layer, 255)), angle, radius, sigma))
