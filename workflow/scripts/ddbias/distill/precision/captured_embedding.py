"""Embedding many images with a frozen network on a GPU: one batch, bfloat16, captured graphs.

Two graphs without a state between them: one from images to embeddings, and one from images and slopes to the gradient
with respect to the images, which computes the embedding again. That repeats the forward pass of the synthetic images,
the few of a step (100 of 2660 at 10 images per class), and in return no graph waits for its backward pass while others
run. Not measured on a GPU, see `ddbias.learning.precision.compiling`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.func import grad

from ddbias.learning.precision import compiling


class CapturedEmbedding:
    """Calls ``network.embed`` on all images at once.

    Parameters
    ----------
    network : Module
        Without batch norm. Its parameters may change (in place) where `refresh` follows.
    dtype : dtype
        What is computed in; embeddings and gradients are float32.
    capture : callable
        Turns a function of tensors into a faster one of the same result.
    """

    depends_on_batch = False

    def __init__(
        self,
        network: nn.Module,
        *,
        dtype: torch.dtype = torch.bfloat16,
        capture: Callable[[Callable], Callable] | None = None,
    ) -> None:
        self.network, self.dtype = network, dtype
        self.rounded = compiling.not_in_place(compiling.rounded_copy(network, dtype)).requires_grad_(False)
        capture = capture or compiling.captured
        self._forward, self._backward = capture(self._embedded), capture(self._pulled_back)
        self.refresh()

    def refresh(self) -> None:
        """Copy the network's parameters; call it whenever they have changed."""
        compiling.refresh(self.rounded, self.network)

    @torch.no_grad()
    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, D) float32 of normalised images (B, C, H, W) float32."""
        parts = compiling.even_batches(images.detach(), compiling.CAPTURED_IMAGES)
        return torch.cat([self._forward(part)[0] for part in parts])[: len(images)]

    def with_gradient(self, images: torch.Tensor) -> torch.Tensor:
        """Return embeddings (B, D) float32 through which a gradient flows to the images, once."""
        return _Captured.apply(self, images)

    @torch.no_grad()
    def pull_back(self, images: torch.Tensor, slopes: torch.Tensor) -> torch.Tensor:
        """Return the gradient (B, C, H, W) of ``(embedding * slopes).sum()``, slopes (B, D), with respect to images."""
        most = compiling.CAPTURED_IMAGES
        parts = zip(*(compiling.even_batches(side.detach(), most) for side in (images, slopes)), strict=True)
        return torch.cat([self._backward(*part)[0] for part in parts])[: len(images)]

    def _embedded(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        rounded = images.to(self.dtype, memory_format=torch.channels_last)
        return (self.rounded.embed(rounded).float(),)

    def _pulled_back(self, images: torch.Tensor, slopes: torch.Tensor) -> tuple[torch.Tensor]:
        return (grad(lambda images: (self._embedded(images)[0] * slopes).sum())(images),)


class _Captured(torch.autograd.Function):
    @staticmethod
    def forward(ctx, embedding, images):
        ctx.embedding = embedding
        ctx.save_for_backward(images)
        return embedding(images)

    @staticmethod
    def backward(ctx, slopes):
        (images,) = ctx.saved_tensors
        return None, ctx.embedding.pull_back(images, slopes)
