"""The colour noise of the published CMNIST-DD files (arXiv:2403.16028), draw by draw.

Its generator is seeded once with 42; then, for the aligned ratios 0, .1, .5, .8, .95, 1 and within each for the
severities 1..4, the test set and then the training set are made, one triple of normal numbers an image, in order. So
the noise of a file depends on all that were made before it.

torch draws fewer than 16 normal numbers at a time by Box and Muller's transform of 53-bit uniforms, in pairs whose
second number is kept for the next call. The same is computed here for millions at once; jumping to a file only skips
the pairs of its predecessors.
"""

from __future__ import annotations

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.datasets.bias.context import Context

RATIOS = (0.0, 0.1, 0.5, 0.8, 0.95, 1.0)
SEVERITIES = (1, 2, 3, 4)
SPLITS = ("test", "train")
_WORDS = 4  # 32-bit words of the Mersenne twister for a pair of normal numbers


def torch_normals(seed: int, first: int, count: int) -> np.ndarray:
    """Return numbers ``first .. first + count - 1`` of those that torch's CPU generator draws a few at a time.

    Parameters
    ----------
    seed : int
        0 .. 2**32 - 1, as given to ``manual_seed``.
    first, count : int

    Returns
    -------
    ndarray of float32, shape (count,)
    """
    twister = np.random.MT19937()
    np.random.RandomState(twister).seed(seed)  # the classic seeding, which torch shares
    pair, last = first // 2, (first + count + 1) // 2
    _skip(twister, pair * _WORDS)
    words = twister.random_raw((last - pair) * _WORDS).astype(np.uint64).reshape(-1, 2, 2)
    # High word first; the low 53 bits become a number in [0, 1).
    bits = (words[..., 0] << np.uint64(32) | words[..., 1]) & np.uint64((1 << 53) - 1)
    uniform = bits.astype(np.float64) * 2.0**-53
    radius = np.sqrt(-2 * np.log1p(-uniform[:, 1]))
    angle = 2 * np.pi * uniform[:, 0]
    normals = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    start = first - 2 * pair
    return normals[start : start + count].astype(np.float32)


def _skip(twister: np.random.MT19937, words: int) -> None:
    block = 1 << 20
    for _ in range(words // block):
        twister.random_raw(block, output=False)
    twister.random_raw(words % block, output=False)


def reference_noise(context: Context, severity: int) -> np.ndarray:
    """Return the published noise of one split: standard normal, float32 (N, 3).

    Raises
    ------
    DdbiasError
        For a ratio or severity outside the published grid, whose noise is therefore not defined.
    """
    for what, value, grid in (("ratio", context.ratio, RATIOS), ("severity", severity, SEVERITIES)):
        if value not in grid:
            raise DdbiasError(
                f"noise: reference is defined on the published grid only, not at {what} {value:g}; "
                f"take one of {', '.join(f'{v:g}' for v in grid)}, or noise: per_index"
            )
    before = (RATIOS.index(context.ratio) * len(SEVERITIES) + SEVERITIES.index(severity)) * sum(context.sizes.values())
    if context.split != SPLITS[0]:
        before += context.sizes[SPLITS[0]]
    count = context.sizes[context.split]
    return torch_normals(context.seed, 3 * before, 3 * count).reshape(count, 3)
