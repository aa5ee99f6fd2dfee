"""DSA of the images of all classes in one pass, one siamese seed for each class, for accelerators.

The same as calling `DSA` class by class. There each class takes a strategy of its own and tens of small operations;
here all images pass through all strategies, with parameters that change nothing where a class drew another strategy, so
that the operations are few, and the same at every step, so that they can be captured as one graph.

Every strategy is linear in the pixels except brightness, whose gradient is that of the pixels: the backward pass needs
parameters only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F

from ddbias.base.seeding import stream
from ddbias.learning.augment.draws import SeededDraws
from ddbias.learning.augment.dsa import DSA, MATRICES, STRATEGIES, coefficients
from ddbias.learning.device import kind, transfer
from ddbias.learning.precision import compiling

Capture = Callable[[Callable], Callable]
MOVES = {"crop", "cutout", "flip"}  # put pixels elsewhere, or set them to 0


def of_classes(
    augment: DSA, device: torch.device, precision: str, *, shape: tuple[int, ...], classes: int, ipc: int
) -> Callable[..., torch.Tensor]:
    """Return what is called as `SiameseClasses` and is fastest on a device: class by class on a CPU.

    Parameters
    ----------
    augment : DSA
    device : device
    precision : {"exact", "fast"}
    shape : tuple of int
        Channels, height and width of the images.
    classes, ipc : int
        Number of classes, and of synthetic images of each.
    """
    if kind(device).micro_batches:
        return lambda images, seeds, sizes: torch.cat(
            [augment(part, seed) for part, seed in zip(images.split(list(sizes)), seeds, strict=True)]
        )
    return siamese_for(augment, device, precision, shape=shape, classes=classes, ipc=ipc)


def siamese_for(
    augment: DSA, device: torch.device, precision: str, *, shape: tuple[int, ...], classes: int, ipc: int
) -> SiameseClasses:
    """Return what augments all classes at once, captured on a GPU where that is possible; see `of_classes`."""
    plain = SiameseClasses(augment)
    if not compiling.captures(device):
        return plain
    images, slopes = torch.randn(2, classes * ipc, *shape, generator=stream(0, "probe")).to(device)

    def probe(way: SiameseClasses) -> list[torch.Tensor]:
        leaf = images.clone().requires_grad_(True)
        changed = way(leaf, range(classes), [ipc] * classes)
        return [changed.detach(), *torch.autograd.grad(changed, leaf, slopes)]

    if precision != "fast":
        return compiling.same_in_graphs(plain, lambda: SiameseClasses(augment, compiling.graphed), probe)
    return compiling.fast_or_exact(
        plain,
        lambda: SiameseClasses(augment, compiling.captured),
        probe,
        obstacle=None,
        instead="images are augmented without a captured graph",
        calls=compiling.CAPTURED_CALLS,
    )


class SiameseClasses:
    """Augments all classes at once.

    Parameters
    ----------
    augment : DSA
    capture : callable or None
        Turns a function of tensors, which returns a tuple of them, into a faster one of the same result.
    """

    def __init__(self, augment: DSA, capture: Capture | None = None) -> None:
        self.augment = augment
        self._last: tuple[object, list[torch.Tensor]] = (None, [])  # real and synthetic images have the same seeds
        self._classes: dict[tuple[int, ...], torch.Tensor] = {}  # of every image, by the sizes of the classes
        self._captured = None if capture is None else (capture(self._changed), capture(self._pulled_back))

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
        drawn = (tuple(seeds), images.shape[1:])
        if self._last[0] != drawn:
            self._last = drawn, transfer(self.parameters(seeds, *images.shape[1:]), images.device)
        sizes = tuple(map(int, sizes))
        if sizes not in self._classes:
            classes = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
            (self._classes[sizes],) = transfer([classes], images.device)
        numbers, sources = (parameters[self._classes[sizes]] for parameters in self._last[1])
        if self._captured is None:
            return self._changed(images, numbers, sources)[0]
        return _Captured.apply(self._captured, images, numbers, sources)

    def parameters(
        self, seeds: Sequence[int], channels: int, height: int, width: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the parameters that the seeds draw.

        Returns
        -------
        numbers : Tensor of float32, shape (K, C * C + 3 + 3 * H * W)
            Of color, the matrix of the channels, the factor of an image's mean and what is added; whether images are
            warped; of each pixel, whether it stays; the grid on which images are warped.
        sources : Tensor of int64, shape (K, H * W)
            Of each pixel, which one comes to its place.
        """
        place = torch.arange(height * width).view(1, 1, height, width)
        still = torch.zeros(height * width * 2)
        numbers, sources = [], []
        for seed in seeds:
            name, drawn = self.augment.drawn(SeededDraws(seed), height, width)
            gain, pixel, image, offset = coefficients(*drawn) if name == "color" else (1.0, 0.0, 0.0, 0.0)
            matrix = gain * torch.eye(channels) + pixel / channels
            moved = (STRATEGIES[name][1](place + 1, *drawn) if name in MOVES else place + 1).flatten()  # 0: none
            grid = still
            if name in MATRICES:
                theta, size = torch.tensor([MATRICES[name](*drawn)]), [1, 1, height, width]
                grid = F.affine_grid(theta, size, align_corners=self.augment.align_corners).flatten()
            single = torch.tensor([image, offset, float(name in MATRICES)])
            numbers.append(torch.cat([matrix.flatten(), single, (moved > 0).float(), grid]))
            sources.append((moved - 1).clamp(min=0))
        return torch.stack(numbers), torch.stack(sources)

    def _changed(self, images: torch.Tensor, numbers: torch.Tensor, sources: torch.Tensor) -> tuple[torch.Tensor]:
        names, channels, pixels = set(self.augment.names), images.shape[1], sources.shape[1]
        parts = numbers[:, None].split([channels**2, 1, 1, 1, pixels, 2 * pixels], 2)  # (M, 1, .) each
        matrix, image, offset, warped, stays, grid = parts
        rows = images.flatten(2)  # (M, C, H * W)
        if "color" in names:
            offset = torch.addcmul(offset, image, rows.mean((1, 2), keepdim=True))
            rows = torch.baddbmm(offset, matrix.view(-1, channels, channels), rows)
        if names & MOVES:
            rows = rows.gather(2, sources[:, None].expand(-1, channels, -1)) * stays
        images = rows.view(images.shape)
        if names & MATRICES.keys():
            grid = grid.reshape(-1, *images.shape[2:], 2)
            images = images.lerp(
                F.grid_sample(images, grid, align_corners=self.augment.align_corners), warped[..., None]
            )
        return (images,)

    def _pulled_back(self, slopes: torch.Tensor, numbers: torch.Tensor, sources: torch.Tensor) -> tuple[torch.Tensor]:
        _, back = torch.func.vjp(lambda images: self._changed(images, numbers, sources)[0], torch.zeros_like(slopes))
        return back(slopes)


class _Captured(torch.autograd.Function):
    @staticmethod
    def forward(ctx, captured, images, *parameters):
        forward, ctx.back = captured
        ctx.save_for_backward(*parameters)
        return forward(images.detach(), *parameters)[0]

    @staticmethod
    def backward(ctx, slopes):
        return None, ctx.back(slopes.detach(), *ctx.saved_tensors)[0], None, None
