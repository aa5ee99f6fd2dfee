"""A compiled network: the gradients of its cross-entropy, and its logits, in float32.

What the fast ways of gradient matching and of the evaluation have in common, see
`ddbias.learning.precision.compiling`. One graph for a micro-batch, whose gradients are summed in float32.
Parameters are inputs of the graphs, so that one compilation serves all networks of one architecture.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.func import functional_call, grad_and_value
from torch.nn.functional import cross_entropy

from ddbias.base.seeding import stream
from ddbias.learning.device import fast_dtype, kind
from ddbias.learning.precision import compiling
from ddbias.learning.precision.workers import spread

# One tensor per parameter.
Gradients = tuple[torch.Tensor, ...]


class CompiledNetwork:
    """A network without batch norm, compiled.

    Parameters
    ----------
    network : Module
        Its parameters stay as they are; they may change between calls where `refresh` follows.
    dtype : dtype or None
        What is computed in; None: what its device does fastest (`ddbias.learning.device.fast_dtype`).
    compiled : callable or None
        Turns a function of tensors into a faster one of the same result; None: `compiling.compiled`.
    size : int
        Images of a micro-batch of which gradients are computed.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        dtype: torch.dtype | None = None,
        compiled: Callable[[Callable], Callable] | None = None,
        size: int = compiling.MICRO_BATCH,
    ) -> None:
        compiled = compiled or compiling.compiled
        self.network, self.size = network, size
        self.dtype = dtype or fast_dtype(next(network.parameters()).device)
        self.rounded = compiling.not_in_place(compiling.rounded_copy(network, self.dtype))
        self.weights = {name: parameter.detach() for name, parameter in self.rounded.named_parameters()}
        self._compiled_every, self._compiled_logits = compiled(self._every), compiled(self._logits)

    def follow(self, network: nn.Module) -> None:
        """Use `network`, which has the same architecture as the one before, from now on."""
        self.network = network
        self.refresh()

    def refresh(self) -> None:
        """Copy the network's parameters; call it whenever they have changed."""
        compiling.refresh(self.rounded, self.network)

    def of_mean(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, Gradients]:
        """Return the mean cross-entropy at the network's present parameters, and its gradients with respect to them.

        Parameters
        ----------
        images : Tensor of float32, shape (B, C, H, W)
        labels : Tensor of int64, shape (B,)

        Returns
        -------
        loss : Tensor of float32
            A scalar.
        gradients : tuple of Tensor of float32
        """
        self.refresh()
        share = images.new_full((len(images),), 1 / len(images))
        loss, *gradients = self._accumulated(self._compiled_every, images, labels, share)
        return loss, tuple(gradients)

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, K) float32 of normalised images (B, C, H, W)."""
        parts = compiling.micro_batches(images, self.dtype)
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
        batches = compiling.micro_batches(images, self.dtype, size or self.size)
        size, fill = len(batches[0]), sum(map(len, batches)) - len(images)
        labels = torch.cat([labels, labels.new_zeros(fill)])
        share = torch.cat([share, share.new_zeros(fill)])  # images that only fill up count nothing
        parts = zip(batches, labels.split(size), share.split(size), strict=True)
        return summed(spread(lambda part: function(self.weights, *part), parts, images.device))

    def _logits(self, weights: dict, images: torch.Tensor) -> torch.Tensor:
        return functional_call(self.rounded, weights, (images,)).float()

    def _loss(self, weights: dict, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> torch.Tensor:
        return (share * cross_entropy(self._logits(weights, images), labels, reduction="none")).sum()

    def _every(self, weights: dict, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> Gradients:
        gradients, loss = grad_and_value(self._loss)(weights, images, labels, share)
        return loss, *(gradient.float() for gradient in gradients.values())


def for_training(
    network: nn.Module,
    shape: tuple[int, ...],
    classes: int,
    *,
    count: int,
    batch_size: int,
    instead: str,
    obstacle: str | None = None,
) -> CompiledNetwork | None:
    """Return what trains and tests networks like `network` faster, or None and say why it cannot be had.

    Parameters
    ----------
    network : Module
        Of the architecture and on the device of all that will be trained.
    shape : tuple of int
        Channels, height and width of the images.
    classes : int
    count, batch_size : int
        Number of images to train on, and of those of a batch.
    instead : str
        What happens without it, for the log.
    obstacle : str or None
        Why it need not be tried.
    """
    device = next(network.parameters()).device
    size = compiling.least_filled([len(batch) for batch in torch.arange(count).split(batch_size)])
    images = torch.randn(size, *shape, generator=stream(0, "probe"))
    labels = torch.arange(size) % classes

    def probe(fast: CompiledNetwork | None) -> list[torch.Tensor]:
        if fast is not None:
            return [as_vector(fast.of_mean(images, labels)[1]), fast.logits(images)]
        logits = network(images)
        slopes = torch.autograd.grad(cross_entropy(logits, labels), list(network.parameters()))
        return [as_vector(slopes), logits.detach()]

    if not kind(device).micro_batches:
        obstacle = obstacle or "networks are not compiled for training on a GPU"
    return compiling.fast_or_exact(
        None,
        lambda: CompiledNetwork(network, size=size),
        probe,
        obstacle=obstacle or compiling.network_obstacle(network, device),
        instead=instead,
    )


def summed(parts: list[Gradients]) -> Gradients:
    """Return the sums over the parts, tensor by tensor; the first part is used up."""
    total = list(parts[0])
    for part in parts[1:]:
        torch._foreach_add_(total, list(part))
    return tuple(total)


def as_vector(gradients: Gradients) -> torch.Tensor:
    """Return gradients of all parameters as one vector (P,)."""
    return torch.cat([tensor.flatten() for tensor in gradients])
