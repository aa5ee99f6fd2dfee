"""The two gradients that gradient matching compares, and the derivative of their distance: exactly or fast.

``exact``: float32; the real side in micro-batches, whose graphs are small and stay in the cache.

``fast``: compiled, see `ddbias.learning.precision.compiling`. The real side, which needs no second
derivative, is one graph for 32 images, whose gradients are summed in float32. The synthetic side is one graph from the
images of a class to the distance and its gradient, twofold backward pass included: the compiler drops what nobody needs
and keeps little in between. The distance itself is computed in float32.

`ClassByClass` matches with either, one class after the other. `ddbias.distill.precision.gradient_choice` chooses; what
an accelerator has instead is `ddbias.distill.precision.batched_gradients`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.func import grad, grad_and_value
from torch.nn.functional import cross_entropy

from ddbias.debias.real_side import RealBatch, Target
from ddbias.distill.gradient_distance import gradient_distance
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.precision import compiling
from ddbias.learning.precision.compiled_network import CompiledNetwork, Gradients, summed
from ddbias.learning.precision.workers import spread

FEW_IMAGES = 8  # of a micro-batch of small groups


class ExactGradients:
    """Gradients of the mean cross-entropy of a class, in float32.

    Parameters
    ----------
    network : Module
        Its parameters may change between calls. With batch norm in training mode the images of a call share its
        statistics.
    distance : str
        A metric of `ddbias.distill.gradient_distance`.
    names : sequence of str or None
        Parameters whose gradients are compared; None: all that the distance looks at.
    """

    of_mean = None  # training between two steps takes torch's own way

    def __init__(self, network: nn.Module, distance: str, names: Sequence[str] | None = None) -> None:
        self.network, self.distance = network, distance
        # What the distance does not look at needs no gradient.
        looked_at = [name for name, p in network.named_parameters() if p.ndim > 1 or distance != "ours"]
        self.names = looked_at if names is None else list(names)

    def refresh(self) -> None:
        """Copy the network's parameters; call it whenever they have changed."""

    def real(self, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> Gradients:
        """Return the gradients of sum(share * cross-entropy).

        Parameters
        ----------
        images : Tensor of float32, shape (B, C, H, W)
        labels : Tensor of int64, shape (B,)
        share : Tensor of float32, shape (B,)
        """
        size = len(images) if compiling.shares_statistics(self.network) else compiling.together(images)
        parts = zip(images.split(size), labels.split(size), share.split(size), strict=True)
        return summed(spread(lambda part: self._gradients(*part, create_graph=False), parts, images.device))

    def match(
        self, images: torch.Tensor, labels: torch.Tensor, targets: Sequence[Gradients], scales: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distances of the synthetic gradient to the targets, times `scales` and summed, and its gradient.

        Parameters
        ----------
        images : Tensor of float32, shape (B, C, H, W)
            Synthetic images, augmented.
        labels : Tensor of int64, shape (B,)
        targets : sequence of tuple of Tensor
            What `real` returned.
        scales : Tensor of float32, shape (T,)
            One for each target.

        Returns
        -------
        distance : Tensor
            A scalar.
        gradient : Tensor of float32, shape (B, C, H, W)
        """
        leaf = images.detach().requires_grad_(True)
        given = self._gradients(leaf, labels, torch.full_like(labels, 1 / len(labels), dtype=leaf.dtype), True)
        distance = _scaled(given, targets, scales, self.distance)
        (gradient,) = torch.autograd.grad(distance, [leaf])
        return distance.detach(), gradient

    def _gradients(
        self, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor, create_graph: bool
    ) -> Gradients:
        losses = cross_entropy(self.network(images), labels, reduction="none")
        matched = [self.network.get_parameter(name) for name in self.names]
        return torch.autograd.grad(share @ losses, matched, create_graph=create_graph)


class FastGradients(CompiledNetwork, ExactGradients):
    """The same, compiled, for networks without batch norm.

    Parameters
    ----------
    network, distance, names
        As of `ExactGradients`.
    dtype : dtype or None
        What gradients are computed in, as of `CompiledNetwork`; they are summed and compared in float32.
    compiled : callable or None
        Turns a function of tensors into a faster one of the same result; None: `compiling.compiled`.
    """

    def __init__(
        self,
        network: nn.Module,
        distance: str,
        names: Sequence[str] | None = None,
        *,
        dtype: torch.dtype | None = None,
        compiled: Callable[[Callable], Callable] | None = None,
    ) -> None:
        ExactGradients.__init__(self, network, distance, names)
        CompiledNetwork.__init__(self, network, dtype=dtype, compiled=compiled)
        compiled = compiled or compiling.compiled
        self._compiled_real = compiled(self._real)
        self._compiled_match = compiled(self._match)

    def real(self, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> Gradients:
        """Return what `ExactGradients.real` does, in float32."""
        # A group of few images would be mostly padding: what fills no half of a micro-batch is in small ones.
        rest = len(images) % self.size
        whole = len(images) - (rest if rest <= self.size // 2 else 0)
        parts = [(slice(whole), self.size), (slice(whole, None), FEW_IMAGES)]
        return summed(
            [
                self._accumulated(self._compiled_real, images[part], labels[part], share[part], size)
                for part, size in parts
                if len(images[part])
            ]
        )

    def match(
        self, images: torch.Tensor, labels: torch.Tensor, targets: Sequence[Gradients], scales: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what `ExactGradients.match` does, in float32."""
        # The groups present change from step to step. Filled up to a power of two with targets that count nothing, few
        # graphs serve every number of them.
        fill = (1 << (len(targets) - 1).bit_length()) - len(targets)
        targets = [*targets, *[targets[0]] * fill]
        scales = torch.cat([scales, scales.new_zeros(fill)])
        gradient, distance = self._compiled_match(self.weights, images.detach(), labels, targets, scales)
        return distance, gradient

    def _real(self, weights: dict, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> Gradients:
        return tuple(g.float() for g in self._matched(weights, images, labels, share))

    def _matched(self, weights: dict, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> Gradients:
        def loss(matched: dict) -> torch.Tensor:
            return self._loss({**weights, **matched}, images, labels, share)

        return tuple(grad(loss)({name: weights[name] for name in self.names}).values())

    def _match(
        self,
        weights: dict,
        images: torch.Tensor,
        labels: torch.Tensor,
        targets: list[Gradients],
        scales: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        share = torch.full_like(labels, 1 / len(labels), dtype=torch.float32)

        def distance(images: torch.Tensor) -> torch.Tensor:
            rounded = images.to(self.dtype, memory_format=torch.channels_last)
            given = [g.float() for g in self._matched(weights, rounded, labels, share)]
            return _scaled(given, targets, scales, self.distance)

        return grad_and_value(distance)(images)


class ClassByClass:
    """Matches the gradients of one class after the other, in as many workers as torch has threads.

    Parameters
    ----------
    gradients : ExactGradients
    augment : DSA
        One siamese seed for the real and the synthetic images of a class.
    """

    def __init__(self, gradients: ExactGradients, augment: DSA) -> None:
        self.gradients, self.augment = gradients, augment

    def match(
        self, images: torch.Tensor, real: torch.Tensor, batch: RealBatch, seeds: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distances to all targets of a batch, summed, and their gradient, at the network's parameters now.

        Parameters
        ----------
        images : Tensor of float32, shape (K * ipc, C, H, W)
            The synthetic images, class after class.
        real : Tensor of float32, shape (M, C, H, W)
            The real images of the batch.
        batch : RealBatch
        seeds : sequence of int
            The siamese seed of each of the K classes.

        Returns
        -------
        distance : Tensor
            A scalar.
        gradient : Tensor of float32, shape (K * ipc, C, H, W)
        """
        self.gradients.refresh()
        counts = torch.bincount(batch.classes, minlength=len(seeds)).tolist()
        batch, _, scale = batch.on(real.device)
        targets = [[self._target(real, one, seed) for one in batch.of_class(label)] for label, seed in enumerate(seeds)]
        scales = scale.split(counts)
        parts = zip(images.detach().chunk(len(seeds)), range(len(seeds)), seeds, targets, scales, strict=True)
        distances, gradients = zip(*spread(lambda part: self._distance(*part), parts, real.device), strict=True)
        return torch.stack(distances).sum(), torch.cat(gradients)

    def _distance(
        self, images: torch.Tensor, label: int, seed: int, targets: list[Gradients], scales: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distance of a class from its targets, times `scales` (T,), and its gradient for the images."""
        leaf = images.clone().requires_grad_(True)
        augmented = self.augment(leaf, seed)
        distance, slope = self.gradients.match(augmented.detach(), _labels(leaf, label), targets, scales)
        (gradient,) = torch.autograd.grad(augmented, [leaf], slope)
        return distance, gradient

    def _target(self, real: torch.Tensor, target: Target, seed: int) -> Gradients:
        """Return the gradient of the weighted mean loss of the real images of a target."""
        images = self.augment(real[target.images], seed)
        return self.gradients.real(images, _labels(images, target.label), target.share)


def _labels(images: torch.Tensor, label: int) -> torch.Tensor:
    return torch.full((len(images),), label, device=images.device)


def _scaled(given: Gradients, targets: Sequence[Gradients], scales: torch.Tensor, metric: str) -> torch.Tensor:
    """Return the distances of `given` to the targets, times `scales` (T,) and summed."""
    return sum(
        scale * gradient_distance(given, target, metric) for target, scale in zip(targets, scales.unbind(), strict=True)
    )
