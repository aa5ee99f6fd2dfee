"""The contrastive encoder of SelecMix (Hwang et al., arXiv 2211.02291) that finds its contradicting pairs.

Generalised supervised contrastive learning: SupCon in which the log-probability of a pair is weighted by ``q p^q``, as
the generalised cross-entropy (`generalised_ce`) weights that of a label. Pairs that already lie close, which are the
aligned ones, pull more, so the embedding shows the bias rather than the label.

Differs from SelecMix in using the encoder as the surrogate instead of mixing images with it, in SGD instead of Adam, in
its short training, and in leaving out augmentations of colour. Without augmentation one view is taken: two equal ones
would be the most probable pair of all, and teach nothing.

Cost: as supcon.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ddbias.data.split import Split
from ddbias.debias.surrogate.contrastive import ContrastiveObjective, pair_log_probabilities
from ddbias.learning.augment.dsa import DSA

PLUGIN = {
    "surrogate": {
        "selecmix": {
            "description": (
                "The auxiliary contrastive encoder of SelecMix (arXiv 2211.02291), whose loss amplifies the "
                "bias; SGD and short training are ours."
            ),
            "required": ["network"],
            "options": {
                "network": {"$ref": "#/$defs/surrogate_network"},
                "epochs": {"$ref": "#/$defs/surrogate_epochs"},
                "steps": {"$ref": "#/$defs/surrogate_steps"},
                "batch_size": {
                    "type": "integer",
                    "minimum": 2,
                    "default": 256,
                    "description": "Images a step (SelecMix).",
                },
                "learning_rate": {"$ref": "#/$defs/surrogate_rate"},
                "momentum": {"$ref": "#/$defs/classifier_momentum"},
                "weight_decay": {"$ref": "#/$defs/classifier_decay"},
                "q": {"$ref": "#/$defs/generalised_q"},
                "temperature": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 0.2,
                    "description": "Of the loss (SelecMix).",
                },
                "dimensions": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 128,
                    "description": "Of the projection (SelecMix).",
                },
                "embedding": {"$ref": "#/$defs/surrogate_layer"},
                "augment": {"$ref": "#/$defs/surrogate_views"},
                "early_stopping": {"$ref": "#/$defs/surrogate_early_stopping"},
                "check_every": {"$ref": "#/$defs/surrogate_check_every"},
            },
            "gives": ["embedding"],
            "passes": 2.8,
        },
    },
}


def generalised_supcon_loss(
    features: torch.Tensor,
    labels: torch.Tensor,
    *,
    q: float = 0.7,
    temperature: float = 0.2,
    base_temperature: float = 0.07,
) -> torch.Tensor:
    """Generalised supervised contrastive loss (SelecMix, its auxiliary loss).

    ``-(temperature / base_temperature) mean_i 1/|P(i)| sum_{p in P(i)} q p_ip^q log p_ip``, the weight detached: its
    gradient is that of ``sum (1 - p^q)`` with the same factors. Divided by q it tends to `supcon_loss` for q to 0.

    Parameters
    ----------
    features : Tensor, shape (N, V, D)
        V views of N images, any float dtype; normalised inside.
    labels : Tensor of int, shape (N,)
    q : float
        Above 0; the larger, the more the close pairs count.
    temperature, base_temperature : float
        The loss is scaled by their ratio, as SupCon's.

    Returns
    -------
    Tensor, scalar
        Mean over the anchors, which are all views; an anchor without positives contributes 0.

    Raises
    ------
    ValueError
        If a shape is wrong.
    """
    log_probability, positive = pair_log_probabilities(features, labels, temperature)
    log_probability = log_probability.masked_fill(~positive, 0)
    weight = q * (q * log_probability.detach()).exp()
    per_anchor = -(weight * log_probability).sum(1) / positive.sum(1).clamp(min=1)
    return (temperature / base_temperature) * per_anchor.mean()


class Objective(ContrastiveObjective):
    """The contrastive network under `generalised_supcon_loss`; `settings` has ``q`` and ``temperature``, too."""

    def __init__(self, split: Split, network: Mapping, settings: Mapping, seed: int) -> None:
        super().__init__(split, network, settings, seed)
        self.views = 2 if DSA(settings["augment"]).names else 1

    def loss(self, views: list[torch.Tensor], labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss of the views of a batch, see `ddbias.debias.surrogate.objective`."""
        options = {name: self.settings[name] for name in ("q", "temperature")}
        return generalised_supcon_loss(self.features(views), labels, **options)
