"""What every kind of surrogate gives to the one training loop: a network, a loss, and what is read off it."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from ddbias.base.seeding import derive
from ddbias.data.split import Split
from ddbias.learning import networks


class Objective(ABC):
    """One surrogate in training; the base of every kind.

    A kind is a subclass called ``Objective`` in a module of its own, made as ``Objective(split, network, settings,
    seed)``. It may look at the split's labels, never at its attributes.

    Attributes
    ----------
    model : nn.Module
        All that is trained and stored.
    views : int
        How many augmented copies of a batch the loss takes.
    """

    model: nn.Module
    views: int = 1

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters that the loss depends on."""
        return list(self.model.parameters())

    @abstractmethod
    def loss(self, views: list[torch.Tensor], labels: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Return the loss of a batch, a scalar.

        Parameters
        ----------
        views : list of Tensor of float32, each of shape (B, C, H, W)
            Normalised and augmented images, `self.views` times.
        labels : Tensor of int64, shape (B,)
        rows : Tensor of int64, shape (B,)
            Where the images are in the split, each at most once.
        """

    @abstractmethod
    def read(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what is read off normalised images (B, C, H, W): ``embedding`` (B, D), L2-normalised, and more."""

    def columns(self, read: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return the columns of the embeddings file from all that `read` returned, in the order of the split."""
        return read

    def memory(self) -> dict[str, torch.Tensor]:
        """Return what the loss remembers from step to step, as the tensors themselves; a resumed job fills them."""
        return {}

    def to(self, device: torch.device) -> Objective:
        """Move the network; what is remembered is moved by the kinds that remember."""
        self.model.to(device)
        return self


def total_steps(settings: Mapping, samples: int) -> int:
    """Return the optimiser steps of a training: ``steps``, or as many as the ``epochs`` of `samples` images have."""
    return settings["steps"] or max(1, round(settings["epochs"] * math.ceil(samples / settings["batch_size"])))


def build_encoder(split: Split, network: Mapping, seed: int, *names: str) -> networks.Network:
    """Return a network of the zoo for the images and classes of a split.

    Parameters
    ----------
    split : Split
    network : mapping
        ``kind`` and options.
    seed : int
        Of the surrogate; the weights come from its stream of the given `names`.
    """
    return networks.of_settings(network, split.shape, split.classes, derive(seed, *names))
