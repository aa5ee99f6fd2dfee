"""Brightness, contrast and saturation of CIFAR-10-C."""

from __future__ import annotations

import numpy as np

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261).
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)  # added to V in 0..1
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)  # factor of the distance from the mean
SATURATE = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))  # factor of S in 0..1, then added to it


def brightness(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Add to the V of HSV, clipped at white; black becomes grey."""
    return _change_hsv(image, 2, 1.0, 255 * BRIGHTNESS[level - 1], largest=255)


def saturate(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Multiply the S of HSV and add to it, clipped at 1.

    Grey has hue 0, so what is added to its saturation shows as red.
    """
    return _change_hsv(image, 1, *SATURATE[level - 1], largest=1)


def contrast(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Shrink the distance of each channel from its mean over the image."""
    mean = image.mean(axis=(0, 1))
    return mean + CONTRAST[level - 1] * (image - mean)


def _change_hsv(image: np.ndarray, channel: int, factor: float, added: float, largest: float) -> np.ndarray:
    """Scale, shift and clip H, S or V; float32, H in degrees, S in 0..1, V in 0..255 as the image is."""
    import cv2

    hsv = cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2HSV)
    hsv[..., channel] = np.minimum(factor * hsv[..., channel] + added, largest)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
