"""Control: real images whose mean embedding follows the class mean, chosen one after the other.

Source: herding (Welling, "Herding dynamical weights to learn", 2009), in the form of iCaRL (Rebuffi et al., arXiv
1611.07725, algorithm 4), as dataset condensation compares with it (arXiv 2006.05929): image k of a class is the
remaining one with the smallest |k mu - (sum of the chosen) - phi(x)|. Under a debias, mu is the *weighted* class mean:
the same target that a matching distiller has. The embedding is `ddbias.distill.controls.trained_embedding`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ddbias.data.split import Split
from ddbias.debias.real_side import RealSide
from ddbias.distill.controls.trained_embedding import trained_embedding

PLUGIN = {
    "distiller": {
        "herding": {
            "description": (
                "Control; real images whose mean embedding follows the class mean, weighted by the debias "
                "(iCaRL, arXiv 1611.07725)."
            ),
            "required": ["network"],
            "seconds": "0",
            "seconds_once": "network * train * (epochs + 0.4)",
            "options": {
                "network": {
                    "type": "string",
                    "description": "Name under `networks`; trained on the real images, it embeds them.",
                },
                "epochs": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 20,
                    "x-scale": "epochs",
                    "description": "Nominal epochs of that training, as under `evaluations`. Ours.",
                },
                "batch_size": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 256,
                    "description": "Images a step (DC; 256).",
                },
                "learning_rate": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 0.01,
                    "description": "Of its SGD (DC; 0.01).",
                },
            },
        },
    },
}


def select(
    split: Split,
    side: RealSide,
    ipc: int,
    seed: int,
    *,
    settings: Mapping,
    network: Mapping,
    device: torch.device,
) -> torch.Tensor:
    """Return the rows (K * ipc,) of the chosen images, class after class, each in the order of choice."""
    embed = trained_embedding(split, settings=settings, network=network, seed=seed, device=device)
    rows = [
        members[herd(embed(members), weights, ipc)] for members, weights in zip(side.classes, side.weights, strict=True)
    ]
    return torch.cat(rows)


def herd(features: torch.Tensor, weights: torch.Tensor, count: int) -> torch.Tensor:
    """Return which samples greedily bring the mean of the chosen closest to the weighted mean.

    Parameters
    ----------
    features : Tensor of float64, shape (N, D)
    weights : Tensor of float64, shape (N,)
        Not negative; only ratios matter.
    count : int
        At most N.

    Returns
    -------
    Tensor of int64, shape (count,)
        All different; of equally good samples the first.
    """
    mean = weights @ features / weights.sum()
    free = torch.ones(len(features), dtype=torch.bool)
    total, chosen = torch.zeros_like(mean), []
    for k in range(1, count + 1):
        distance = (features - (k * mean - total)).square().sum(1)
        best = int(distance.where(free, torch.inf).argmin())
        free[best] = False
        total = total + features[best]
        chosen.append(best)
    return torch.tensor(chosen)
