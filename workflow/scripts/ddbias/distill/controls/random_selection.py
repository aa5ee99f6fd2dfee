"""Control: real images, drawn in proportion to the debias weights without replacement.

Under `uniform` this is the usual "random" baseline. Under `kde` it separates what the weights do from what the
matching does. Cost: none.
"""

from __future__ import annotations

import torch

from ddbias.base.seeding import stream
from ddbias.data.split import Split
from ddbias.debias.real_side import RealSide

PLUGIN = {
    "distiller": {
        "random": {
            "description": "Control; real images drawn in proportion to the debias weights.",
            "seconds": "0",
            "megabytes": "1",
        },
    },
}


def select(split: Split, side: RealSide, ipc: int, seed: int, **_) -> torch.Tensor:
    """Return the rows (K * ipc,) of the chosen images, class after class."""
    rows = [side.select(label, ipc, stream(seed, "select", label)) for label in range(split.classes)]
    return torch.cat(rows)
