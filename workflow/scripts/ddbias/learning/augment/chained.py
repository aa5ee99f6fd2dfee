"""The augmentation of IDC: several pieces of DSA in a row instead of one.

Source: Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization" (arXiv 2205.14959). The pieces
and their ranges are those of DSA (`ddbias.learning.augment.dsa`).
"""

from __future__ import annotations

import torch

from ddbias.base.seeding import derive
from ddbias.learning.augment.dsa import DSA

ALWAYS_FIRST, ALWAYS_LAST = ("flip", "color"), ("cutout",)


class Chain:
    """Flip, color, one of the other pieces, and cutout, one after the other.

    Each is applied where the strategy names it; of the others one is drawn for a batch. The result for an image with
    shared parameters does not depend on the rest of the batch.

    Parameters
    ----------
    strategy : str
        Pieces joined by underscores, or ``none``.

    Raises
    ------
    DdbiasError
        Unknown piece.
    """

    def __init__(self, strategy: str) -> None:
        names = DSA(strategy).names
        rest = "_".join(name for name in names if name not in ALWAYS_FIRST + ALWAYS_LAST)
        order = (*(n for n in ALWAYS_FIRST if n in names), rest, *(n for n in ALWAYS_LAST if n in names))
        self.stages = [DSA(stage) for stage in order if stage]

    def __call__(self, images: torch.Tensor, seed: int) -> torch.Tensor:
        """Augment images (B, C, H, W) with parameters that depend on `seed` and the side of the images only."""
        for number, stage in enumerate(self.stages):
            images = stage(images, derive(seed, number) % 2**31)
        return images

    def per_sample(self, images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Augment images (B, C, H, W), each with parameters of its own."""
        for stage in self.stages:
            images = stage.per_sample(images, generator)
        return images
