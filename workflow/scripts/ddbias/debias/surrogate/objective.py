"""The base class of all kinds of surrogate: a network, its loss, and the columns it gives."""

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
    """A surrogate in training; the base class of every kind.

    A kind is a subclass called ``Objective`` in a module of its own. It is constructed as ``Objective(split, network,
    settings, seed)``, and may use the split's labels but never its attributes.

    Attributes
    ----------
    model : nn.Module
        Everything that is trained and stored.
    views : int
        Number of augmented copies of a batch that the loss takes.
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
            `self.views` augmented copies of the normalised images.
        labels : Tensor of int64, shape (B,)
        rows : Tensor of int64, shape (B,)
            Rows of the split that the images are, each at most once.
        """

    @abstractmethod
    def read(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return outputs for normalised images (B, C, H, W): the L2-normalised ``embedding`` (B, D), perhaps others."""

    def columns(self, read: dict[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
        """Return the columns of the embeddings file, from the outputs of `read` for the whole split, in its order."""
        return read

    def memory(self) -> dict[str, torch.Tensor]:
        """Return the state of the loss beside the network, as the tensors themselves; a resumed job overwrites them."""
        return {}

    def to(self, device: torch.device) -> Objective:
        """Move the network to a device. Kinds with a `memory` override this to move it as well."""
        self.model.to(device)
        return self


def total_steps(settings: Mapping, samples: int) -> int:
    """Return the number of optimiser steps: ``steps`` or, if None, those of ``epochs`` passes over `samples` images."""
    return settings["steps"] or max(1, round(settings["epochs"] * math.ceil(samples / settings["batch_size"])))


def build_encoder(split: Split, network: Mapping, seed: int, *names: str) -> networks.Network:
    """Return a network for the images and classes of a split.

    Parameters
    ----------
    split : Split
    network : mapping
        ``kind`` and options, see `ddbias.learning.networks`.
    seed : int
        Of the surrogate.
    *names : str
        Name of the random stream, derived from the seed, that initialises the weights.
    """
    return networks.of_settings(network, split.shape, split.classes, derive(seed, *names))
