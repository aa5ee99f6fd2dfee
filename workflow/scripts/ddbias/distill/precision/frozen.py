"""Embedding many images with a frozen network, exactly or fast.

``exact``: float32, in micro-batches whose activations stay in the cache, or on a GPU captured as graphs. ``fast``:
compiled, see `ddbias.learning.precision.compiling`; where that is impossible, the reason is logged once and the exact
way taken.
Both sides of a matching loss see the same rounded parameters: the rounded network is as good a random network as the
one it was rounded from. On a GPU ``fast`` is `ddbias.distill.precision.captured_embedding`.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from ddbias.base.seeding import stream
from ddbias.distill.precision.captured_embedding import CapturedEmbedding
from ddbias.learning.device import fast_dtype, kind
from ddbias.learning.precision import compiling
from ddbias.learning.precision.workers import spread


def embedding_for(
    network: nn.Module, *, shape: tuple[int, ...], device: torch.device, precision: str
) -> ExactEmbedding | CapturedEmbedding:
    """Return an embedding of images by `network` in `precision`, the exact one if the fast one is impossible.

    Parameters
    ----------
    network : Module
        On `device`, in the mode it will be used in. Its parameters may change (in place) where `refresh` follows.
    shape : tuple of int
        Channels, height and width of the images.
    device : device
    precision : {"exact", "fast"}
    """
    exact = ExactEmbedding(network, device)
    if precision != "fast" and (not kind(device).captures or compiling.copy_obstacle(network)):
        return exact
    noise = torch.randn(compiling.MICRO_BATCH, *shape, generator=stream(0, "probe")).to(device)

    def probe(way: ExactEmbedding | CapturedEmbedding) -> list[torch.Tensor]:
        way.refresh()
        leaf, embedding = noise.clone().requires_grad_(True), way(noise)
        direction = torch.randn(embedding.shape, generator=stream(0, "probe", "direction")).to(device)
        return [embedding, *torch.autograd.grad((way.with_gradient(leaf) * direction).sum(), leaf)]

    if precision != "fast":
        graphs = partial(CapturedEmbedding, network, dtype=torch.float32, capture=compiling.graphed)
        return compiling.same_in_graphs(exact, graphs, probe)
    captures = compiling.captures(device)
    return compiling.fast_or_exact(
        exact,
        lambda: CapturedEmbedding(network) if captures else CompiledEmbedding(network, device),
        probe,
        obstacle=compiling.network_obstacle(network, device),
        instead="the embedding is computed exactly",
        calls=compiling.CAPTURED_CALLS if captures else 1,
    )


class ExactEmbedding:
    """Calls ``network.embed`` on large batches, in float32.

    Attributes
    ----------
    depends_on_batch : bool
        An image's embedding depends on the images beside it (batch norm in training), so a batch is never split.
    """

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self.network, self.device = network, device
        self.depends_on_batch = compiling.shares_statistics(network)
        self._embed = network.embed

    def refresh(self) -> None:
        """Copy the network's parameters; call it whenever they have changed."""

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, D) float32 of normalised images (B, C, H, W)."""
        if self.depends_on_batch:
            return self.network.embed(images)
        parts = spread(self._without_gradient, self._parts(images), self.device)
        return (parts[0] if len(parts) == 1 else torch.cat(parts))[: len(images)].float()

    def with_gradient(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, D) float32 through which a gradient flows to the images, once."""
        if self.depends_on_batch:
            return self.network.embed(images)
        parts = self._parts(images)
        if len(parts) == 1:
            return self._embed(parts[0])[: len(images)].float()
        return torch.cat(_Spread.apply(self._embed, self.device, *parts))[: len(images)].float()

    @torch.no_grad()
    def _without_gradient(self, images: torch.Tensor) -> torch.Tensor:
        return self._embed(images)

    def _parts(self, images: torch.Tensor) -> list[torch.Tensor]:
        size = compiling.together(images)
        return [images] if len(images) <= size else list(images.split(size))


class CompiledEmbedding(ExactEmbedding):
    """The same, compiled, for networks without batch norm."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        super().__init__(network, device)
        self.dtype = fast_dtype(device)
        self.rounded = compiling.rounded_copy(network, self.dtype).requires_grad_(False)
        self._embed = compiling.compiled(self.rounded.embed)

    def refresh(self) -> None:
        """Copy the network's parameters; call it whenever they have changed."""
        compiling.refresh(self.rounded, self.network)

    def _parts(self, images: torch.Tensor) -> list[torch.Tensor]:
        return compiling.micro_batches(images, self.dtype)


class _Spread(torch.autograd.Function):
    """Forward and backward passes of micro-batches, each in one worker from end to end."""

    @staticmethod
    def forward(ctx, embed, device, *parts):
        @torch.enable_grad()
        def pass_on(part):
            leaf = part.detach().requires_grad_(True)
            return leaf, embed(leaf)

        ctx.device, ctx.passed = device, spread(pass_on, parts, device)
        return tuple(embedding.detach() for _, embedding in ctx.passed)

    @staticmethod
    def backward(ctx, *slopes):
        def pass_back(item):
            (leaf, embedding), slope = item
            return torch.autograd.grad(embedding, leaf, slope)[0]

        return None, None, *spread(pass_back, zip(ctx.passed, slopes, strict=True), ctx.device)
