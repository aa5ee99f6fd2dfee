"""A plain classifier, trained briefly: it learns the bias first (Nam et al., arXiv 2007.02561).

The baseline for the kinds that amplify the bias on purpose. Cost: one pass over the training set in each epoch.
"""

from __future__ import annotations

import torch
from torch import nn

from ddbias.debias.surrogate.classifier import ClassifierObjective

PLUGIN = {
    "surrogate": {
        "cross_entropy": {
            "description": "A plain classifier, trained briefly; the settings are ours.",
            "required": ["network"],
            "options": {
                "network": {"$ref": "#/$defs/surrogate_network"},
                "epochs": {"$ref": "#/$defs/surrogate_epochs"},
                "steps": {"$ref": "#/$defs/surrogate_steps"},
                "batch_size": {"$ref": "#/$defs/classifier_batch"},
                "learning_rate": {"$ref": "#/$defs/surrogate_rate"},
                "momentum": {"$ref": "#/$defs/classifier_momentum"},
                "weight_decay": {"$ref": "#/$defs/classifier_decay"},
                "augment": {"$ref": "#/$defs/classifier_augment"},
                "early_stopping": {"$ref": "#/$defs/surrogate_early_stopping"},
                "check_every": {"$ref": "#/$defs/surrogate_check_every"},
            },
            "gives": ["embedding", "logits"],
        },
    },
}


class Objective(ClassifierObjective):
    """A classifier that is trained with the mean cross-entropy."""

    def loss(self, views: list[torch.Tensor], labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, see `ddbias.debias.surrogate.objective`."""
        return nn.functional.cross_entropy(self.model(views[0]), labels)
