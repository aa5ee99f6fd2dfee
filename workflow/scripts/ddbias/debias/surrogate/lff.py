"""Learning from failure (LfF): a biased network, and a debiased one that learns from the errors of the first.

Source: Nam et al. (arXiv 2007.02561). The biased network is trained with the generalised cross-entropy. The
cross-entropies of both networks are averaged over the steps at which a sample was in the batch, and divided by the
largest average of the class. They give the relative difficulty ``W = L_biased / (L_biased + L_debiased)``, which
weights the cross-entropy of the debiased network.

The surrogate stores embedding and logits of the biased network, and the relative difficulty of every sample. The stored
difficulty is computed from the cross-entropies of the trained networks on un-augmented images, divided by the largest
of the class. The running averages would not do: in a training of less than an epoch most samples have none.

Differs from LfF in SGD instead of Adam, in its short training and in having no augmentation.

Fails when stopped too early: until the biased network has learnt the bias, the difficulty has no use or is even
reversed. Under SGD the generalised loss delays that, since its weight at chance is .14 (ten classes). On 12,000 images
of coloured MNIST (ratio 0.95, SGD at 0.05, batches of 256) its AUC against the attribute is .02 after 12 steps, .47
after 36, .95 after 42 and .88 after 120. The biased network's loss alone has .80, .99, .99 and .98.

Cost: twice that of generalised_ce, and O(N) operations a step.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ddbias.data.split import Split
from ddbias.debias.surrogate.classifier import read_classifier
from ddbias.debias.surrogate.generalised_ce import generalised_cross_entropy
from ddbias.debias.surrogate.objective import Objective as Base
from ddbias.debias.surrogate.objective import build_encoder

PLUGIN = {
    "surrogate": {
        "lff": {
            "description": (
                "Learning from failure (LfF, arXiv 2007.02561): a biased and a debiased classifier. Gives the "
                "relative difficulty, which means nothing before some 50 steps; SGD and short training are ours."
            ),
            "like": "generalised_ce",
            "options": {
                "decay": {
                    "type": "number",
                    "minimum": 0,
                    "exclusiveMaximum": 1,
                    "default": 0.7,
                    "description": "Of the moving average of each sample's loss (LfF; alpha = 0.7).",
                },
            },
            "gives": ["embedding", "logits", "difficulty"],
            "passes": 2.0,
        },
    },
}

EPSILON = 1e-8  # as published; avoids 0 / 0 where both losses are 0


class AveragedLosses:
    """Exponential moving average of the loss of every sample, relative to the largest average of its class.

    The first loss of a sample is its average; a later loss enters the average with the factor ``1 - decay``.

    Parameters
    ----------
    labels : Tensor of int64, shape (N,)
    classes : int
    decay : float
        0 <= decay < 1 (LfF: alpha = 0.7).
    """

    def __init__(self, labels: torch.Tensor, classes: int, decay: float) -> None:
        self.labels, self.classes, self.decay = labels, classes, decay
        self.values = torch.zeros(len(labels), device=labels.device)  # 0 for samples without a loss so far
        self.seen = torch.zeros(len(labels), dtype=torch.bool, device=labels.device)

    def update(self, rows: torch.Tensor, losses: torch.Tensor) -> torch.Tensor:
        """Add losses (B,) of the samples `rows` (B,), which differ; return their relative averages (B,), 0..1."""
        kept = torch.where(self.seen[rows], self.decay * self.values[rows] + (1 - self.decay) * losses, losses)  # (B,)
        self.values[rows] = kept
        self.seen[rows] = True
        return kept / class_maxima(self.values, self.labels, self.classes)[self.labels[rows]]


def class_maxima(losses: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Return the largest loss of every class (K,), at least `EPSILON`, of losses (N,) that are not negative."""
    return losses.new_full((classes,), EPSILON).scatter_reduce(0, labels, losses, "amax")


def relative_difficulty(biased: torch.Tensor, debiased: torch.Tensor) -> torch.Tensor:
    """Return ``L_biased / (L_biased + L_debiased)``, 0..1, of losses (equal shapes) relative to their class."""
    return biased / (biased + debiased + EPSILON)


class Objective(Base):
    """A biased and a debiased classifier, trained together.

    Parameters
    ----------
    split : Split
        Labels are used, attributes are not.
    network : mapping
        ``kind`` and options of both networks.
    settings : mapping
        ``q`` of the generalised cross-entropy, ``decay`` of the averages.
    seed : int
        The initial weights of the biased network are those of the other classifying kinds with this seed.
    """

    def __init__(self, split: Split, network: Mapping, settings: Mapping, seed: int) -> None:
        self.settings, self.split = settings, split
        biased = build_encoder(split, network, seed, "encoder")
        debiased = build_encoder(split, network, seed, "encoder", "debiased")
        self.model = nn.ModuleDict({"biased": biased, "debiased": debiased})
        self._remember(torch.device("cpu"))

    def _remember(self, device: torch.device) -> None:
        labels = torch.tensor(self.split.labels, device=device)
        self.averages = {
            name: AveragedLosses(labels, self.split.classes, self.settings["decay"]) for name in self.model
        }

    def to(self, device: torch.device) -> Objective:
        """Move the networks to a device, and reset the averages."""
        self._remember(device)
        return super().to(device)

    def loss(self, views: list[torch.Tensor], labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the sum of the losses of both networks, see `ddbias.debias.surrogate.objective`."""
        logits = {name: network(views[0]) for name, network in self.model.items()}  # each (B, K)
        losses = {
            name: nn.functional.cross_entropy(values, labels, reduction="none") for name, values in logits.items()
        }
        relative = {name: self.averages[name].update(rows, values.detach()) for name, values in losses.items()}
        weights = relative_difficulty(relative["biased"], relative["debiased"])  # (B,)
        biased = generalised_cross_entropy(logits["biased"], labels, q=self.settings["q"])
        return biased.mean() + (weights * losses["debiased"]).mean()

    def read(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return ``embedding`` and ``logits`` of the biased network, and ``debiased_logits`` (B, K) of the other."""
        read = read_classifier(self.model["biased"], images)
        return {**read, "debiased_logits": self.model["debiased"](images)}

    def columns(self, read: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return embedding and logits of the biased network, and the ``difficulty`` (N,), 0..1, of every sample."""
        targets = torch.tensor(labels)
        relative = []
        for name in ("logits", "debiased_logits"):
            losses = nn.functional.cross_entropy(torch.from_numpy(read[name]), targets, reduction="none")
            relative.append(losses / class_maxima(losses, targets, self.split.classes)[targets])
        kept = {name: values for name, values in read.items() if name != "debiased_logits"}
        return {**kept, "difficulty": relative_difficulty(*relative).numpy()}

    def memory(self) -> dict[str, torch.Tensor]:
        """Return the averages of both networks, and which samples have one."""
        tensors = {}
        for name, average in self.averages.items():
            tensors |= {f"{name}.values": average.values, f"{name}.seen": average.seen}
        return tensors
