"""Control: the whole training set, under the same evaluation for a stated number of steps.

Nothing is copied: the distilled set holds the rows of the training split, not images. Cost: none.
"""

from __future__ import annotations

import torch

from ddbias.distill.selector import Selector

PLUGIN = {
    "distiller": {
        "whole": {
            "seconds": "0",
            "megabytes": "1",
            "description": (
                "Control; the whole training set, on which an evaluation trains for a number of steps instead "
                "of epochs."
            ),
            "options": {
                "steps": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "default": None,
                    "x-scale": "epochs",
                    "description": (
                        "Optimiser steps of every evaluation of this one; null: the evaluation's `whole_steps`."
                        " A bias is learnt first, so the loss of the whole set to it, and with it an amplification,"
                        " depends on their number. Ours."
                    ),
                },
            },
        },
    },
}


class Selection(Selector):
    """Takes every image."""

    stores_images = False

    def select(self, ipc: str) -> torch.Tensor:
        """Return all rows (N,) of the split in their order."""
        return torch.arange(len(self.split))
