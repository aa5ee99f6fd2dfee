"""Gradient matching of all classes at once, on an accelerator: exactly, or the fast way on a GPU.

The gradients of one class need only its own images, so those of all are one function of a batch with a class axis,
``vmap`` over that axis of the gradient of a class: forward passes and gradients with respect to activations are those
of one large batch, gradients with respect to weights are a grouped convolution. The synthetic side is the same with the
distance and the twofold backward pass inside. ``exact`` is float32, an eighth of the kernels of one class after the
other; ``fast`` makes of each side one captured graph (`ddbias.learning.precision.half_precision`), in bfloat16, with
sums over parts and distances in float32.

A **target** (a row of a real batch's pool) is what has a gradient on the real side; a class may have several. Targets
of fewer images are padded with images of weight 0.

Not measured on a GPU. cuDNN's grouped convolutions are known to be slow on some shapes and GPUs: `unrolled` is the
same without them, one class after the other in the same graph, and benchmarks/gradient_matching.py compares both.

Memory: `half_precision.CAPTURED_IMAGES` real or `TWOFOLD_IMAGES` synthetic images at a time, and one gradient a target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.func import grad_and_value, vmap

from ddbias.debias.real_side import RealBatch, Target
from ddbias.distill.gradient_distance import gradient_distance
from ddbias.distill.precision.class_gradients import FastGradients, Gradients
from ddbias.learning.augment.siamese import SiameseClasses
from ddbias.learning.device import transfer
from ddbias.learning.precision import half_precision

TWOFOLD_IMAGES = 1024  # synthetic images whose twofold graph is held at a time


class LayerNorm(nn.LayerNorm):
    """Layer norm in single operations, with statistics in float32.

    Under ``vmap`` torch 2.13 takes mean and deviation for constants in the second derivative of its own: the gradient
    of a matching step was 8 % wrong.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return values (..., *normalized_shape) normalised."""
        dims = tuple(range(-len(self.normalized_shape), 0))
        variance, mean = torch.var_mean(values.float(), dims, correction=0, keepdim=True)
        normal = (values - mean) * torch.rsqrt(variance + self.eps)
        normal = normal if self.weight is None else normal * self.weight
        return (normal if self.bias is None else normal + self.bias).to(values.dtype)


class BatchedGradients(FastGradients):
    """What `FastGradients` gives class by class, and the same for all classes at once.

    Parameters
    ----------
    network : Module
        Without batch norm. Its parameters may change between calls where `refresh` follows.
    distance : str
        A metric of `ddbias.distill.gradient_distance`.
    dtype : dtype
        What gradients are computed in.
    compiled : callable or None
        Turns a function of tensors into a faster one of the same result; None: `half_precision.captured`.
    each : callable
        ``vmap`` or `unrolled`: makes of a function of one class one of all.
    """

    def __init__(
        self,
        network: nn.Module,
        distance: str,
        *,
        dtype: torch.dtype = torch.bfloat16,
        compiled: Callable[[Callable], Callable] | None = None,
        each: Callable[[Callable], Callable] = vmap,
    ) -> None:
        compiled = compiled or half_precision.captured
        super().__init__(network, distance, dtype=dtype, compiled=compiled)
        self.each = each
        _spell_out(self.half)
        self._compiled_real_all, self._compiled_match_all = compiled(self._real_all), compiled(self._match_all)

    def real_all(self, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> Gradients:
        """Return the gradients of sum(share * cross-entropy) of each target.

        Parameters
        ----------
        images : Tensor of float32, shape (R, B, C, H, W)
        labels : Tensor of int64, shape (R,)
        share : Tensor of float32, shape (R, B)
            0 for padding.

        Returns
        -------
        tuple of Tensor of float32, each of shape (R, ...)
        """
        size = _rows(len(images), images.shape[1], half_precision.CAPTURED_IMAGES)
        parts = zip(images.detach().split(size), labels.split(size), share.split(size), strict=True)
        parts = [self._compiled_real_all(self.weights, *part) for part in parts]
        return tuple(torch.cat(tensors) for tensors in zip(*parts, strict=True))

    def match_all(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        targets: Gradients,
        classes: torch.Tensor,
        scales: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distances of the synthetic gradients to the targets, times `scales` and summed, and its gradient.

        Parameters
        ----------
        images : Tensor of float32, shape (K, ipc, C, H, W)
            Synthetic images, augmented.
        labels : Tensor of int64, shape (K,)
        targets : tuple of Tensor, each of shape (R, ...)
            What `real_all` returned.
        classes : Tensor of int64, shape (R,), on the CPU
            Target r is for the images of class ``classes[r]``, 0 .. K - 1.
        scales : Tensor of float32, shape (R,)

        Returns
        -------
        distance : Tensor
            A scalar.
        gradient : Tensor of float32, shape (K, ipc, C, H, W)
        """
        images = images.detach()
        size = _rows(len(images), images.shape[1], TWOFOLD_IMAGES)
        distance, gradients = images.new_zeros(()), []
        for first in range(0, len(images), size):
            part, chosen = slice(first, first + size), classes // size == first // size
            own, members = classes[chosen] - first, chosen.nonzero().squeeze(1)
            if not chosen.all():
                members = members.to(images.device)
            few = targets if chosen.all() else tuple(target[members] for target in targets)
            some = scales if chosen.all() else scales[members]
            # One target a class, in order, is what most debias kinds have: then nothing need be repeated.
            plain = torch.equal(own, torch.arange(len(images[part])))
            gradient, value = self._compiled_match_all(
                self.weights, images[part], labels[part], few, some, None if plain else own.to(images.device)
            )
            distance += value
            gradients.append(gradient)
        return distance, torch.cat(gradients)

    def _of_each(self, weights: dict, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> Gradients:
        def one(images: torch.Tensor, label: torch.Tensor, share: torch.Tensor) -> Gradients:
            return self._matched(weights, images, label.expand(len(images)), share)

        gradients = self.each(one)(images.to(self.dtype), labels, share)
        return tuple(gradient.float() for gradient in gradients)

    def _real_all(self, weights: dict, images: torch.Tensor, labels: torch.Tensor, share: torch.Tensor) -> Gradients:
        return self._of_each(weights, images, labels, share)

    def _match_all(
        self,
        weights: dict,
        images: torch.Tensor,
        labels: torch.Tensor,
        targets: Gradients,
        scales: torch.Tensor,
        classes: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        share = torch.full(images.shape[:2], 1 / images.shape[1], dtype=torch.float32, device=images.device)

        def distance(images: torch.Tensor) -> torch.Tensor:
            given = self._of_each(weights, images, labels, share)
            if classes is not None:
                given = tuple(gradient[classes] for gradient in given)
            return scales @ vmap(lambda a, b: gradient_distance(a, b, self.distance))(given, targets)

        return grad_and_value(distance)(images)


class AllAtOnce:
    """Matches the gradients of all classes in one batch; `match` is that of `ClassByClass`.

    Parameters
    ----------
    gradients : BatchedGradients
    siamese : SiameseClasses
    """

    def __init__(self, gradients: BatchedGradients, siamese: SiameseClasses) -> None:
        self.gradients, self.siamese = gradients, siamese

    def match(
        self, images: torch.Tensor, real: torch.Tensor, batch: RealBatch, seeds: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the distances to all targets of a batch, summed, and their gradient, as `ClassByClass.match`."""
        self.gradients.refresh()
        classes = len(seeds)
        given = (*rows_of(batch.targets), batch.classes, batch.scale)
        index, share, of, scale = transfer(given, real.device)  # (R, B), (R, B), (R,), (R,)
        sizes = torch.bincount(batch.labels, minlength=classes).tolist()
        augmented = self.siamese(real, seeds, sizes)[index]  # (R, B, C, H, W)
        targets = self.gradients.real_all(augmented, of, share)
        leaf = images.detach().requires_grad_(True)
        augmented = self.siamese(leaf, seeds, [len(images) // classes] * classes)
        synthetic = augmented.detach().unflatten(0, (classes, -1))  # (K, ipc, C, H, W)
        labels = torch.arange(classes, device=images.device)
        distance, slope = self.gradients.match_all(synthetic, labels, targets, batch.classes, scale)
        (gradient,) = torch.autograd.grad(augmented, [leaf], slope.flatten(0, 1))
        return distance, gradient


def unrolled(function: Callable[..., Gradients]) -> Callable[..., Gradients]:
    """Return what ``vmap(function)`` returns, computed row after row."""

    def every(*given: torch.Tensor) -> Gradients:
        results = [function(*row) for row in zip(*(tensor.unbind() for tensor in given), strict=True)]
        return tuple(torch.stack(tensors) for tensors in zip(*results, strict=True))

    return every


def rows_of(targets: Sequence[Target]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which images each of R targets needs, and their shares, as matrices.

    Returns
    -------
    index : Tensor of int64, shape (R, B)
        Positions in the batch; 0 where a target has fewer than B images. B is the number of images of the largest
        target, or up to a quarter more.
    share : Tensor of float32, shape (R, B)
        0 for padding.
    """
    most = max(len(target.images) for target in targets)
    # Four sizes between two powers of 2, so that few shapes are captured where the sizes of targets change.
    step = 2 ** max(0, math.ceil(math.log2(most)) - 3)  # 33 .. 64: 8
    size = math.ceil(most / step) * step
    index, share = torch.zeros(len(targets), size, dtype=torch.int64), torch.zeros(len(targets), size)
    for row, target in enumerate(targets):
        index[row, : len(target.images)], share[row, : len(target.images)] = target.images, target.share
    return index, share


def _spell_out(network: nn.Module) -> None:
    """Replace layer norms, keeping their parameters."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.LayerNorm:
                norm = LayerNorm(child.normalized_shape, eps=child.eps)
                norm.weight, norm.bias = child.weight, child.bias
                setattr(parent, name, norm)


def _rows(count: int, images: int, most: int) -> int:
    """Return how many of `count` rows of `images` each make a part of at most `most` images, parts being even."""
    parts = math.ceil(count / max(1, most // images))
    return math.ceil(count / parts)
