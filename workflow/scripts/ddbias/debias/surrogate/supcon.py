"""Supervised contrastive learning (SupCon) as a surrogate whose embedding shows the bias.

Source: Khosla et al. (arXiv 2004.11362), used as in Cui et al. (arXiv 2406.06609), who do not publish its settings;
those of the config are ours. Differs from the usual recipe: colour jitter and grey, which destroy a colour cue, are
left out. The training is short, because the cue is learnt first and the separation decays later.

Cost: one pass over two views of the training set in each epoch; the loss takes O((B V)^2 D) a step.
"""

from __future__ import annotations

import torch

from ddbias.debias.surrogate.contrastive import ContrastiveObjective, pair_log_probabilities

PLUGIN = {
    "surrogate": {
        "supcon": {
            "description": (
                "Supervised contrastive training (SupCon, arXiv 2004.11362); the settings are ours, none is published."
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
                    "description": "Images in a step, two views of each. Ours.",
                },
                "learning_rate": {"$ref": "#/$defs/surrogate_rate"},
                "momentum": {
                    "type": "number",
                    "minimum": 0,
                    "exclusiveMaximum": 1,
                    "default": 0.9,
                    "description": "Momentum of SGD (SupCon).",
                },
                "weight_decay": {
                    "type": "number",
                    "minimum": 0,
                    "default": 0.0001,
                    "description": "Weight decay of SGD (SupCon).",
                },
                "temperature": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 0.1,
                    "description": "Temperature of the loss (SupCon).",
                },
                "dimensions": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 128,
                    "description": "Dimensions of the projection (SupCon).",
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


def supcon_loss(
    features: torch.Tensor,
    labels: torch.Tensor | None,
    *,
    temperature: float = 0.1,
    base_temperature: float = 0.07,
    mode: str = "all",
) -> torch.Tensor:
    """Supervised contrastive loss (SupCon, equation 2, the sum outside the logarithm).

    Parameters
    ----------
    features : Tensor, shape (N, V, D)
        V views of N images, any float dtype; this function L2-normalises them. Half precision is summed in float32.
    labels : Tensor of int, shape (N,), or None
        None: only the other views of the same image are positives (SimCLR).
    temperature, base_temperature : float
        Above 0; the loss is scaled by their ratio, as in the authors' code.
    mode : {"all", "one"}
        Whether all views or only the first ones are anchors.

    Returns
    -------
    Tensor, scalar
        Mean over the anchors; an anchor without positives contributes 0.

    Raises
    ------
    ValueError
        If a shape or the mode is wrong.

    Examples
    --------
    Four images, one view each: the loss is low if images of a class lie together, and high if not:

    >>> import torch
    >>> from ddbias import supcon_loss
    >>> features = torch.tensor([[[1.0, 0.0]], [[0.8, 0.6]], [[0.0, 1.0]], [[0.0, 1.0]]])
    >>> for labels in ([0, 0, 1, 1], [0, 1, 0, 1]):
    ...     loss = supcon_loss(features, torch.tensor(labels), temperature=0.07, base_temperature=0.07)
    ...     print(round(loss.item(), 3))
    0.029
    8.6
    """
    log_probability, positive = pair_log_probabilities(features, labels, temperature, mode)
    per_anchor = -log_probability.masked_fill(~positive, 0).sum(1) / positive.sum(1).clamp(min=1)  # (A,)
    return (temperature / base_temperature) * per_anchor.mean()


class Objective(ContrastiveObjective):
    """The contrastive network, trained with `supcon_loss`; `settings` also has its ``temperature``."""

    def loss(self, views: list[torch.Tensor], labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss of two views of a batch, see `ddbias.debias.surrogate.objective`."""
        return supcon_loss(self.features(views), labels, temperature=self.settings["temperature"])
