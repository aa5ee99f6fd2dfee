"""Spatter: drops of water that refract at their rims (columns 1 to 3), or splashes of mud (columns 4 and 5)."""

from __future__ import annotations

import numpy as np

from ddbias.datasets.corruptions.pixels import SIDE, draw_normal

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261): mean and standard deviation of the layer,
# sigma of its smoothing, threshold, strength (mud: sigma), mode.
SPATTER = (
    (0.62, 0.1, 0.7, 0.7, 0.5, "water"),
    (0.65, 0.1, 0.8, 0.7, 0.5, "water"),
    (0.65, 0.3, 1.0, 0.69, 0.5, "water"),
    (0.65, 0.1, 0.7, 0.69, 0.6, "mud"),
    (0.65, 0.1, 0.5, 0.68, 0.6, "mud"),
)
WATER, MUD = (175, 238, 238), (63, 42, 20)  # colours, R, G, B
CANNY = (50, 150)
FARTHEST = 20  # pixels from a rim at which the distance stops to count
MUD_FLOOR = 0.8  # thinner mud is not seen
EMBOSS = ((-2, -1, 0), (-1, 1, 1), (0, 1, 2))


def spatter(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Spatter with water, ``x + m c``, or with mud, ``x (1 - m) + m c``: mask m, colour c.

    An image without liquid is unchanged.
    """
    mean, std, sigma, threshold, strength, mode = SPATTER[level - 1]
    layer = _smooth(mean + std * draw_normal(rng, (SIDE, SIDE)), sigma)
    layer[layer < threshold] = 0
    if mode == "water":
        return image + water_mask(layer, strength)[..., None] * WATER
    mask = _smooth((layer > threshold).astype(np.float64), strength)
    mask[mask < MUD_FLOOR] = 0
    return image * (1 - mask[..., None]) + mask[..., None] * MUD


def water_mask(layer: np.ndarray, strength: float) -> np.ndarray:
    """Return how much water each pixel gets, float64 (32, 32), at most `strength`, 0 where there is none.

    The distance to the rims of the drops (Canny), truncated, smoothed, equalised, embossed and smoothed again, times
    the layer; scaled to a maximum of `strength`. An image without a drop gets 0: the published code divides by zero
    there.

    Parameters
    ----------
    layer : ndarray of float64, shape (32, 32)
        Smoothed noise, 0 where it is below the threshold.
    strength : float
    """
    import cv2

    # What exceeds 1 (one image in eight of column 3) wraps around to dark, as it does in the published code.
    liquid = (layer * 255).astype(np.int32).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, *CANNY), cv2.DIST_L2, 5)
    near = cv2.blur(np.minimum(distance, FARTHEST), (3, 3)).astype(np.uint8)
    relief = cv2.filter2D(cv2.equalizeHist(near), cv2.CV_8U, np.array(EMBOSS))
    mask = liquid * cv2.blur(relief, (3, 3)).astype(np.float64)
    return mask * (strength / max(mask.max(), 1))


def _smooth(layer: np.ndarray, sigma: float) -> np.ndarray:
    from scipy import ndimage

    return ndimage.gaussian_filter(layer, sigma, mode="nearest", truncate=4)
