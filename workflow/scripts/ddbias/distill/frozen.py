"""Embedding many images with a frozen network, exactly or fast.

``exact``: float32, one call. ``fast`` on a processor that multiplies bfloat16 in hardware: bfloat16,
channels-last and compiled, in micro-batches of 32 images whose activations stay in the cache (instance norm is per
sample, so micro-batches change nothing mathematically). Where that cannot be, it says so once and
stays exact. The synthetic images are always embedded in float32: their gradient is what is learnt.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from ddbias.device import obstacle
from ddbias.log import logger

MICRO_BATCH = 32


class FrozenEmbedding:
    """Calls ``network.embed`` without gradient on large batches.

    Parameters
    ----------
    network : Module
        Its parameters may change between calls (in place).
    device : device
    precision : {"exact", "fast"}
    """

    def __init__(self, network: nn.Module, *, device: torch.device, precision: str) -> None:
        self.network, self.device = network, device
        self._copy = None
        if precision != "fast":
            return
        if lacking := self._obstacle():
            logger.info("precision fast: %s, so the embedding stays float32", lacking)
            return
        self._copy = copy.deepcopy(network).to(torch.bfloat16, memory_format=torch.channels_last)
        # In this process: helper processes of the compiler would outlive a killed job and take the other cores.
        self._embed = torch.compile(self._copy.embed, dynamic=False, options={"compile_threads": 1})

    def _obstacle(self) -> str | None:
        """Return why the fast way is not open, or None."""
        if here := obstacle(self.device):
            return here
        # An image's embedding then depends on its batch, so micro-batches would change it.
        if any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in self.network.modules()):
            return "the network has batch norm"
        return None

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, D) float32 of normalised images (B, C, H, W)."""
        if self._copy is None:
            return self.network.embed(images)
        for slot, source in zip(self._copy.parameters(), self.network.parameters(), strict=True):
            slot.copy_(source)
        images = images.to(torch.bfloat16, memory_format=torch.channels_last)
        short = -len(images) % MICRO_BATCH  # one shape only, so that one graph is compiled
        if short:
            images = torch.cat([images, images[:1].expand(short, -1, -1, -1)])
        parts = [self._embed(part.contiguous(memory_format=torch.channels_last)) for part in images.split(MICRO_BATCH)]
        return torch.cat(parts)[: len(images) - short].float()

    def with_gradient(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, D) float32 through which a gradient flows to the images."""
        return self.network.embed(images)
