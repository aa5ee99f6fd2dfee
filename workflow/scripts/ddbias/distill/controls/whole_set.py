"""Control: the whole training set, under the same evaluation for a stated number of steps.

Nothing is copied: the distilled set holds the rows of the training split, not images. Cost: none.
"""

from __future__ import annotations

import torch

from ddbias.data.split import Split
from ddbias.debias.real_side import RealSide

STORES_IMAGES = False


def select(split: Split, side: RealSide, ipc: str, seed: int, **_) -> torch.Tensor:
    """Return all rows (N,) of the split in their order."""
    return torch.arange(len(split))
