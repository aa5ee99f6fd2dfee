"""A plain classifier, trained shortly: what it learns first is the bias (Nam et al., arXiv 2007.02561).

The control for the kinds that amplify the bias on purpose. Cost: one pass over the training set an epoch.
"""

from __future__ import annotations

import torch
from torch import nn

from ddbias.debias.surrogate.classifier import ClassifierObjective


class Objective(ClassifierObjective):
    """A classifier under the mean cross-entropy."""

    def loss(self, views: list[torch.Tensor], labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, see `ddbias.debias.surrogate.objective`."""
        return nn.functional.cross_entropy(self.model(views[0]), labels)
