"""How the pieces of an augmentation are applied to a batch that trains a network: by the rule of one publication."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import torch

from ddbias.base.errors import unknown
from ddbias.learning.augment.chained import Chain
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.augment.one_per_image import OnePerImage


class Augmentation(Protocol):
    """An augmentation of a batch, with parameters drawn for each image."""

    def per_sample(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return images (B, C, H, W) augmented; `generator` draws the numbers."""


# Called with the pieces, joined by underscores, or none.
RULES: dict[str, Callable[[str], Augmentation]] = {
    "dsa": DSA,  # one piece for a batch
    "mtt": partial(DSA, align_corners=True),  # the same with MTT's convention of the grid
    "idc": Chain,  # flip, color, one of the others, cutout
    "dc": OnePerImage,  # one of crop, scale and rotate for each image
}


def augmentation(pieces: str, rule: str) -> Augmentation:
    """Return the augmentation with these pieces by a rule; raises `DdbiasError` for an unknown piece or rule."""
    if rule not in RULES:
        raise unknown("augment_rule", rule, RULES)
    return RULES[rule](pieces)
