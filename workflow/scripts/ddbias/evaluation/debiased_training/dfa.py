"""Disentangled feature augmentation (DFA, Lee et al., arXiv 2107.01372): bias features are swapped between images.

Two encoders, for what makes the class and for the bias, and two linear classifiers that both see the features of both,
``z = [z_i; z_b]``. The biased classifier learns with the generalised cross-entropy, the debiased one with the
cross-entropy times the relative difficulty (equation 1, as in LfF with running averages); neither changes the other's
encoder. After a part of the training ``z_b`` is also permuted within the batch: the debiased classifier then still has
to say the label of ``z_i``, with its weight, the biased one that of the permuted ``z_b`` (equation 3). Predictions are
the debiased classifier's with the image's own ``z_b``.

Trained with Adam, as published and for the reason that `lff` names. Differs from DFA in the evaluation's augmentation
and number of epochs, and in one constant learning rate (its scripts' differ by data set and fall after the swap began;
`debiasing_rate` has them). Under Adam a common factor of the biased losses changes nothing, so the published 10 stands
for no more than the 1 here.

Cost: two networks; the swap costs two linear layers.
"""

from __future__ import annotations

import torch
from torch import nn

from ddbias.base.seeding import stream
from ddbias.debias.surrogate.generalised_ce import generalised_cross_entropy
from ddbias.evaluation.debiased_training import learner
from ddbias.evaluation.debiased_training.lff import Difficulty
from ddbias.learning import networks

PLUGIN = {
    "debiasing": {
        "dfa": {
            "passes": 3.0,
            "description": (
                "Disentangled feature augmentation (DFA, arXiv 2107.01372): LfF with two encoders whose "
                "features are swapped between images. With Adam, as published."
            ),
            "options": {
                "q": {"$ref": "#/$defs/debiasing_q"},
                "decay": {"$ref": "#/$defs/debiasing_decay"},
                "learning_rate": {"$ref": "#/$defs/debiasing_rate"},
                "bias_weight": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 1,
                    "description": (
                        "Of the biased head's loss, with and without swapping (DFA; 1 to 10, which makes no "
                        "difference under Adam)."
                    ),
                },
                "swap_weight": {
                    "type": "number",
                    "minimum": 0,
                    "default": 1,
                    "description": "Of the losses of swapped features (DFA; 1, BFFHQ 0.1).",
                },
                "swap_after": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": 1,
                    "default": 0.2,
                    "description": ("Share of the training before features are swapped (DFA; 10,000 of 50,000 steps)."),
                },
            },
        },
    },
}


class Learner(learner.Learner):
    """Two encoders and two classifiers.

    Parameters
    ----------
    build, labels, classes, steps, seed
        See `ddbias.evaluation.debiased_training.model_and_loss`; `seed` draws the classifiers' first weights and the
        swaps.
    q : float
        Of the generalised cross-entropy, 0..1.
    decay : float
        Of the running averages, 0..1.
    bias_weight : float
        Of the biased classifier's losses (lambda_dis and lambda_swap_b).
    swap_weight : float
        Of the losses of swapped features (lambda_swap).
    swap_after : float
        Share of the steps without swaps, 0..1.
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
        bias_weight: float = 1.0,
        swap_weight: float = 1.0,
        swap_after: float = 0.2,
        learning_rate: float = 1e-3,
    ) -> None:
        super().__init__()
        self.adam = learning_rate
        self.intrinsic, self.bias = (learner.encoder(build(*names)) for names in ((), ("biased",)))
        size = self.intrinsic.embedding_size + self.bias.embedding_size
        heads = networks.construct(
            lambda: nn.ModuleDict({name: nn.Linear(size, classes) for name in ("debiased", "biased")})
        )
        networks.reset(heads, stream(seed, "heads"))
        self.heads = heads.to(labels.device)
        self.difficulty, self.generator = Difficulty(labels, classes, decay), stream(seed, "swaps")
        self.q, self.bias_weight, self.swap_weight = q, bias_weight, swap_weight
        self.calm, self.done = round(swap_after * steps), 0  # steps before the first swap, and so far

    def loss(self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the losses of both classifiers, with swapped features too once it is time (equation 4)."""
        intrinsic, bias = self.intrinsic.embed(images), self.bias.embed(images)
        debiased, biased = self.logits(intrinsic, bias)
        failed = nn.functional.cross_entropy(biased, labels, reduction="none")
        missed = nn.functional.cross_entropy(debiased, labels, reduction="none")
        weights = self.difficulty.update(rows, failed, missed)
        total = self._weighed(debiased, labels, biased, labels, weights)
        if self.done >= self.calm:
            partners = torch.randperm(len(labels), generator=self.generator).to(labels.device)
            debiased, biased = self.logits(intrinsic, bias[partners])
            total = total + self.swap_weight * self._weighed(debiased, labels, biased, labels[partners], weights)
        self.done += 1
        return total

    def logits(self, intrinsic: torch.Tensor, bias: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits (B, K) of the debiased and of the biased classifier; each moves its own encoder only.

        Parameters
        ----------
        intrinsic, bias : Tensor of float, shape (B, D)
            Features of both encoders, of the same images or of others.
        """
        debiased = self.heads["debiased"](torch.cat([intrinsic, bias.detach()], 1))
        return debiased, self.heads["biased"](torch.cat([intrinsic.detach(), bias], 1))

    def _weighed(
        self,
        debiased: torch.Tensor,
        labels: torch.Tensor,
        biased: torch.Tensor,
        bias_labels: torch.Tensor,
        weights: torch.Tensor,
    ) -> torch.Tensor:
        """Return ``mean(W CE(debiased, labels)) + bias_weight mean(GCE(biased, bias_labels))`` (equations 2 and 3)."""
        losses = weights * nn.functional.cross_entropy(debiased, labels, reduction="none")
        return losses.mean() + self.bias_weight * generalised_cross_entropy(biased, bias_labels, q=self.q).mean()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of the debiased classifier."""
        return self.logits(self.intrinsic.embed(images), self.bias.embed(images))[0]
