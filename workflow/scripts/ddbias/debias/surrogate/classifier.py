"""What the classifying kinds share: a network of the zoo whose features and logits are read.

Augmentations are off by default. Those of colour would destroy the cue of a colour bias, cropping and cutting out can
remove one that sits in a place, and scaling and rotating change a corruption. What is left against overfitting is not
needed in so short a training.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ddbias.data.split import Split
from ddbias.debias.surrogate.objective import Objective, build_encoder
from ddbias.learning.networks import Network


def read_classifier(network: Network, images: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return ``embedding`` (B, D), the L2-normalised features, and ``logits`` (B, K) of normalised images."""
    features = network.embed(images)
    return {"embedding": nn.functional.normalize(features, dim=1), "logits": network.head(features)}


class ClassifierObjective(Objective):
    """A classifier of the zoo; its kinds add the loss.

    Parameters
    ----------
    split : Split
        Only the shape of its images and its number of classes are used.
    network : mapping
        ``kind`` and options.
    settings : mapping
    seed : int
    """

    def __init__(self, split: Split, network: Mapping, settings: Mapping, seed: int) -> None:
        self.settings = settings
        self.model = build_encoder(split, network, seed, "encoder")

    def read(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the embedding and the logits."""
        return read_classifier(self.model, images)
