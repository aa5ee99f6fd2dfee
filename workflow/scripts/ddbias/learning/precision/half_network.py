"""A network in bfloat16 and compiled: the gradients of its cross-entropy, and its logits, in float32.

What the fast ways of gradient matching and of the evaluation have in common, see
`ddbias.learning.precision.half_precision`. One graph for a micro-batch, whose gradients are summed in float32.
Parameters are inputs of the graphs, so that one compilation serves all networks of one architecture.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.func import functional_call, grad
from torch.nn.functional import cross_entropy

from ddbias.learning.precision import half_precision
from ddbias.learning.precision.workers import spread

# One tensor per parameter.
Gradients = tuple[torch.Tensor, ...]


class HalfNetwork:
    """A network without batch norm, computing in bfloat16.

    Parameters
    ----------
    network : Module
        Its parameters stay as they are; they may change between calls where `refresh` follows.
    dtype : dtype
        What is computed in.
    compiled : callable or None
        Turns a function of tensors into a faster one of the same result; None: `half_precision.compiled`.
    size : int
        Images of a micro-batch of which gradients are computed.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        dtype: torch.dtype = torch.bfloat16,
        compiled: Callable[[Callable], Callable] | None = None,
        size: int = half_precision.MICRO_BATCH,
    ) -> None:
        compiled = compiled or half_precision.compiled
        self.network, self.dtype, self.size = network, dtype, size
        self.half = half_precision.not_in_place(half_precision.half_copy(network, dtype))
        self.weights = {name: parameter.detach() for name, parameter in self.half.named_parameters()}
        self._compiled_every, self._compiled_logits = compiled(self._every), compiled(self._logits)

    def follow(self, network: nn.Module) -> None:
        """Use `network`, which has the same architecture as the one before, from now on."""
        self.network = network
        self.refresh()

    def refresh(self) -> None:
        """Copy the network's parameters; call it whenever they have changed."""
        half_precision.refresh(self.half, self.network)

    def every(self, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> Gradients:
        """Return the gradients of sum(share * cross-entropy) with respect to all parameters, in float32.

        Parameters
        ----------
        images : Tensor of float32, shape (B, C, H, W)
        labels : Tensor of int64, shape (B,)
        share : Tensor of float32, shape (B,)
        """
        return self._accumulated(self._compiled_every, images, labels, share)

    def of_mean(self, images: torch.Tensor, labels: torch.Tensor) -> Gradients:
        """Return the gradients of the mean cross-entropy at the network's present parameters, for a training step."""
        self.refresh()
        return self.every(images, labels, images.new_full((len(images),), 1 / len(images)))

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, K) float32 of normalised images (B, C, H, W)."""
        parts = half_precision.micro_batches(images, self.dtype)
        return torch.cat(spread(self._without_gradient, parts, images.device))[: len(images)]

    @torch.no_grad()  # around the compiled function, which another gradient mode would have compiled again
    def _without_gradient(self, images: torch.Tensor) -> torch.Tensor:
        return self._compiled_logits(self.weights, images)

    def _accumulated(
        self,
        function: Callable[..., Gradients],
        images: torch.Tensor,
        labels: torch.Tensor,
        share: torch.Tensor,
        size: int | None = None,
    ) -> Gradients:
        batches = half_precision.micro_batches(images, self.dtype, size or self.size)
        size, fill = len(batches[0]), sum(map(len, batches)) - len(images)
        labels = torch.cat([labels, labels.new_zeros(fill)])
        share = torch.cat([share, share.new_zeros(fill)])  # images that only fill up count nothing
        parts = zip(batches, labels.split(size), share.split(size), strict=True)
        return summed(spread(lambda part: function(self.weights, *part), parts, images.device))

    def _logits(self, weights: dict, images: torch.Tensor) -> torch.Tensor:
        return functional_call(self.half, weights, (images,)).float()

    def _loss(self, weights: dict, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        return (share * cross_entropy(self._logits(weights, images), labels, reduction="none")).sum()

    def _every(self, weights: dict, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> Gradients:
        return tuple(g.float() for g in grad(self._loss)(weights, images, labels, share).values())


def summed(parts: list[Gradients]) -> Gradients:
    """Return the sums over the parts, tensor by tensor; the first part is used up."""
    total = list(parts[0])
    for part in parts[1:]:
        torch._foreach_add_(total, list(part))
    return tuple(total)


def as_vector(gradients: Gradients) -> torch.Tensor:
    """Return gradients of all parameters as one vector (P,)."""
    return torch.cat([tensor.flatten() for tensor in gradients])
