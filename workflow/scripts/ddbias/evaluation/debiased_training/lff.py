"""Learning from failure (LfF, Nam et al., arXiv 2007.02561): samples on which a biased network fails get more weight.

The biased network is trained with the generalised cross-entropy, the debiased one with the cross-entropy times the
relative difficulty ``W = L_biased / (L_biased + L_debiased)`` (equation 2) of running averages of both losses, each
divided by the largest of its class; see `ddbias.debias.surrogate.lff`, whose parts are used. Predictions are the
debiased network's. Trained with Adam, as published: under SGD the biased network, whose loss has a weight of .14 at
chance (ten classes), would learn later than the debiased one, and the weights would say nothing when it matters.
Differs from LfF in the evaluation's augmentation and number of epochs.

Cost: two networks, and O(N) numbers a step.
"""

from __future__ import annotations

import torch
from torch import nn

from ddbias.debias.surrogate.generalised_ce import generalised_cross_entropy
from ddbias.debias.surrogate.lff import AveragedLosses, relative_difficulty
from ddbias.evaluation.debiased_training import learner

PLUGIN = {
    "debiasing": {
        "lff": {
            "passes": 3.0,
            "description": (
                "Learning from failure (LfF, arXiv 2007.02561): a second network that is biased on purpose; the"
                " samples at which it fails count more. With Adam, as published."
            ),
            "options": {
                "q": {"$ref": "#/$defs/debiasing_q"},
                "decay": {"$ref": "#/$defs/debiasing_decay"},
                "learning_rate": {"$ref": "#/$defs/debiasing_rate"},
            },
        }
    }
}


class Difficulty:
    """Relative difficulty of samples as two classifiers learn.

    Parameters
    ----------
    labels : Tensor of int64, shape (N,)
    classes : int
    decay : float
        Of the running averages, 0..1.
    """

    def __init__(self, labels: torch.Tensor, classes: int, decay: float) -> None:
        self.biased, self.debiased = (AveragedLosses(labels, classes, decay) for _ in range(2))

    def update(self, rows: torch.Tensor, biased: torch.Tensor, debiased: torch.Tensor) -> torch.Tensor:
        """Update with the losses (B,) of samples `rows` (B,); return their relative difficulty (B,), 0..1, detached."""
        return relative_difficulty(
            self.biased.update(rows, biased.detach()), self.debiased.update(rows, debiased.detach())
        )


class Learner(learner.Learner):
    """A biased and a debiased network.

    Parameters
    ----------
    build, labels, classes, steps, seed
        See `ddbias.evaluation.debiased_training.model_and_loss`; nothing here is random beyond the networks.
    q : float
        Of the generalised cross-entropy, 0..1.
    decay : float
        Of the running averages, 0..1.
    learning_rate : float
        Of Adam.
    """

    def __init__(
        self,
        build: learner.Build,
        labels: torch.Tensor,
        *,
        classes: int,
        steps: int,
        seed: int,
        q: float = 0.7,
        decay: float = 0.7,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        self.adam = learning_rate
        self.debiased, self.biased = build(), build("biased")
        self.q, self.difficulty = q, Difficulty(labels, classes, decay)

    def loss(self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the sum of the losses of both networks."""
        logits = self.biased(images)
        biased = nn.functional.cross_entropy(logits, labels, reduction="none")
        debiased = nn.functional.cross_entropy(self.debiased(images), labels, reduction="none")
        weights = self.difficulty.update(rows, biased, debiased)
        return generalised_cross_entropy(logits, labels, q=self.q).mean() + (weights * debiased).mean()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of the debiased network."""
        return self.debiased(images)
