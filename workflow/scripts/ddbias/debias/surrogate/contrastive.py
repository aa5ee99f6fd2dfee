"""What the contrastive kinds share: the encoder with its projection head, and the probabilities of pairs."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ddbias.base.errors import unknown
from ddbias.base.seeding import stream
from ddbias.data.split import Split
from ddbias.debias.surrogate.objective import Objective, build_encoder
from ddbias.learning import networks

LAYERS = ("features", "projection")


def pair_log_probabilities(
    features: torch.Tensor, labels: torch.Tensor | None, temperature: float, mode: str = "all"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return, for every anchor, the log-probability of every other view, and which views are its positives.

    ``log p_ia = z_i z_a / temperature - log sum_{b != i} exp(z_i z_b / temperature)`` (SupCon, equation 2). There
    are A anchors: N V of them or, with mode ``one``, N.

    Parameters
    ----------
    features : Tensor, shape (N, V, D)
        V views of N images, any float dtype; this function L2-normalises them. Half precision is summed in float32.
    labels : Tensor of int, shape (N,), or None
        None: only the other views of the same image are positives (SimCLR).
    temperature : float
        Above 0.
    mode : {"all", "one"}
        Whether all views or only the first ones are anchors.

    Returns
    -------
    log_probability : Tensor, shape (A, N V)
        View-major: the first N columns are the first views. The entry of an anchor with itself has no meaning.
    positive : Tensor of bool, shape (A, N V)
        False for an anchor with itself.

    Raises
    ------
    ValueError
        If a shape or the mode is wrong.
    """
    if features.ndim != 3:
        raise ValueError(f"features must have the shape (images, views, dimensions), not {tuple(features.shape)}")
    if mode not in ("all", "one"):
        raise ValueError(f"mode must be 'all' or 'one', not '{mode}'")
    count, views, _ = features.shape
    if labels is None:
        labels = torch.arange(count, device=features.device)
    if labels.shape != (count,):
        raise ValueError(f"labels of shape {tuple(labels.shape)} do not fit {count} images")
    if features.dtype in (torch.float16, torch.bfloat16):
        features = features.float()
    # View-major order, so that the first `count` rows are the first views: (N, V, D) -> (N V, D).
    contrast = nn.functional.normalize(features, dim=2).transpose(0, 1).reshape(count * views, -1)
    anchors = contrast if mode == "all" else contrast[:count]
    similarity = anchors @ contrast.T / temperature  # (A, N V)
    itself = torch.eye(len(anchors), len(contrast), dtype=torch.bool, device=features.device)
    log_normaliser = similarity.masked_fill(itself, -torch.inf).logsumexp(1, keepdim=True)  # (A, 1)
    targets = labels.repeat(views)  # (N V,)
    positive = (targets[: len(anchors), None] == targets[None, :]) & ~itself
    return similarity - log_normaliser, positive


class ContrastiveNetwork(nn.Module):
    """An encoder with a two-layer projection head, whose output is L2-normalised.

    Parameters
    ----------
    encoder : nn.Module
        A network of `ddbias.learning.networks`; the hidden layer of the head is as wide as its features.
    dimensions : int
        Of the projection.
    seed : int
        Initialises the head.
    """

    def __init__(self, encoder: nn.Module, dimensions: int, seed: int) -> None:
        super().__init__()
        self.encoder = encoder
        size = encoder.embedding_size
        self.projection = networks.construct(
            lambda: nn.Sequential(nn.Linear(size, size), nn.ReLU(), nn.Linear(size, dimensions))
        )
        networks.reset(self.projection, stream(seed, "init", "projection"))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the normalised projection (B, D) of normalised images (B, C, H, W)."""
        return nn.functional.normalize(self.projection(self.encoder.embed(images)), dim=1)


class ContrastiveObjective(Objective):
    """A surrogate that is a contrastive network; each kind adds the loss.

    Parameters
    ----------
    split : Split
        Only the shape of its images and its number of classes are used.
    network : mapping
        ``kind`` and options of the encoder.
    settings : mapping
        ``dimensions`` of the projection and ``embedding`` (which layer is read, see `LAYERS`).
    seed : int

    Raises
    ------
    DdbiasError
        If the layer or the network is unknown.
    """

    views = 2

    def __init__(self, split: Split, network: Mapping, settings: Mapping, seed: int) -> None:
        if settings["embedding"] not in LAYERS:
            raise unknown("embedding", settings["embedding"], LAYERS)
        self.settings = settings
        self.model = ContrastiveNetwork(build_encoder(split, network, seed, "encoder"), settings["dimensions"], seed)

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters that the loss depends on: all but the encoder's classifier."""
        unused = set(self.model.encoder.head.parameters())
        return [parameter for parameter in self.model.parameters() if parameter not in unused]

    def features(self, views: list[torch.Tensor]) -> torch.Tensor:
        """Return the projections (B, V, D) of V views of a batch, each (B, C, H, W)."""
        return self.model(torch.cat(views)).view(len(views), len(views[0]), -1).transpose(0, 1)  # (V B, D) -> (B, V, D)

    def read(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the L2-normalised ``embedding`` (B, D) of normalised images, from the chosen layer."""
        layer = self.model if self.settings["embedding"] == "projection" else self.model.encoder.embed
        return {"embedding": nn.functional.normalize(layer(images), dim=1)}
