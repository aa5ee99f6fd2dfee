"""Fog: a plasma fractal over a dimmed image.

Constants of CIFAR-10-C (Hendrycks & Dietterich, arXiv:1903.12261) as used by Learning from Failure (arXiv:2007.02561).
"""

from __future__ import annotations

import numpy as np

from ddbias.datasets.corruptions.draws import draw_uniform
from ddbias.datasets.corruptions.layout import pictures_first, pictures_last
from ddbias.datasets.corruptions.smoothing import SIDE
from ddbias.datasets.corruptions.truncation import truncate

# level: strength of the fog, decay of the fractal's noise from one step to half of it
CONSTANTS = {1: (0.2, 3.0), 2: (0.5, 3.0), 3: (0.75, 2.5), 4: (1.0, 2.0), 5: (1.5, 1.75)}
FIRST_AMPLITUDE = 100.0
_BLOCK = 64  # images mixed at a time: their float32 copy stays in the cache


def draw_fog(rng: np.random.Generator, level: int) -> np.ndarray:
    """Draw uniform noise in [-1, 1), float32 (32, 32), the same for every level.

    Number (i, j) is the noise of the fractal's point (i, j); the one of the corner (0, 0) is not used.
    """
    return draw_uniform(rng, (SIDE, SIDE))


def plasma(noise: np.ndarray, decay: float) -> np.ndarray:
    """Return plasma fractals by the diamond-square rule on a torus, float32 (n, 32, 32), from 0 to 1 in each image.

    The corner is 0. From step 32 down to 2, the centre of every square becomes the mean of its four corners plus
    noise, then the middle of every side the mean of its two ends and the two centres beside it plus noise. The noise is
    uniform in ``(-w^2, w^2)``: the published amplitude w = 100 enters squared, and w is divided by `decay` per step.

    Parameters
    ----------
    noise : float, shape (n, 32, 32)
        Uniform in [-1, 1), one per point.
    decay : float
        Greater than 1: smooth fog; near 1: rough.
    """
    noise = pictures_last(np.asarray(noise, np.float32))  # images last: each step runs over long rows
    field = np.zeros_like(noise)
    step, amplitude = SIDE, FIRST_AMPLITUDE
    while step >= 2:
        half = step // 2
        corners, centres = np.s_[::step, ::step], np.s_[half::step, half::step]
        across, along = np.s_[::step, half::step], np.s_[half::step, ::step]
        weight = np.float32(amplitude**2)
        to_right = field[corners] + np.roll(field[corners], -1, axis=1)
        to_below = field[corners] + np.roll(field[corners], -1, axis=0)
        field[centres] = (to_right + np.roll(to_right, -1, axis=0)) / 4 + weight * noise[centres]
        above = field[centres] + np.roll(field[centres], 1, axis=0)
        left = field[centres] + np.roll(field[centres], 1, axis=1)
        field[across] = (to_right + above) / 4 + weight * noise[across]
        field[along] = (to_below + left) / 4 + weight * noise[along]
        step, amplitude = half, amplitude / decay
    field -= field.min(axis=(0, 1))
    field /= field.max(axis=(0, 1))
    return pictures_first(field)


def fog(images: np.ndarray, draws: np.ndarray, level: int) -> np.ndarray:
    """Cover with fog: ``x <- clip((x + c P) M / (M + c), 0, 1)`` with the image's maximum M and the plasma P.

    Parameters
    ----------
    images : uint8, shape (n, 3, 32, 32)
    draws : float, shape (n, 32, 32)
        The stacked draws of `draw_fog`.
    level : int
        Column 1..5 of `CONSTANTS`.

    Returns
    -------
    uint8, shape (n, 3, 32, 32)
        Truncated, not rounded.
    """
    strength, decay = CONSTANTS[level]
    field = plasma(draws, decay)
    brightest = images.max(axis=(1, 2, 3)).astype(np.float64)[:, None, None] / 255
    gain = brightest / (brightest + strength)
    field *= (gain * (255 * strength)).astype(np.float32)
    gain = gain.astype(np.float32)[..., None]
    out = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _BLOCK):
        part = slice(start, start + _BLOCK)
        x = np.multiply(images[part], gain[part], dtype=np.float32)
        x += field[part][:, None]
        out[part] = truncate(x)
    return out
