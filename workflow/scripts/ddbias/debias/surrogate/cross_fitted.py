"""Classifiers under the generalised cross-entropy that never saw the samples which they are asked about. Ours.

The training split is divided at random into folds; the classifier of a fold is trained on all others and predicts its
own. So a sample is contradicted for what it looks like, not for want of having been learnt, and how long the training
takes hardly matters: a classifier that was trained for long knows the labels of *its* samples by heart, not of those.
The loss is that of `ddbias.debias.surrogate.generalised_ce` (GCE, arXiv 1805.07836, as in LfF, arXiv 2007.02561), under
which what is predicted already counts most. Images are averaged down (`ddbias.debias.coarse`).

Looked at are three moments, after a quarter, half and all of the steps: where many samples conflict, a long training
learns their class after all. Of each the column ``predictions`` has the class that is predicted, ``excluded`` 1 where
the label is excluded; a debias takes the clearest moment (`ddbias.debias.evidence.clearest`). On 8,000 images of
coloured MNIST, 5 % of them conflicting, 78 to 85 % of these are contradicted and 59 to 63 % have their label excluded
at the three moments, and 89 to 95 % of the contradicted ones and all of the excluded ones are such; with 20 %
conflicting samples 80 steps find 68 % of them, 320 steps 13 %.

Cost: with two folds that of generalised_ce on small images, and three passes over the split for each fold.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ddbias.base.seeding import derive, stream
from ddbias.data.split import Split
from ddbias.debias.coarse import coarse, factor
from ddbias.debias.evidence import excluded
from ddbias.debias.surrogate.classifier import read_classifier
from ddbias.debias.surrogate.generalised_ce import generalised_cross_entropy
from ddbias.debias.surrogate.objective import Objective as Base
from ddbias.debias.surrogate.objective import total_steps
from ddbias.learning import networks

PLUGIN = {
    "surrogate": {
        "cross_fitted": {
            "description": (
                "Classifiers under the generalised cross-entropy (GCE, arXiv 1805.07836), each asked about a fold "
                "that it was not trained on, at three moments. Ours."
            ),
            "required": ["network"],
            "options": {
                "network": {"$ref": "#/$defs/surrogate_network"},
                "folds": {
                    "type": "integer",
                    "minimum": 2,
                    "default": 2,
                    "description": "Parts of the training split, with a classifier for each. Ours.",
                },
                "steps": {
                    "type": "integer",
                    "minimum": 8,
                    "default": 320,
                    "description": "Optimiser steps, the same for data sets of all sizes. Ours.",
                },
                "batch_size": {"$ref": "#/$defs/classifier_batch"},
                "learning_rate": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 0.03,
                    "description": "Of SGD. Ours.",
                },
                "momentum": {"$ref": "#/$defs/classifier_momentum"},
                "weight_decay": {"$ref": "#/$defs/classifier_decay"},
                "q": {"$ref": "#/$defs/generalised_q"},
                "augment": {"$ref": "#/$defs/classifier_augment"},
            },
            "gives": ["embedding", "logits", "predictions", "excluded"],
            "passes": 0.5,  # of small images
        },
    },
}

LOOKS = (4, 2, 1)  # what the number of steps is divided by


class Objective(Base):
    """One classifier for each fold, and copies of them at the moments that are looked at.

    Parameters
    ----------
    split : Split
        Only the shape of its images and its numbers of samples and classes are used.
    network : mapping
        ``kind`` and options, for images averaged down.
    settings : mapping
        ``folds``, ``steps`` and ``q``.
    seed : int
    """

    def __init__(self, split: Split, network: Mapping, settings: Mapping, seed: int) -> None:
        self.settings = settings
        self.fold = torch.randint(settings["folds"], (len(split),), generator=stream(seed, "fold"))
        self.done = torch.zeros((), dtype=torch.int64)
        self.moments = [total_steps(settings, len(split)) // share for share in LOOKS]
        side = split.shape[1] // factor(split.shape[1])

        def classifiers() -> nn.ModuleList:
            return nn.ModuleList(
                networks.of_settings(
                    network, (split.shape[0], side, side), split.classes, derive(seed, "encoder", fold)
                )
                for fold in range(settings["folds"])
            )

        self.model = nn.ModuleDict({"trained": classifiers()} | {f"look{step}": classifiers() for step in self.moments})

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters of the classifiers in training, not of their copies."""
        return list(self.model["trained"].parameters())

    def memory(self) -> dict[str, torch.Tensor]:
        """Return how many steps are done."""
        return {"done": self.done}

    def loss(self, views: list[torch.Tensor], labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the sum of the folds' losses of a batch, see `ddbias.debias.surrogate.objective`."""
        self._look()
        self.done += 1
        images, fold = coarse(views[0]), self.fold[rows.cpu()].to(labels.device)
        total = images.new_zeros(())
        for number, network in enumerate(self.model["trained"]):
            seen = fold != number
            losses = generalised_cross_entropy(network(images[seen]), labels[seen], q=self.settings["q"])
            total = total + losses.sum() / max(1, len(losses))
        return total

    def _look(self) -> None:
        """Copy the classifiers if this is one of the moments."""
        if int(self.done) in self.moments:
            self.model[f"look{int(self.done)}"].load_state_dict(self.model["trained"].state_dict())

    def read(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what each fold's classifier says of images at each moment.

        Returns
        -------
        dict of Tensor
            ``embedding`` (B, F, D) and ``logits`` (B, F, K) of the last, ``looks`` (B, F, L, K), the logits of all.
        """
        self._look()  # the last moment is after the last step
        images = coarse(images)
        last = [read_classifier(network, images) for network in self.model["trained"]]
        looks = [torch.stack([network(images) for network in self._looks(fold)], 1) for fold in range(len(last))]
        read = {name: torch.stack([each[name] for each in last], 1) for name in last[0]}
        return {**read, "looks": torch.stack(looks, 1)}  # F times (B, L, K) become (B, F, L, K)

    def _looks(self, fold: int) -> list[nn.Module]:
        return [self.model[f"look{step}"][fold] for step in self.moments]

    def columns(self, read: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return of each sample what the classifier of its own fold says.

        The embedding of a class of one fold cannot be compared with that of another, which has a network of its own:
        instead of the features it is the classifiers' probabilities, L2-normalised.
        """
        own = np.arange(len(labels)), self.fold.numpy()
        kept = {name: values[own] for name, values in read.items()}
        looks = kept.pop("looks")  # (N, L, K)
        kept["predictions"] = looks.argmax(2).astype(np.float32)
        kept["excluded"] = np.stack([excluded(look, labels) for look in looks.swapaxes(0, 1)], 1).astype(np.float32)
        likely = np.exp(kept["logits"] - kept["logits"].max(1, keepdims=True))
        likely /= likely.sum(1, keepdims=True)
        return {**kept, "embedding": likely / np.linalg.norm(likely, axis=1, keepdims=True)}
