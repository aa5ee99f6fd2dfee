"""Images averaged down for the small classifiers that look for a bias: cheap, and colours and shapes survive.

A bias that the averaging removes (fine texture, noise of single pixels) cannot be found.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from ddbias.data.split import Split

SIDE = 16  # pixels that the side of a larger image keeps at least
_AT_ONCE = 4096  # images that are held as floating-point numbers at full size


def factor(side: int) -> int:
    """Return how many pixels along a side of `side` pixels become one: 1 below 32, 2 below 48, 3 below 64 ..."""
    return max(1, side // SIDE)


def coarse(images: torch.Tensor) -> torch.Tensor:
    """Return normalised images (B, C, S, S) averaged to (B, C, s, s), s = S // `factor`; below 32 pixels unchanged."""
    by = factor(images.shape[-1])
    return images if by == 1 else nn.functional.avg_pool2d(images, by)  # (B, C, s, s)


def coarse_split(split: Split, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return all images of a split, normalised and averaged, as float32 (N, C, s, s)."""

    def parts() -> Iterator[torch.Tensor]:
        for start in range(0, len(split), _AT_ONCE):
            raw = torch.tensor(split.images[start : start + _AT_ONCE], device=device)
            yield coarse(split.scaled(raw))  # whitened, they would be noise

    return torch.cat(list(parts()))
