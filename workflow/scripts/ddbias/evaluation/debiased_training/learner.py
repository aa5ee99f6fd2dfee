"""Base class of debiased training: networks, a loss, and logits for the training loop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn

from ddbias.learning.networks import Network

Build = Callable[..., Network]


class Learner(nn.Module, ABC):
    """The networks of one debiased training; the base of every kind.

    A kind is a subclass called ``Learner`` in a module of its own, made as ``Learner(build, labels, classes=, steps=,
    seed=, **options)``. `build(*names)` returns a new network on the device, whose weights depend on the names; without
    names it is the network that plain training would start from. What the loss remembers from step to step is
    deterministic, so that a training can be repeated.

    Attributes
    ----------
    adam : float or None
        Learning rate of Adam, where a kind is published with it and SGD would be another method; None trains with the
        recipe's SGD.
    """

    adam: float | None = None

    @abstractmethod
    def loss(self, images: torch.Tensor, labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, a scalar that depends on every parameter.

        Parameters
        ----------
        images : Tensor of float32, shape (B, C, H, W)
            Normalised and augmented.
        labels : Tensor of int64, shape (B,)
        rows : Tensor of int64, shape (B,)
            Where the images are in the training set, each at most once.
        """

    @abstractmethod
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, K) of normalised images (B, C, H, W): those of the debiased network."""


def encoder(network: Network) -> Network:
    """Return a network without its classifier, so that it has no parameter on which a loss does not depend."""
    network.head = nn.Identity()
    return network
