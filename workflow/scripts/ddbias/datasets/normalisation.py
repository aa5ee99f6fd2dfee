"""Normalisation of pixels for networks: published constants, the split's own statistics, none, or ZCA whitening.

The networks of the field normalise their activations, so accuracies depend little on it. The step of a distiller
depends on it: a learning rate moves a raw pixel by ``std ** 2`` times what it moves one that is not normalised (the
gradient is ``std`` times as large and a step of a normalised pixel is ``std`` of a raw one). So a published learning
rate is valid for the published constants.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ddbias.base.errors import DdbiasError
from ddbias.data.split import Split, channel_statistics
from ddbias.data.whitening import Whitening

# "own", "none", "zca", or mean and standard deviation of pixels in 0..1, each a number or one per channel
Normalisation = str | Sequence[float | Sequence[float]]
OWN, NONE, ZCA = "own", "none", "zca"
AT_ONCE = 4096  # images; memory only


def constants(
    asked: Normalisation | None, published: Normalisation, images: np.ndarray
) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel, for pixels in 0..1.

    Parameters
    ----------
    asked : "own", "none", "zca", (mean, std) or None
        The setting of the data set; None takes `published`. "zca" whitens pixels as they are, like "none" here.
    published : "own", "none" or (mean, std)
        Where it has constants for another number of channels than the images have, their own statistics are taken.
    images : ndarray of uint8, shape (N, C, H, W)
        The training split.

    Raises
    ------
    DdbiasError
        If `asked` is none of these, or does not fit the channels.

    Examples
    --------
    >>> import numpy as np
    >>> constants(None, (0.5, 0.5), np.zeros((1, 3, 2, 2), np.uint8))
    ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
    >>> constants("none", (0.5, 0.5), np.zeros((1, 1, 2, 2), np.uint8))
    ([0.0], [1.0])
    """
    channels, chosen = images.shape[1], published if asked is None else asked
    if chosen == OWN:
        return channel_statistics(images)
    if chosen in (NONE, ZCA):
        return [0.0] * channels, [1.0] * channels
    if not isinstance(chosen, list | tuple) or len(chosen) != 2:
        raise DdbiasError(f"normalise is {chosen!r}; it must be own, none, zca or [mean, std] of pixels in 0..1")
    mean, std = (_per_channel(part, channels) for part in chosen)
    if mean is None or std is None:
        if asked is None:
            return channel_statistics(images)
        raise DdbiasError(
            f"normalise is {chosen!r}, and the images have {channels} channels; give one mean and one std, or one each"
        )
    if not (all(0 <= value <= 1 for value in mean) and all(0 < value <= 1 for value in std)):
        raise DdbiasError(
            f"normalise is {chosen!r}; means of pixels in 0..1 are from 0 to 1, deviations above 0 and at most 1"
        )
    return mean, std


def whitening(asked: Normalisation | None, split: Split) -> Whitening | None:
    """Return the whitening of a training split that "zca" asks for, else None."""
    if asked != ZCA:
        return None
    starts = range(0, len(split), AT_ONCE)
    return Whitening.of(split.scaled(torch.from_numpy(split.images[i : i + AT_ONCE])) for i in starts)


def _per_channel(part: float | Sequence[float], channels: int) -> list[float] | None:
    """Return a number for every channel, None where there is another number of them."""
    values = [float(value) for value in (part if isinstance(part, Sequence) else [part])]
    values = values * channels if len(values) == 1 else values
    return values if len(values) == channels else None
