"""Control: real images that cover their class, each the one farthest from those chosen before.

Source: greedy k-center (Sener and Savarese, "Active learning for convolutional neural networks: a core-set approach",
arXiv 1708.00489, algorithm 1), as dataset condensation compares with it (arXiv 2006.05929); the first centre is the
image nearest to the class mean. The embedding is `ddbias.distill.controls.trained_embedding`.

Greedy k-center has no weights, so the debias selects the candidates: as many as the effective sample size of the
weights, (sum w)^2 / sum w^2 (Kish; at least `ipc`), drawn without replacement in proportion to them. With equal weights
that is the whole class. The mean is the weighted one.
"""

from __future__ import annotations

import torch

from ddbias.base.seeding import stream
from ddbias.debias.real_side import RealSide
from ddbias.distill.controls.trained_embedding import EmbeddedSelector

PLUGIN = {
    "distiller": {
        "kcenter": {
            "description": (
                "Control; real images that cover their class (greedy k-center, arXiv 1708.00489), among "
                "candidates drawn in proportion to the debias weights, as many as their effective sample size; "
                "among all images if the weights are equal."
            ),
            "like": "herding",
        },
    },
}


class Selection(EmbeddedSelector):
    """Chooses by `centres`, out of `candidates`."""

    def choose(self, label: int, features: torch.Tensor, ipc: int) -> torch.Tensor:
        """Return the rows (ipc,) of the chosen images of a class, in the order of choice."""
        members, weights = self.side.classes[label], self.side.weights[label]
        mean = weights @ features / weights.sum()
        drawn = candidates(self.side, label, ipc, self.seed)
        return drawn[centres(features[torch.searchsorted(members, drawn)], mean, ipc)]


def candidates(side: RealSide, label: int, least: int, seed: int, most: int | None = None) -> torch.Tensor:
    """Return the rows of a class (M,), ascending, that may be chosen.

    As many as its weights are worth (equal weights: all of it), at most `most`, and at least `least`.
    """
    members, weights = side.classes[label], side.weights[label]
    worth = len(members) if side.uniform[label] else round(float(weights.sum() ** 2 / weights.square().sum()))
    count = max(least, min(worth, most or worth))
    if count == len(members):
        return members
    return side.select(label, count, stream(seed, "candidates", label)).sort().values


def centres(features: torch.Tensor, mean: torch.Tensor, count: int) -> torch.Tensor:
    """Return which samples greedily cover the others.

    Parameters
    ----------
    features : Tensor of float64, shape (N, D)
    mean : Tensor of float64, shape (D,)
        The first centre is the sample nearest to it.
    count : int
        At most N.

    Returns
    -------
    Tensor of int64, shape (count,)
        All different, even if samples are equal; of equally far samples the first.
    """
    chosen = [int((features - mean).square().sum(1).argmin())]
    nearest = torch.full((len(features),), torch.inf, dtype=features.dtype)
    while len(chosen) < count:
        nearest = torch.minimum(nearest, (features - features[chosen[-1]]).square().sum(1))
        nearest[chosen[-1]] = -1  # below every distance, those to an equal sample too
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)
