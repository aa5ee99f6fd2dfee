"""Control: real images, drawn in proportion to the debias weights without replacement.

Under `uniform` this is the usual "random" baseline. Under `kde` it separates what the weights do from what the
matching does. Cost: none.
"""

from __future__ import annotations

import torch

from ddbias.base.seeding import stream
from ddbias.distill.selector import Selector

PLUGIN = {
    "distiller": {
        "random": {
            "description": "Control; real images drawn in proportion to the debias weights.",
            "seconds": "0",
            "megabytes": "1",
        },
    },
}


class Selection(Selector):
    """Draws every class by itself."""

    def select(self, ipc: int) -> torch.Tensor:
        """Return the rows (K * ipc,) of the chosen images, class after class."""
        classes = range(self.split.classes)
        return torch.cat([self.side.select(label, ipc, stream(self.seed, "select", label)) for label in classes])
