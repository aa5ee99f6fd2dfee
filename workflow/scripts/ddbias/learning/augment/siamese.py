"""DSA of the images of all classes in one pass, one siamese seed for each class, for GPUs.

The same as calling `DSA` class by class. There each class takes a strategy of its own and tens of small operations;
here all images pass through all strategies, with parameters that change nothing where a class drew another strategy, so
that the operations are the same at every step and can be captured as one graph.

Every strategy is linear in the pixels except brightness, and each class has one strategy. So the backward pass is the
forward pass with brightness 0, shifts reversed and the sampling grid transposed: no graph is kept, and only the
gradient of scale and rotate is scattered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from ddbias.learning.augment.draws import Parameter, SeededDraws
from ddbias.learning.augment.dsa import DSA, color, crop, cutout, flip, warp

# Of one class: brightness, saturation, contrast; rows and columns of crop and of cutout; mirrored; warped; its matrix.
NOTHING = (0.0, 1.0, 1.0, 0.0, 0.0, -1e6, -1e6, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0)
FIRST = {"color": 0, "crop": 3, "cutout": 5, "flip": 7, "scale": 8, "rotate": 8}


class SiameseClasses:
    """Augments all classes at once.

    Parameters
    ----------
    augment : DSA
    capture : callable
        Turns a function of tensors, which returns a tuple of them, into a faster one of the same result.
    """

    def __init__(self, augment: DSA, capture: Callable[[Callable], Callable] = lambda function: function) -> None:
        self.augment = augment
        self._forward, self._backward = capture(self._changed), capture(self._changed_back)

    def __call__(self, images: torch.Tensor, seeds: Sequence[int], sizes: Sequence[int]) -> torch.Tensor:
        """Return ``augment(images of class k, seeds[k])`` for all k, one after another.

        Parameters
        ----------
        images : Tensor of float32, shape (M, C, H, W)
            Class after class.
        seeds, sizes : sequence of int
            Of each class: the siamese seed, the number of images.

        Returns
        -------
        Tensor of float32, shape (M, C, H, W)
            A gradient flows to the images.
        """
        if not self.augment.names:
            return images
        numbers = self.parameters(seeds, *images.shape[2:])
        each = numbers.repeat_interleave(torch.as_tensor(sizes), 0).to(images.device)
        return _Changed.apply(self, images, each)

    def parameters(self, seeds: Sequence[int], height: int, width: int) -> torch.Tensor:
        """Return the parameters (K, 13) that the seeds draw, float32, in the order of `NOTHING`."""
        rows = []
        for seed in seeds:
            name, drawn = self.augment.drawn(SeededDraws(seed), height, width)
            row = torch.tensor(NOTHING)
            if name == "scale":
                drawn = (1.0, drawn[0], 0.0, 0.0, drawn[1])
            elif name == "rotate":
                angle = torch.tensor(drawn[0], dtype=torch.float64)
                drawn = (1.0, angle.cos(), -angle.sin(), angle.sin(), angle.cos())
            row[FIRST[name] : FIRST[name] + len(drawn)] = torch.tensor([float(value) for value in drawn])
            rows.append(row)
        return torch.stack(rows)

    def _changed(self, images: torch.Tensor, each: torch.Tensor) -> tuple[torch.Tensor]:
        *shared, warped, matrix = _columns(each)
        images = self._unwarped(images, *shared)
        return (torch.where(warped, self._warp(images, matrix), images) if self._warps else images,)

    def _changed_back(self, slopes: torch.Tensor, each: torch.Tensor) -> tuple[torch.Tensor]:
        brightness, saturation, contrast, rows, columns, *rest, warped, matrix = _columns(each)
        nothing = torch.zeros_like(brightness)
        images = self._unwarped(slopes, nothing, saturation, contrast, -rows, -columns, *rest)
        if self._warps:
            _, back = torch.func.vjp(lambda images: self._warp(images, matrix), torch.zeros_like(slopes))
            images = torch.where(warped, back(slopes)[0], images)
        return (images,)

    @property
    def _warps(self) -> bool:
        return not {"scale", "rotate"}.isdisjoint(self.augment.names)

    def _warp(self, images: torch.Tensor, matrix: tuple[torch.Tensor, ...]) -> torch.Tensor:
        a, b, c, d = matrix
        return warp(images, ((a, b, 0.0), (c, d, 0.0)), self.augment.align_corners)

    def _unwarped(self, images: torch.Tensor, *shared: Parameter) -> torch.Tensor:
        brightness, saturation, contrast, down, right, rows, columns, mirrored = shared
        names = self.augment.names
        if "color" in names:
            images = color(images, brightness, saturation, contrast)
        if "crop" in names:
            images = crop(images, down, right)
        if "cutout" in names:
            images = cutout(images, rows, columns)
        return flip(images, mirrored) if "flip" in names else images


def _columns(each: torch.Tensor) -> tuple:
    """Return the parameters (M, 13) one by one, (M,) each: shifts as whole numbers, switches as bools, the matrix."""
    whole = each[:, 3:7].to(torch.int64)
    switches = each[:, 7:9] > 0
    warped = switches[:, 1, None, None, None]
    return (*each[:, :3].unbind(1), *whole.unbind(1), switches[:, 0], warped, each[:, 9:].unbind(1))


class _Changed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, augment, images, each):
        ctx.augment = augment
        ctx.save_for_backward(each)
        return augment._forward(images.detach(), each)[0]

    @staticmethod
    def backward(ctx, slopes):
        (each,) = ctx.saved_tensors
        return None, ctx.augment._backward(slopes.detach(), each)[0], None
