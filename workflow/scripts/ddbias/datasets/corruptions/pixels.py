"""Shared by all corruptions: the side of an image, random numbers of 16 bits, and the conversion to bytes."""

from __future__ import annotations

import numpy as np

SIDE = 32  # pixels of a CIFAR image's side
CHANNELS_FIRST = (3, SIDE, SIDE)  # the order in which one number per value is drawn
_LEVELS = 1 << 16
# Added before the fraction is dropped. The published float64 code leaves a flat area of level v at v or v - 1, as its
# rounding errors fall; here such a value stays v. Larger than float32's errors on 0..255, smaller than what shows.
GUARD = 2.0**-10


def draw_uniform(rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    """Draw uniform numbers in [-1, 1), float64: multiples of 2^-15, as fine as an image of 256 levels needs."""
    return rng.integers(_LEVELS, size=shape, dtype=np.uint16).view(np.int16) * (2 / _LEVELS)


def draw_normal(rng: np.random.Generator, shape: int | tuple[int, ...]) -> np.ndarray:
    """Draw standard normal numbers, float64: the middles of 65,536 equally likely parts, at most 4.4 from 0."""
    from scipy.special import ndtri

    return ndtri((rng.integers(_LEVELS, size=shape, dtype=np.uint16) + 0.5) / _LEVELS)


def truncate(levels: np.ndarray) -> np.ndarray:
    """Return grey levels of any real type as uint8: clipped to 0..255, the fraction dropped as published."""
    return np.clip(levels + GUARD, 0, 255).astype(np.uint8)
