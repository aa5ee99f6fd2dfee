"""Embedding many images with a frozen network, exactly or fast.

``exact``: float32, in micro-batches whose activations stay in the cache. ``fast``: bfloat16 and compiled, see
`ddbias.distill.half_precision`; where that cannot be, it says so once and stays exact. Both sides of a matching loss
see the same rounded parameters: the rounded network is as good a random network as the one it was rounded from.
"""

from __future__ import annotations

import torch
from torch import nn

from ddbias.distill import half_precision
from ddbias.log import logger
from ddbias.seeding import stream


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
        self._half = None
        if precision != "fast":
            return
        lacking = half_precision.obstacle(network, device)
        if not lacking:
            half = half_precision.half_copy(network).requires_grad_(False)
            self._embed = half_precision.compiled(half.embed)
            noise = torch.randn(half_precision.MICRO_BATCH, *shape, generator=stream(0, "probe")).to(device)
            lacking = half_precision.doubt(lambda: self._probe(noise, half), lambda: self._probe(noise, None))
            self._half = None if lacking else half
        if lacking:
            logger.info("precision fast: %s, so the embedding stays float32", lacking)

    def _probe(self, images: torch.Tensor, half: nn.Module | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return embeddings of images and a gradient with respect to them, computed with `half`."""
        self._half = half
        self.refresh()
        leaf, embedding = images.clone().requires_grad_(True), self(images)
        direction = torch.randn(embedding.shape, generator=stream(0, "probe", "direction")).to(self.device)
        return embedding, *torch.autograd.grad((self.with_gradient(leaf) * direction).sum(), leaf)

    def refresh(self) -> None:
        """Take up the network's parameters; call it whenever they have changed."""
        if self._half is not None:
            half_precision.refresh(self._half, self.network)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, D) float32 of normalised images (B, C, H, W)."""
        return self.with_gradient(images)

    def with_gradient(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, D) float32 through which a gradient flows to the images."""
        if self._half is not None:
            parts = [self._embed(part) for part in half_precision.micro_batches(images)]
            return torch.cat(parts)[: len(images)].float()
        if self.depends_on_batch or self.device.type != "cpu":
            return self.network.embed(images)
        return torch.cat([self.network.embed(part) for part in images.split(half_precision.MICRO_BATCH)])
