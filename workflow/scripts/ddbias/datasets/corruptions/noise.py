"""The additive, counting, replacing and multiplying noises of CIFAR-10-C."""

from __future__ import annotations

from functools import cache

import numpy as np

from ddbias.datasets.corruptions.pixels import CHANNELS_FIRST

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261).
GAUSSIAN = (0.04, 0.06, 0.08, 0.09, 0.10)  # standard deviation, for pixels in 0..1
SHOT = (500, 250, 100, 75, 50)  # photons that make a white pixel
IMPULSE = (0.01, 0.02, 0.03, 0.05, 0.07)  # share of values replaced
SPECKLE = (0.06, 0.1, 0.12, 0.16, 0.2)  # standard deviation relative to the pixel


def gaussian_noise(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Add normal noise: ``x + 255 s z``."""
    return image + 255 * GAUSSIAN[level - 1] * _normal(rng)


def speckle_noise(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Add normal noise times the pixel: ``x (1 + s z)``."""
    return image * (1 + SPECKLE[level - 1] * _normal(rng))


def impulse_noise(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Replace a share of the values by 0 or 255, each with probability one half.

    The size of a random number of 32 bits says whether a value is replaced, so a higher level replaces the same and
    more; its lowest bit says by what.
    """
    drawn = rng.integers(2**32, size=CHANNELS_FIRST, dtype=np.uint32).transpose(1, 2, 0)
    return np.where(drawn < round(2**32 * IMPULSE[level - 1]), drawn % 2 * 255, image)


def shot_noise(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Replace each value by a Poisson count of that mean, in photons: the quantile of a uniform draw (inversion)."""
    rate = SHOT[level - 1]
    cumulative = _poisson(rate)
    uniform = rng.random(CHANNELS_FIRST, dtype=np.float32).transpose(1, 2, 0)
    # Row v of the table has v added, so the rows are one ascending line.
    place = np.searchsorted(cumulative.reshape(-1), image + uniform.astype(np.float64), side="right")
    return 255 / rate * (place - image * np.int64(cumulative.shape[1]))


@cache
def _poisson(rate: int) -> np.ndarray:
    """Return ``v + P(count <= k)`` for a count of mean ``v / 255 * rate``, float64 (256, K), v = 0..255 and k < K."""
    from scipy.special import pdtr

    grey = np.arange(256)[:, None]
    return grey + pdtr(np.arange(int(rate + 8 * np.sqrt(rate)) + 16), grey / 255 * rate)


def _normal(rng: np.random.Generator) -> np.ndarray:
    return rng.standard_normal(CHANNELS_FIRST, dtype=np.float32).transpose(1, 2, 0).astype(np.float64)
