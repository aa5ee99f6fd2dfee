"""Random numbers of 16 bits, four from every word of a generator: a quarter of the generator's work.

A pixel has 8 bits, so 65,536 levels of noise are as good as a continuum.
"""

from __future__ import annotations

import functools
import math

import numpy as np
import torch

_LEVELS = 1 << 16


def draw_uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw uniform numbers in [-1, 1), float32: multiples of 2^-15.

    Parameters
    ----------
    rng : numpy.random.Generator
        Over a bit generator of 64-bit words (Philox, PCG64).
    shape : tuple of int
    """
    return np.multiply(_draw_16_bits(rng, shape).view(np.int16), np.float32(2 / _LEVELS))


def draw_normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw standard normal numbers, float32: the middles of 65,536 equally likely parts, at most 4.4 from 0.

    Parameters
    ----------
    rng, shape
        See `draw_uniform`.
    """
    return _normal_levels().take(_draw_16_bits(rng, shape))


def _draw_16_bits(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    count = math.prod(shape)
    return rng.bit_generator.random_raw(-(-count // 4)).view(np.uint16)[:count].reshape(shape)


@functools.cache
def _normal_levels() -> np.ndarray:
    """Return the quantiles ``(k + 1/2) / 65536`` of the standard normal distribution, float32 (65536,)."""
    middles = (torch.arange(_LEVELS, dtype=torch.float64) + 0.5) / _LEVELS
    return torch.special.ndtri(middles).float().numpy()
