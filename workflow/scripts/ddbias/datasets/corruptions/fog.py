"""Fog: a plasma fractal over a dimmed image."""

from __future__ import annotations

import numpy as np

from ddbias.datasets.corruptions.pixels import SIDE, draw_uniform

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261): strength of the fog, decay of the fractal's
# noise from one step to half of it.
FOG = ((0.2, 3.0), (0.5, 3.0), (0.75, 2.5), (1.0, 2.0), (1.5, 1.75))
FIRST_AMPLITUDE = 100.0


def fog(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Cover with fog: ``(x + 255 c P) M / (M + 255 c)`` with the image's maximum M and the plasma P."""
    strength, decay = FOG[level - 1]
    field = plasma(draw_uniform(rng, (SIDE, SIDE)), decay)
    brightest = float(image.max())
    return (image + 255 * strength * field[..., None]) * (brightest / (brightest + 255 * strength))


def plasma(noise: np.ndarray, decay: float) -> np.ndarray:
    """Return a plasma fractal by the diamond-square rule on a torus, float64 (32, 32), from 0 to 1.

    The corner is 0. From step 32 down to 2, the centre of every square becomes the mean of its four corners plus
    noise, then the middle of every side the mean of its two ends and the two centres beside it plus noise. The noise is
    uniform in ``(-w^2, w^2)``: the published amplitude w = 100 enters squared, and w is divided by `decay` per step.

    Parameters
    ----------
    noise : ndarray of float, shape (32, 32)
        Uniform in [-1, 1), one per point; that of the corner (0, 0) is not used.
    decay : float
        Greater than 1: smooth fog; near 1: rough.
    """
    field = np.zeros(noise.shape)
    step, amplitude = SIDE, FIRST_AMPLITUDE
    while step >= 2:
        half = step // 2
        corners, centres = np.s_[::step, ::step], np.s_[half::step, half::step]
        across, along = np.s_[::step, half::step], np.s_[half::step, ::step]
        to_right = field[corners] + np.roll(field[corners], -1, axis=1)
        to_below = field[corners] + np.roll(field[corners], -1, axis=0)
        field[centres] = (to_right + np.roll(to_right, -1, axis=0)) / 4 + amplitude**2 * noise[centres]
        above = field[centres] + np.roll(field[centres], 1, axis=0)
        left = field[centres] + np.roll(field[centres], 1, axis=1)
        field[across] = (to_right + above) / 4 + amplitude**2 * noise[across]
        field[along] = (to_below + left) / 4 + amplitude**2 * noise[along]
        step, amplitude = half, amplitude / decay
    field -= field.min()
    return field / field.max()
