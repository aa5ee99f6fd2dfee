"""Grey copies: images without the colour that is their attribute, for networks that shall not see it (ours).

Luminance will not do, since a digit in a dark colour is a dark digit: it keeps the attribute. A colour bias makes every
channel of an image an affine function of the same grey values g, ``c g`` (foreground) or ``g + c (255 - g)``
(background). So one channel, stretched to the full range, is g stretched to the full range, whatever the colour c. The
channel with the largest variance is taken: its rounding to bytes, which is all that is left of the colour, is finest.

Free of the attribute, up to that rounding: `foreground`, `background`, `c_mnist` and `c_fmnist` but for the published
background of the latter, which wraps around. Not free of it: corruptions, `grayscale`, and whatever an image shows of
an attribute that is no colour of all of it, as faces do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from ddbias.data.split import Split, normalize

_CHUNK = 1024  # images held as float32 at a time


def grey_copies(images: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Return images whose channels all are the one with the largest variance, stretched to the range of pixels.

    Parameters
    ----------
    images : Tensor, shape (N, C, H, W)
        Raw uint8 pixels, or float32 ones normalised with `mean` and `std`.
    mean, std : sequence of float, length C
        Of pixels in 0..1.

    Returns
    -------
    Tensor, shape (N, C, H, W)
        Of the same type, and normalised if the images are. An image of one value becomes black.
    """
    out = torch.empty_like(images)
    raw = images.dtype == torch.uint8
    shift, scale = (torch.tensor(values, dtype=torch.float32).view(-1, 1, 1) for values in (mean, std))
    for part, target in zip(images.split(_CHUNK), out.split(_CHUNK), strict=True):
        pixels = part.float() if raw else part * scale + shift
        strongest = pixels.var((2, 3), correction=0).argmax(1)
        grey = pixels[torch.arange(len(part)), strongest][:, None]
        low, high = grey.amin((2, 3), keepdim=True), grey.amax((2, 3), keepdim=True)
        grey = 255 * (grey - low) / (high - low).clamp_min(torch.finfo(torch.float32).tiny)
        target.copy_(grey.round() if raw else normalize(grey.expand_as(part), mean, std))
    return out


def grey_split(split: Split) -> Split:
    """Return a split with grey copies of its images."""
    images, _ = split.tensors()
    return replace(split, images=grey_copies(images, split.meta["mean"], split.meta["std"]).numpy())
