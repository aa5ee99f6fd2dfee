"""What the classifying kinds share: a network of which features and logits are read.

Augmentations are off by default. Colour augmentations would destroy the cue of a colour bias; cropping and cutout can
remove a cue at one place of the image; scaling and rotation change a corruption. Other augmentations would prevent
overfitting, which is no problem in so short a training.
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
    """A surrogate that is a single classifier; each kind adds the loss.

    Parameters
    ----------
    split : Split
        Only the shape of its images and its number of classes are used.
    network : mapping
        ``kind`` and options of the classifier.
    settings : mapping
        Options of the surrogate.
    seed : int
    """

    def __init__(self, split: Split, network: Mapping, settings: Mapping, seed: int) -> None:
        self.settings = settings
        self.model = build_encoder(split, network, seed, "encoder")

    def read(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the embedding (B, D) and the logits (B, K) of normalised images (B, C, H, W)."""
        return read_classifier(self.model, images)
