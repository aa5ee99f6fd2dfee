"""The additive, counting, replacing and multiplying noises of CIFAR-10-C."""

from __future__ import annotations

from functools import cache

import numpy as np

from ddbias.datasets.corruptions.truncation import truncate

# Columns 1..5 of CIFAR-10-C (Hendrycks and Dietterich, arXiv:1903.12261); data sets of severity s use column s + 1
# (Learning from Failure, arXiv:2007.02561).
GAUSSIAN = (0.04, 0.06, 0.08, 0.09, 0.10)  # standard deviation, for pixels in 0..1
SHOT = (500, 250, 100, 75, 50)  # photons that make a white pixel
IMPULSE = (0.01, 0.02, 0.03, 0.05, 0.07)  # share of values replaced
SPECKLE = (0.06, 0.1, 0.12, 0.16, 0.2)  # standard deviation relative to the pixel
_SHAPE = (3, 32, 32)
_GUIDE = 256  # bins of the shot noise's starting points


def draw_gaussian_noise(rng: np.random.Generator, level: int) -> np.ndarray:
    """Draw standard normal noise, float32 (3, 32, 32), the same for every level."""
    return rng.standard_normal(_SHAPE, dtype=np.float32)


def gaussian_noise(images: np.ndarray, draws: np.ndarray, level: int) -> np.ndarray:
    """Add normal noise.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 3, 32, 32)
    draws : ndarray of float32, shape (n, 3, 32, 32)
        Draws of the corruption, stacked.
    level : int
        Column 1..5 of the table.

    Returns
    -------
    ndarray of uint8, shape (n, 3, 32, 32)
    """
    out = draws * np.float32(255 * GAUSSIAN[level - 1])
    out += images
    return truncate(out)


draw_speckle_noise = draw_gaussian_noise


def speckle_noise(images: np.ndarray, draws: np.ndarray, level: int) -> np.ndarray:
    """Add normal noise times the pixel; arguments as of `gaussian_noise`."""
    out = draws * np.float32(SPECKLE[level - 1])
    out += 1
    out *= images
    return truncate(out)


def draw_impulse_noise(rng: np.random.Generator, level: int) -> np.ndarray:
    """Draw 32 random bits per value, uint32 (3, 32, 32), the same for every level."""
    return rng.integers(0, 2**32, _SHAPE, dtype=np.uint32)


def impulse_noise(images: np.ndarray, draws: np.ndarray, level: int) -> np.ndarray:
    """Replace a share of the values by 0 or 255, each with probability one half; arguments as of `gaussian_noise`.

    The size of the random number says whether a value is replaced, so a higher level replaces the same and more;
    its lowest bit says by what.
    """
    replaced = draws < np.uint32(round(2**32 * IMPULSE[level - 1]))
    return np.where(replaced, (draws & 1).astype(np.uint8) * np.uint8(255), images)


def draw_shot_noise(rng: np.random.Generator, level: int) -> np.ndarray:
    """Draw uniform numbers in [0, 1), float32 (3, 32, 32), the same for every level."""
    return rng.random(_SHAPE, dtype=np.float32)


def shot_noise(images: np.ndarray, draws: np.ndarray, level: int) -> np.ndarray:
    """Replace each value by a Poisson count of that mean, in photons; arguments as of `gaussian_noise`.

    The count is the Poisson quantile of the uniform draw (inversion), so an image has the same noise whatever it is
    batched with. Draws are multiples of 2^-24: rarer counts do not occur.
    """
    cumulative, guide, shown = _poisson_tables(SHOT[level - 1])
    width = cumulative.shape[1]
    grey, uniform = images.reshape(-1), draws.reshape(-1)
    # Start at the quantile of the bin's lower end, then step up: few values need more than one step.
    at = guide.reshape(-1)[(uniform * np.float32(_GUIDE)).astype(np.int32) + grey * np.int32(_GUIDE)]
    at += grey * np.int32(width)
    table = cumulative.reshape(-1)
    behind = np.flatnonzero(uniform >= table[at])
    while behind.size:
        at[behind] += 1
        behind = behind[uniform[behind] >= table[at[behind]]]
    at -= grey * np.int32(width)
    return shown[at].reshape(images.shape)


@cache
def _poisson_tables(rate: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return what inverts the Poisson distributions of the means ``v / 255 * rate``, v = 0..255.

    Returns
    -------
    cumulative : float32, shape (256, K)
        Row v: the probability of at most k photons; 2 where it is too close to 1 for a draw to exceed it.
    guide : int32, shape (256, 256)
        Row v: quantile at the lower end of each of 256 equal bins of [0, 1).
    shown : uint8, shape (K,)
        Grey level of a count.
    """
    from scipy.special import pdtr

    count = np.arange(int(rate + 8 * np.sqrt(rate)) + 16)
    cumulative = pdtr(count, np.arange(256)[:, None] / 255.0 * rate).astype(np.float32)
    cumulative[cumulative > 1 - 2.0**-24] = 2
    ends = (np.arange(_GUIDE) / _GUIDE).astype(np.float32)
    guide = np.stack([np.searchsorted(row, ends, side="right") for row in cumulative]).astype(np.int32)
    shown = (np.minimum(count / rate, 1) * 255).astype(np.uint8)
    return cumulative, guide, shown
