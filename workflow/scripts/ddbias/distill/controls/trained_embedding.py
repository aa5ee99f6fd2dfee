"""The embedding in which selection controls measure distances: that of a network trained on the real images.

As in dataset condensation (arXiv 2006.05929, comparison with coreset methods): the network is trained on the whole
training split and its features before the classifier are compared. The training ignores the debias weights: they
decide what is selected, not the embedding.

Cost: one training of the network, and one forward pass of all images.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping

import torch

from ddbias.base.seeding import derive, stream
from ddbias.data.split import Split
from ddbias.distill.selector import Selector
from ddbias.learning import networks
from ddbias.learning.training import Recipe, train

EMBEDDED_AT_ONCE = 256  # images; memory only


class EmbeddedSelector(Selector):
    """A control that chooses the images of every class by their embeddings."""

    def select(self, ipc: int) -> torch.Tensor:
        """Return the rows (K * ipc,) of the chosen images, class after class, each in the order of choice."""
        how = {"settings": self.settings, "network": self.network, "seed": self.seed, "device": self.device}
        embed = trained_embedding(self.split, **how)
        return torch.cat([self.choose(label, embed(rows), ipc) for label, rows in enumerate(self.side.classes)])

    @abstractmethod
    def choose(self, label: int, features: torch.Tensor, ipc: int) -> torch.Tensor:
        """Return rows (ipc,) of a class, whose images have the `features` (N, D), in the order of its rows."""


def trained_embedding(
    split: Split, *, settings: Mapping, network: Mapping, seed: int, device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Train a network on a split and return its embedding of the split's rows.

    Parameters
    ----------
    split : Split
        Training images.
    settings : mapping
        ``epochs`` (nominal, see `ddbias.learning.training.epoch_phases`), ``batch_size``, ``learning_rate``.
    network : mapping
        ``kind`` and options.
    seed : int
        Of the initial weights and of the order of the batches.
    device : device

    Returns
    -------
    callable
        From rows (M,) int64 of the split to their embeddings (M, D), float64 on the CPU: sums over a class are then
        the same whatever the order. The network is in evaluation mode, so an embedding depends on its image alone.
    """
    model = networks.of_settings(network, split.shape, split.classes, derive(seed, "trained_embedding")).to(device)
    images, labels = split.tensors(device)
    train(
        model,
        images,
        labels,
        recipe=Recipe(learning_rate=settings["learning_rate"], batch_size=settings["batch_size"]),
        epochs=settings["epochs"],
        prepare=split.normalize,
        generator=stream(seed, "trained_embedding", "order"),
    )
    model.eval()

    @torch.no_grad()
    def embed(rows: torch.Tensor) -> torch.Tensor:
        parts = rows.to(device).split(EMBEDDED_AT_ONCE)
        return torch.cat([model.embed(split.normalize(images[part])).double().cpu() for part in parts])

    return embed
