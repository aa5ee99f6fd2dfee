"""The auxiliary contrastive encoder of SelecMix, with which the paper selects pairs of contradicting samples.

Source: Hwang et al. (arXiv 2211.02291), generalised supervised contrastive learning. It is SupCon with the
log-probability of each pair weighted by ``q p^q``, as the generalised cross-entropy (`generalised_ce`) weights that of
a label. Pairs that are already close, mostly aligned ones, are pulled together more strongly. So the embedding shows
the bias rather than the label.

Differs from SelecMix: the encoder is the surrogate, no images are mixed with it; SGD instead of Adam; short training;
no colour augmentations; the factor temperature / 0.07 of `supcon` before the loss, with which SGD learns 2.9 times as
fast. Without augmentation one view is taken, because two equal views would be the most probable
pair and teach nothing.

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
                    "description": "Images in a step (SelecMix).",
                },
                "learning_rate": {"$ref": "#/$defs/surrogate_rate"},
                "momentum": {"$ref": "#/$defs/classifier_momentum"},
                "weight_decay": {"$ref": "#/$defs/classifier_decay"},
                "q": {"$ref": "#/$defs/generalised_q"},
                "temperature": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 0.2,
                    "description": "Temperature of the loss (SelecMix).",
                },
                "dimensions": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 128,
                    "description": "Dimensions of the projection (SelecMix).",
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
    """Generalised supervised contrastive loss (SelecMix, its auxiliary loss, which has no factor before the mean).

    ``-(temperature / base_temperature) mean_i 1/|P(i)| sum_{p in P(i)} q p_ip^q log p_ip`` with the weight ``q p_ip^q``
    detached. Its gradient is that of ``sum (1 - p^q)`` with the same factors. Divided by q, the loss tends to
    `supcon_loss` as q tends to 0.

    Parameters
    ----------
    features : Tensor, shape (N, V, D)
        V views of N images, any float dtype; this function L2-normalises them.
    labels : Tensor of int, shape (N,)
    q : float
        Above 0; the larger, the more close pairs count.
    temperature, base_temperature : float
        Above 0; the loss is scaled by their ratio, as in SupCon.

    Returns
    -------
    Tensor, scalar
        Mean over all views as anchors; an anchor without positives contributes 0.

    Raises
    ------
    ValueError
        If a shape is wrong.
    """
    log_probability, positive = pair_log_probabilities(features, labels, temperature)
    log_probability = log_probability.masked_fill(~positive, 0)
    weight = q * (q * log_probability.detach()).exp()  # (A, N V)
    per_anchor = -(weight * log_probability).sum(1) / positive.sum(1).clamp(min=1)  # (A,)
    return (temperature / base_temperature) * per_anchor.mean()


class Objective(ContrastiveObjective):
    """The contrastive network, trained with `generalised_supcon_loss`; `settings` has its ``q`` and ``temperature``."""

    def __init__(self, split: Split, network: Mapping, settings: Mapping, seed: int) -> None:
        super().__init__(split, network, settings, seed)
        self.views = 2 if DSA(settings["augment"]).names else 1

    def loss(self, views: list[torch.Tensor], labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss of the views of a batch, see `ddbias.debias.surrogate.objective`."""
        options = {name: self.settings[name] for name in ("q", "temperature")}
        return generalised_supcon_loss(self.features(views), labels, **options)
