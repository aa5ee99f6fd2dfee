"""SelecMix (Hwang et al., arXiv 2211.02291): every image is mixed with one that contradicts the bias.

In the embedding of a contrastive network, which is trained along and shows the bias rather than the label, a pair
contradicts the bias when it has one label and lies far apart (contradicting positives) or two labels and lies close
(contradicting negatives). A fair coin chooses for a batch which of both is taken. The mixture
``s x + (1 - s) x_partner`` with ``s = u / 2``, ``u ~ Beta(1, 1)``, is mostly the partner and has its label. The main
network sees mixtures only, as in the paper's combination with plain training.

Differs from SelecMix in the recipe of the evaluation (SGD for both networks instead of Adam, and its augmentation), in
an encoder like the main network instead of a ResNet18, in looking for partners among the images of one step (there four
steps' worth), and in never taking a partner of the same label for a negative: an image without partner stays as it is.

Cost: two networks, and the similarities of a batch, O(B^2).
"""

from __future__ import annotations

import torch
from torch import nn

from ddbias.base.seeding import derive, stream
from ddbias.debias.surrogate.contrastive import ContrastiveNetwork
from ddbias.debias.surrogate.selecmix import generalised_supcon_loss
from ddbias.evaluation.debiased_training import learner

PLUGIN = {
    "debiasing": {
        "selecmix": {
            "passes": 3.0,
            "description": (
                "SelecMix (arXiv 2211.02291): every image is mixed with one that contradicts the bias, found by"
                " a contrastive network. By the recipe of the evaluation, where SelecMix uses Adam."
            ),
            "options": {
                "q": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "maximum": 1,
                    "default": 0.7,
                    "description": "Exponent of the generalised contrastive loss (SelecMix; 0.7).",
                },
                "temperature": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 0.2,
                    "description": "Of the contrastive loss (SelecMix; 0.2).",
                },
                "dimensions": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 128,
                    "description": "Of the contrastive network's projection (SelecMix; 128).",
                },
            },
        },
    },
}


def contradicting_positives(similarity: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return for every sample the least similar one with its label, shape (B,); itself where it has no other.

    Parameters
    ----------
    similarity : Tensor of float, shape (B, B)
    labels : Tensor of int, shape (B,)
    """
    return _chosen(similarity, (labels[:, None] == labels) & ~_itself(labels), largest=False)


def contradicting_negatives(similarity: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return for every sample the most similar one with another label, shape (B,); itself where there is none.

    Parameters are as for `contradicting_positives`.
    """
    return _chosen(similarity, labels[:, None] != labels, largest=True)


def mix(images: torch.Tensor, partners: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
    """Return ``share * image + (1 - share) * partner`` for images (B, C, H, W), partners (B,) int64 and shares (B,)."""
    share = share.to(images.device, images.dtype)[:, None, None, None]
    return share * images + (1 - share) * images[partners]


def _itself(labels: torch.Tensor) -> torch.Tensor:
    return torch.eye(len(labels), dtype=torch.bool, device=labels.device)


def _chosen(similarity: torch.Tensor, candidates: torch.Tensor, *, largest: bool) -> torch.Tensor:
    worst = -torch.inf if largest else torch.inf
    masked = similarity.masked_fill(~candidates, worst)
    found = masked.argmax(1) if largest else masked.argmin(1)
    return torch.where(candidates.any(1), found, torch.arange(len(similarity), device=similarity.device))


class Learner(learner.Learner):
    """The main network, and the contrastive one that finds the pairs.

    Parameters
    ----------
    build, labels, classes, steps, seed
        See `ddbias.evaluation.debiased_training.model_and_loss`; `seed` draws the coins and the shares.
    q, temperature : float
        Of the contrastive loss, see `ddbias.debias.surrogate.selecmix`.
    dimensions : int
        Of the contrastive network's projection.
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
        temperature: float = 0.2,
        dimensions: int = 128,
    ) -> None:
        super().__init__()
        self.main = build()
        contrastive = ContrastiveNetwork(learner.encoder(build("contrastive")), dimensions, derive(seed, "contrastive"))
        self.contrastive = contrastive.to(labels.device)
        self.generator = stream(seed, "mixing")
        self.q, self.temperature = q, temperature

    def loss(self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of the mixtures with their partners' labels, plus the contrastive loss."""
        features = self.contrastive(images)
        mixed, targets = self.mixtures(images, labels, (features @ features.T).detach())
        return nn.functional.cross_entropy(self.main(mixed), targets) + self._contrastive_loss(features, labels)

    def mixtures(
        self, images: torch.Tensor, labels: torch.Tensor, similarity: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mixtures (B, C, H, W) and their labels (B,), with partners drawn by their similarity (B, B)."""
        positives = torch.rand(1, generator=self.generator).item() > 0.5
        partners = (contradicting_positives if positives else contradicting_negatives)(similarity, labels)
        share = torch.rand(len(images), generator=self.generator) / 2
        return mix(images, partners, share), labels[partners]

    def _contrastive_loss(self, features: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if len(features) < 2:  # no pair: no probability of one, either
            return 0 * features.sum()
        # A base temperature of the same size leaves out a factor that means nothing to the published Adam.
        temperatures = {"temperature": self.temperature, "base_temperature": self.temperature}
        return generalised_supcon_loss(features[:, None], labels, q=self.q, **temperatures)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of the main network."""
        return self.main(images)
