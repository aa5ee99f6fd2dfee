"""Gradient matching of all classes at once, on an accelerator: exactly, or the fast way on a GPU.

The gradients of one class need only its own images, so those of all are one function of a batch with a class axis,
``vmap`` over that axis of the gradient of a class: forward passes and gradients with respect to activations are those
of one large batch, gradients with respect to weights are a grouped convolution. The synthetic side is the same with the
distance and the twofold backward pass inside. ``exact`` is float32, an eighth of the kernels of one class after the
other; ``fast`` makes of each side one captured graph (`ddbias.learning.precision.compiling`), in bfloat16, with
sums over parts and distances in float32.

A **target** is what has a gradient on the real side; a class may have several. Where they differ in size, as groups do,
they are cut into rows of two lengths, whose gradients are summed, and their numbers are rounded up: a few shapes serve
all steps, and less than a third of the images is padding (`rows_of`).

Not measured on a GPU. cuDNN's grouped convolutions are known to be slow on some shapes and GPUs; benchmarks/gpu.py
compares the way of ``fast`` with one class after the other.

Memory: `compiling.CAPTURED_IMAGES` real or `TWOFOLD_IMAGES` synthetic images at a time, and one gradient a target.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import nn
from torch.func import grad_and_value, vmap
from torch.nn.functional import pad

from ddbias.debias.real_side import RealBatch, Target
from ddbias.distill.gradient_distance import gradient_distance
from ddbias.distill.precision.class_gradients import FastGradients, Gradients
from ddbias.learning.augment.siamese import SiameseClasses
from ddbias.learning.device import transfer
from ddbias.learning.precision import compiling

LENGTHS = (64, 8)  # images of a row where targets differ in size
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
    dtype : dtype or None
        What gradients are computed in, as of `FastGradients`.
    compiled : callable or None
        Turns a function of tensors into a faster one of the same result; None: `compiling.captured`.
    """

    def __init__(
        self,
        network: nn.Module,
        distance: str,
        *,
        dtype: torch.dtype | None = None,
        compiled: Callable[[Callable], Callable] | None = None,
    ) -> None:
        compiled = compiled or compiling.captured
        super().__init__(network, distance, dtype=dtype, compiled=compiled)
        _spell_out(self.rounded)
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
        size = _rows(len(images), images.shape[1], compiling.CAPTURED_IMAGES)
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

        gradients = vmap(one)(images.to(self.dtype), labels, share)
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
        rows, count = rows_of(batch.targets), _filled_up(batch.targets)
        fill = count - len(batch.targets)  # further targets, that count nothing
        of = pad(batch.classes, (0, fill))  # (R,)
        given = [part for one in rows for part in (one.target, of[one.target], one.index, one.share)]
        scale, *given = transfer([pad(batch.scale, (0, fill)), *given], real.device)
        sizes = torch.bincount(batch.labels, minlength=classes).tolist()
        augmented = self.siamese(real, seeds, sizes)
        parts = list(zip(*[iter(given)] * 4, strict=True))  # (r,), (r,), (r, B), (r, B)
        summands = [self.gradients.real_all(augmented[index], label, share) for _, label, index, share in parts]
        if _even(batch.targets):
            (targets,) = summands
        else:
            targets = tuple(tensor.new_zeros(count, *tensor.shape[1:]) for tensor in summands[0])
            for (target, *_), some in zip(parts, summands, strict=True):
                targets = tuple(whole.index_add_(0, target, part) for whole, part in zip(targets, some, strict=True))
            for tensor in targets if fill else ():
                tensor[-fill:] = tensor[:1]  # the distance from nothing has no gradient
        leaf = images.detach().requires_grad_(True)
        augmented = self.siamese(leaf, seeds, [len(images) // classes] * classes)
        synthetic = augmented.detach().unflatten(0, (classes, -1))  # (K, ipc, C, H, W)
        labels = torch.arange(classes, device=images.device)
        distance, slope = self.gradients.match_all(synthetic, labels, targets, of, scale)
        (gradient,) = torch.autograd.grad(augmented, [leaf], slope.flatten(0, 1))
        return distance, gradient


class Rows(NamedTuple):
    """Parts of targets, all of one length.

    Attributes
    ----------
    target : Tensor of int64, shape (r,)
        Of which target each row is a part; 0 where a row only fills up.
    index : Tensor of int64, shape (r, B)
        Positions in the batch; 0 for padding.
    share : Tensor of float32, shape (r, B)
        0 for padding.
    """

    target: torch.Tensor
    index: torch.Tensor
    share: torch.Tensor


def rows_of(targets: Sequence[Target]) -> list[Rows]:
    """Return the images of all targets and their shares as matrices: as they are if all targets are of one size.

    Else in rows of `LENGTHS`: as many of the larger as fit, and one more if the rest fills three quarters of it; what
    is left is in rows of the smaller.
    """
    if _even(targets):
        parts = [(number, target.images, target.share) for number, target in enumerate(targets)]
        return [_matrix(parts, len(targets[0].images), len(targets))]
    found: dict[int, list[tuple[int, torch.Tensor, torch.Tensor]]] = {length: [] for length in LENGTHS}
    large, small = LENGTHS
    for number, target in enumerate(targets):
        rest = len(target.images) % large
        whole = len(target.images) - (rest if rest < large * 3 // 4 else 0)
        for images, share, length in (
            (target.images[:whole], target.share[:whole], large),
            (target.images[whole:], target.share[whole:], small),
        ):
            cut = zip(images.split(length), share.split(length), strict=True)
            found[length] += [(number, *part) for part in cut if len(images)]
    return [_matrix(parts, length, _rounded(len(parts))) for length, parts in found.items() if parts]


def _matrix(parts: Sequence[tuple[int, torch.Tensor, torch.Tensor]], length: int, count: int) -> Rows:
    target, index = torch.zeros(count, dtype=torch.int64), torch.zeros(count, length, dtype=torch.int64)
    share = torch.zeros(count, length)
    for row, (number, images, shares) in enumerate(parts):
        target[row], index[row, : len(images)], share[row, : len(images)] = number, images, shares
    return Rows(target, index, share)


def _even(targets: Sequence[Target]) -> bool:
    return len({len(target.images) for target in targets}) == 1


def _filled_up(targets: Sequence[Target]) -> int:
    return len(targets) if _even(targets) else _rounded(len(targets))


def _rounded(count: int) -> int:
    """Return `count` or up to a quarter more: four numbers between two powers of 2."""
    step = 2 ** max(0, math.ceil(math.log2(count)) - 3)  # 33 .. 64: 8
    return math.ceil(count / step) * step


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
