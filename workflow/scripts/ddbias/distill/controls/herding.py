"""Control: real images whose mean embedding follows the class mean, chosen one after the other.

Source: herding (Welling, "Herding dynamical weights to learn", 2009), in the form of iCaRL (Rebuffi et al., arXiv
1611.07725, algorithm 4), as dataset condensation compares with it (arXiv 2006.05929): image k of a class is the
remaining one with the smallest |k mu - (sum of the chosen) - phi(x)|. Under a debias, mu is the *weighted* class mean:
the same target that a matching distiller has. The embedding is `ddbias.distill.controls.trained_embedding`.
"""

from __future__ import annotations

import torch

from ddbias.distill.controls.trained_embedding import EmbeddedSelector

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


class Selection(EmbeddedSelector):
    """Chooses by `herd`."""

    def choose(self, label: int, features: torch.Tensor, ipc: int) -> torch.Tensor:
        """Return the rows (ipc,) of the chosen images of a class, in the order of choice."""
        return self.side.classes[label][herd(features, self.side.weights[label], ipc)]


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
