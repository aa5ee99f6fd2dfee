"""A classifier trained with the generalised cross-entropy (GCE), which amplifies the bias.

Source: Zhang and Sabuncu (arXiv 1805.07836), as implemented in LfF (Nam et al., arXiv 2007.02561). GCE is
``(1 - p_y^q) / q``. Its gradient is that of the cross-entropy times ``p_y^q``: samples that are already classified
correctly, which are the aligned ones, count more. LfF weights the cross-entropy by ``q p_y^q`` with a detached weight;
the value of this loss differs from GCE, and its gradient is q times that of GCE.

Cost: as cross_entropy.
"""

from __future__ import annotations

import torch
from torch import nn

from ddbias.debias.surrogate.classifier import ClassifierObjective

PLUGIN = {
    "surrogate": {
        "generalised_ce": {
            "description": (
                "A classifier trained with the generalised cross-entropy (GCE, arXiv 1805.07836), which amplifies "
                "the bias; as in LfF."
            ),
            "like": "cross_entropy",
            "options": {"q": {"$ref": "#/$defs/generalised_q"}},
        },
    },
}


def generalised_cross_entropy(logits: torch.Tensor, labels: torch.Tensor, *, q: float = 0.7) -> torch.Tensor:
    """Return the cross-entropy of every sample, weighted by ``q p_y^q``.

    Parameters
    ----------
    logits : Tensor of float, shape (B, K)
    labels : Tensor of int64, shape (B,)
    q : float
        Above 0, at most 1. Towards 0 all samples count alike, as in the cross-entropy; 1 has the gradient of the
        mean absolute error.

    Returns
    -------
    Tensor of float, shape (B,)
    """
    losses = nn.functional.cross_entropy(logits, labels, reduction="none")
    return losses * (q * torch.exp(-q * losses.detach()))


class Objective(ClassifierObjective):
    """A classifier that is trained with the mean of `generalised_cross_entropy`; `settings` has ``q``."""

    def loss(self, views: list[torch.Tensor], labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, see `ddbias.debias.surrogate.objective`."""
        return generalised_cross_entropy(self.model(views[0]), labels, q=self.settings["q"]).mean()
