"""Keeping the surrogate of the step at which conflicting samples stand out most, without attribute labels.

The criterion is `ddbias.debias.surrogate.separation`.

Cost: a forward pass over up to 4,096 images, and the separation of their embeddings, every `check_every` steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from ddbias.base.seeding import stream
from ddbias.data.split import Split
from ddbias.debias.surrogate.embeddings import embed
from ddbias.debias.surrogate.objective import Objective
from ddbias.debias.surrogate.separation import margins, separation
from ddbias.debias.weights.density import kde_density
from ddbias.debias.weights.inverse_density import density_weights
from ddbias.debias.weights.ranking import auc

# Of the weights that give the history's conflicting_share; as in studies/cui2024_main.yaml.
KERNEL = {"variance": 0.02}
CLIP = 0.01
IMAGES = 4096  # measured at most: the same ones each time, drawn from the training split


class BestState:
    """Measures the separation during training, and remembers the network with the largest one.

    Parameters
    ----------
    objective : Objective
    split : Split
        Labels decide. Attributes, where known, only give the history's AUC and conflicting share.
    settings : mapping
        ``check_every`` (steps between two measurements).
    seed : int
        Draws the images that are measured.
    device : device
    """

    def __init__(self, objective: Objective, split: Split, settings: Mapping, seed: int, device: torch.device) -> None:
        self.objective, self.every, self.device = objective, settings["check_every"], device
        rows = torch.randperm(len(split), generator=stream(seed, "separation"))[:IMAGES].sort().values.numpy()
        attributes = None if split.attributes is None else split.attributes[rows]
        self.part = replace(
            split, images=split.images[rows], labels=split.labels[rows], attributes=attributes, index=split.index[rows]
        )
        self.separation = -math.inf
        self.tensors: dict[str, torch.Tensor] = {}

    def check(self, step: int, history: torch.Tensor) -> None:
        """Measure every `check_every` steps and after the last one; remember the network if it is the best so far.

        Parameters
        ----------
        step : int
            From 0.
        history : Tensor of float64, shape (steps, 4)
            The columns are loss, separation, AUC and conflicting share. The AUC is that of minus the margins against
            conflicting; the share is that of the total density weight on conflicting samples. This function fills in
            the last three.
        """
        if (step + 1) % self.every and step + 1 < len(history):
            return
        embeddings = embed(self.objective, self.part, device=self.device)["embedding"]
        found = margins(embeddings, self.part.labels)
        history[step, 1], history[step, 2] = separation(found, self.part.labels), _auc(-found, self.part.conflicting)
        history[step, 3] = _conflicting_share(embeddings, self.part)
        if history[step, 1] > self.separation:
            self.separation = history[step, 1].item()
            self.tensors = {name: value.detach().clone() for name, value in self.objective.model.state_dict().items()}

    def take_up(self) -> None:
        """Load the remembered state into the network."""
        self.objective.model.load_state_dict(self.tensors)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the best separation and its network's state; all names begin with ``best.``."""
        tensors = {f"best.model.{name}": value for name, value in self.tensors.items()}
        return {"best.separation": torch.tensor(self.separation, dtype=torch.float64), **tensors}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load what `state_dict` returned; other keys of `state` are ignored."""
        prefix = "best.model."
        self.separation = state["best.separation"].item()
        self.tensors = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _auc(scores: np.ndarray, conflicting: np.ndarray | None) -> float:
    """Return the AUC, 0..1, of scores (N,) for the conflicting samples; NaN if attributes are unknown."""
    if conflicting is None or conflicting.all() or not conflicting.any():
        return math.nan
    return auc(scores, conflicting)


def _conflicting_share(embeddings: np.ndarray, split: Split) -> float:
    """Return the share of the total density weight on conflicting samples, 0..1; NaN if attributes are unknown."""
    if split.conflicting is None:
        return math.nan
    density = kde_density(embeddings, split.labels, **KERNEL)
    weights = density_weights(density, split.labels, clip=CLIP)
    return float(weights[split.conflicting].sum() / weights.sum())
