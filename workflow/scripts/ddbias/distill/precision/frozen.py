"""Embedding many images with a frozen network, exactly or fast.

``exact``: float32, in micro-batches whose activations stay in the cache. ``fast``: bfloat16 and compiled, see
`ddbias.learning.precision.half_precision`; where that cannot be, it says so once and stays exact. Both sides of a
matching loss see the same rounded parameters: the rounded network is as good a random network as the one it was rounded
from. On a GPU ``fast`` is `ddbias.distill.precision.captured_embedding`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from ddbias.base.log import logger
from ddbias.base.seeding import stream
from ddbias.distill.precision.captured_embedding import CapturedEmbedding
from ddbias.learning.precision import half_precision
from ddbias.learning.precision.workers import spread


class FrozenEmbedding:
    """Calls ``network.embed`` on large batches.

    Parameters
    ----------
    network : Module
        Its parameters may change (in place) where `refresh` follows.
    shape : tuple of int
        Channels, height and width of the images.
    device : device
    precision : {"exact", "fast"}
    """

    def __init__(self, network: nn.Module, *, shape: tuple[int, ...], device: torch.device, precision: str) -> None:
        self.network, self.device = network, device
        self.depends_on_batch = half_precision.has_batch_norm(network)
        self._half, self._embed = None, network.embed
        self._captured: CapturedEmbedding | None = None
        if precision != "fast":
            return
        lacking = half_precision.network_obstacle(network, device)
        if not lacking and half_precision.captures(device):
            lacking = self._capture(shape)
        elif not lacking:
            half = half_precision.half_copy(network).requires_grad_(False)
            embed = half_precision.compiled(half.embed)
            noise = torch.randn(half_precision.MICRO_BATCH, *shape, generator=stream(0, "probe")).to(device)
            lacking = half_precision.doubt(
                lambda: self._probe(noise, half, embed), lambda: self._probe(noise, None, network.embed)
            )
        if lacking:
            self._half, self._embed = None, network.embed
            logger.info("precision fast: %s, so the embedding stays float32", lacking)

    def _capture(self, shape: tuple[int, ...]) -> str | None:
        """Take the way of a GPU and return None, or why it is not to be had."""
        captured = CapturedEmbedding(self.network)
        noise = torch.randn(half_precision.MICRO_BATCH, *shape, generator=stream(0, "probe")).to(self.device)

        def probe(way: CapturedEmbedding | None) -> list[torch.Tensor]:
            self._captured = way
            return self._probe(noise, None, self.network.embed)

        lacking = half_precision.doubt(
            lambda: probe(captured), lambda: probe(None), calls=half_precision.CAPTURED_CALLS
        )
        if lacking:
            self._captured = None
        return lacking

    def _probe(self, images: torch.Tensor, half: nn.Module | None, embed: Callable) -> list[torch.Tensor]:
        """Return embeddings of images and a gradient with respect to them, computed with `half`."""
        self._half, self._embed = half, embed
        self.refresh()
        leaf, embedding = images.clone().requires_grad_(True), self(images)
        direction = torch.randn(embedding.shape, generator=stream(0, "probe", "direction")).to(self.device)
        return [embedding, *torch.autograd.grad((self.with_gradient(leaf) * direction).sum(), leaf)]

    def refresh(self) -> None:
        """Take up the network's parameters; call it whenever they have changed."""
        if self._captured is not None:
            self._captured.refresh()
        if self._half is not None:
            half_precision.refresh(self._half, self.network)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, D) float32 of normalised images (B, C, H, W)."""
        if self._captured is not None:
            return self._captured(images)
        if self.depends_on_batch:
            return self.network.embed(images)
        return torch.cat(spread(self._without_gradient, self._parts(images), self.device))[: len(images)].float()

    def with_gradient(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, D) float32 through which a gradient flows to the images, once."""
        if self._captured is not None:
            return self._captured.with_gradient(images)
        if self.depends_on_batch:
            return self.network.embed(images)
        parts = self._parts(images)
        return torch.cat(_Spread.apply(self._embed, self.device, *parts))[: len(images)].float()

    @torch.no_grad()
    def _without_gradient(self, images: torch.Tensor) -> torch.Tensor:
        return self._embed(images)

    def _parts(self, images: torch.Tensor) -> list[torch.Tensor]:
        if self._half is not None:
            return half_precision.micro_batches(images)
        if self.device.type != "cpu":
            return [images]
        return list(images.split(half_precision.MICRO_BATCH))


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
