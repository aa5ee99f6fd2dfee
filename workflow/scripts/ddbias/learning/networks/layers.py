"""Parts that the networks share: the base class, normalisation, activation, pooling and size arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ddbias.base.errors import DdbiasError, unknown
from ddbias.learning.networks.group_norm import GroupNorm
from ddbias.learning.networks.pooling import AveragePooling

GROUPS = 4

# "instance" has one group per channel and an affine part, and keeps no running statistics.
NORMS: dict[str, Callable[[int, int], nn.Module]] = {
    "none": lambda width, side: nn.Identity(),
    "batch": lambda width, side: nn.BatchNorm2d(width),
    "layer": lambda width, side: nn.LayerNorm((width, side, side)),
    "instance": lambda width, side: GroupNorm(width, width),
    "group": lambda width, side: GroupNorm(GROUPS, width),
}
# ReLU works in place: its gradient needs the output only, and the layer before it does not need its own.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: nn.ReLU(inplace=True),
    "sigmoid": nn.Sigmoid,
    "leakyrelu": lambda: nn.LeakyReLU(0.01),
    "swish": nn.SiLU,
}
POOLINGS: dict[str, Callable[[], nn.Module]] = {
    "none": nn.Identity,
    "max": lambda: nn.MaxPool2d(2),
    "avg": AveragePooling,
}


class Network(nn.Module):
    """A body that embeds images and one linear layer that classifies the embedding.

    Parameters
    ----------
    body : nn.Module
        Maps float images (B, C, H, W) to anything with B rows.
    embedding_size : int
        Number of values per image that `body` returns.
    classes : int
        Number of logits.
    """

    def __init__(self, body: nn.Module, embedding_size: int, classes: int) -> None:
        super().__init__()
        self.body = body
        self.head = nn.Linear(embedding_size, classes)
        self.embedding_size = embedding_size

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """Return what feeds the last linear layer: float (B, embedding_size) for images (B, C, H, W)."""
        return self.body(images).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, classes) of float images (B, C, H, W)."""
        return self.head(self.embed(images))


def norm_layer(kind: str, width: int, side: int) -> nn.Module:
    """Return the normalisation `kind` (see `NORMS`) for `width` maps of `side` x `side` pixels."""
    if kind not in NORMS:
        raise unknown("norm", kind, NORMS)
    if kind == "group" and width % GROUPS:
        raise DdbiasError(f"norm group splits the maps into {GROUPS} groups, got width {width}; use a multiple of it")
    return NORMS[kind](width, side)


def activation_layer(kind: str) -> nn.Module:
    """Return the activation `kind` (see `ACTIVATIONS`)."""
    if kind not in ACTIVATIONS:
        raise unknown("activation", kind, ACTIVATIONS)
    return ACTIVATIONS[kind]()


def pooling_layer(kind: str) -> nn.Module:
    """Return the 2 x 2 pooling `kind` (see `POOLINGS`)."""
    if kind not in POOLINGS:
        raise unknown("pooling", kind, POOLINGS)
    return POOLINGS[kind]()


def convolved(side: int, kernel: int, padding: int, stride: int = 1) -> int:
    """Return the side of a square map after a convolution."""
    return (side + 2 * padding - kernel) // stride + 1


def require_positive(**values: object) -> None:
    """Raise `DdbiasError` for the first value that is not a whole number of at least 1."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise DdbiasError(f"{name} of a network must be a whole number of at least 1, got {value!r}")


def smallest_size(final_side: Callable[[int], int], at_least: int = 1) -> int:
    """Return the smallest image side whose last map has a side of at least `at_least` pixels."""
    return next(size for size in range(1, 1 << 16) if final_side(size) >= at_least)


def require_size(network: str, size: int, final_side: Callable[[int], int], at_least: int = 1) -> int:
    """Return the side of the last map, or raise `DdbiasError` where the images are too small for it.

    Parameters
    ----------
    network : str
        Name for the message.
    size : int
        Side of the images, in pixels.
    final_side : callable
        Side of the last map for a given side of the images.
    at_least : int
        Smallest side of the last map with which the network works.
    """
    side = final_side(size)
    if side < at_least:
        raise DdbiasError(
            f"network {network} needs images of at least {smallest_size(final_side, at_least)} pixels, got {size}; "
            "enlarge the images or use a convnet with a smaller depth"
        )
    return side
