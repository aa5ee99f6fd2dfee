"""Brightness, contrast and saturation of CIFAR-10-C, without going through hue.

In the hexcone model V = max(R, G, B), S = (V - min) / V, and every channel is V (1 - S g) where g depends on the hue
alone. So a new V scales the three channels by V'/V, and a new S scales their distance from V by S'/S.
"""

from __future__ import annotations

import numpy as np

from ddbias.datasets.corruptions.truncation import truncate

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261); data sets of severity s use column s + 1
# (Learning from Failure, arXiv:2007.02561).
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)  # added to V in 0..1
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)  # factor of the distance from the mean
SATURATE = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))  # factor of S in 0..1, then added to it


def brightness(images: np.ndarray, draws: None, level: int) -> np.ndarray:
    """Add to the V of HSV, clipped at 1; black becomes grey.

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
    value = np.arange(256, dtype=np.float64)
    raised = np.minimum(value + 255 * BRIGHTNESS[level - 1], 255)
    factor = (raised / np.maximum(value, 1)).astype(np.float32)
    largest = _largest(images)
    out = images * factor[largest][:, None]
    black = largest == 0
    if black.any():
        np.add(out, np.float32(raised[0]), out=out, where=black[:, None])
    return truncate(out, within=True)


def contrast(images: np.ndarray, draws: None, level: int) -> np.ndarray:
    """Shrink the distance of each channel from its mean over the image; arguments as of `brightness`."""
    factor = np.float32(CONTRAST[level - 1])
    out = images.astype(np.float32)
    # Sums of bytes are exact in float32, so the order of the summation does not show.
    mean = out.reshape(*out.shape[:2], -1).sum(2) / np.float32(out[0, 0].size if len(out) else 1)
    out *= factor
    out += ((1 - factor) * mean)[:, :, None, None]
    return truncate(out, within=True)


def saturate(images: np.ndarray, draws: None, level: int) -> np.ndarray:
    """Multiply the S of HSV and add to it, clipped at 1; arguments as of `brightness`.

    Grey has hue 0, so what is added to its saturation shows as red.
    """
    factor, added = (np.float32(number) for number in SATURATE[level - 1])
    largest = _largest(images)
    spread = largest - np.minimum(np.minimum(images[:, 0], images[:, 1]), images[:, 2])
    value = largest.astype(np.float32)
    missing = value[:, None] - images
    if added:
        grey = spread == 0  # as if it were a red of full saturation, whose S' is what is added
        missing[:, 1:] += (value * grey)[:, None]
        per_saturation = value / np.where(grey, np.maximum(value, 1), spread)
        scale = np.minimum(np.where(grey, 0, factor) + added * per_saturation, per_saturation)
    else:
        scale = np.minimum(factor, value / np.maximum(spread, 1))
    missing *= scale[:, None]
    return truncate(np.subtract(value[:, None], missing, out=missing), within=True)


def _largest(images: np.ndarray) -> np.ndarray:
    """Return V of HSV, uint8 (n, 32, 32)."""
    return np.maximum(np.maximum(images[:, 0], images[:, 1]), images[:, 2])
