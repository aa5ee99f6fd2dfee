"""Which way gradient matching computes its gradients."""

from __future__ import annotations

import torch
from torch import nn

from ddbias.base.log import logger
from ddbias.base.seeding import stream
from ddbias.distill.precision.batched_gradients import BatchedGradients
from ddbias.distill.precision.class_gradients import ExactGradients, FastGradients
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.augment.siamese import SiameseClasses
from ddbias.learning.precision import half_precision
from ddbias.learning.precision.half_network import as_vector
from ddbias.learning.precision.workers import spread


def class_gradients(
    network: nn.Module,
    distance: str,
    *,
    shape: tuple[int, ...],
    ipc: int,
    device: torch.device,
    precision: str,
    classes: int = 1,
    real_batch: int = half_precision.MICRO_BATCH,
) -> ExactGradients:
    """Return the way to compute gradients that `precision` asks for; where it cannot be had, say so: the exact one.

    Parameters
    ----------
    network : Module
        On `device`.
    distance : str
        A metric of `ddbias.distill.gradient_distance`.
    shape : tuple of int
        Channels, height and width of the images.
    ipc : int
        Synthetic images per class.
    device : device
    precision : {"exact", "fast"}
    classes, real_batch : int
        Number of classes and of real images of each, with which a GPU tries what it will do.
    """
    exact = ExactGradients(network, distance)
    if precision != "fast":
        return exact
    fast, lacking = exact, half_precision.network_obstacle(network, device)
    if not lacking and half_precision.captures(device):
        fast = BatchedGradients(network, distance)
        lacking = _doubt_all(fast, exact, shape, (min(classes, 16), real_batch, ipc), device)
    elif not lacking:
        fast = FastGradients(network, distance)
        fast.refresh()
        noise = torch.randn(half_precision.MICRO_BATCH + ipc, *shape, generator=stream(0, "probe")).to(device)
        lacking = half_precision.doubt(lambda: _probe(fast, noise, ipc), lambda: _probe(exact, noise, ipc))
    if lacking:
        logger.info("precision fast: %s, so gradient matching stays float32", lacking)
    return exact if lacking else fast


def siamese_classes(
    augment: DSA, *, shape: tuple[int, ...], classes: int, ipc: int, device: torch.device
) -> SiameseClasses:
    """Return what augments all classes at once on a GPU, captured where that can be had; where it cannot, say so.

    `shape` is that of an image, `ipc` the synthetic images per class.
    """
    plain, captured = SiameseClasses(augment), SiameseClasses(augment, half_precision.captured)
    images, slopes = torch.randn(2, classes * ipc, *shape, generator=stream(0, "probe")).to(device)

    def probe(way: SiameseClasses) -> list[torch.Tensor]:
        leaf = images.clone().requires_grad_(True)
        changed = way(leaf, range(classes), [ipc] * classes)
        return [changed.detach(), *torch.autograd.grad(changed, leaf, slopes)]

    lacking = half_precision.doubt(lambda: probe(captured), lambda: probe(plain), calls=half_precision.CAPTURED_CALLS)
    if lacking:
        logger.info("precision fast: %s, so images are augmented without a captured graph", lacking)
    return plain if lacking else captured


def _probe(gradients: ExactGradients, images: torch.Tensor, ipc: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the gradient of the first images, as one vector, and that of its distance to the others' `ipc`."""
    labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
    share = torch.full((len(images) - ipc,), 1 / (len(images) - ipc), device=images.device)
    real = gradients.real(images[:-ipc], labels[:-ipc], share)
    # By a worker, as later: a graph is compiled for a number of threads.
    one = images.new_ones(1)
    [(_, slope)] = spread(
        lambda images: gradients.match(images, labels[-ipc:], [real], one), [images[-ipc:]], images.device
    )
    return as_vector(real), slope


def _doubt_all(
    fast: BatchedGradients,
    exact: ExactGradients,
    shape: tuple[int, ...],
    sizes: tuple[int, int, int],
    device: torch.device,
) -> str | None:
    """Return why the way of all classes at once is not to be had, or None.

    `sizes` are the classes, the real and the synthetic images of each that it is tried with; each class is judged.
    """
    classes, count, ipc = sizes
    noise = torch.randn(classes, count + ipc, *shape, generator=stream(0, "probe")).to(device)
    real, images = noise.split([count, ipc], 1)
    labels = torch.zeros(classes, dtype=torch.int64, device=device)
    share = torch.full((classes, count), 1 / count, device=device)
    fast.refresh()

    def at_once() -> list[torch.Tensor]:
        targets = fast.real_all(real, labels, share)
        _, slopes = fast.match_all(images, labels, targets, torch.arange(classes), share.new_ones(classes))
        every = fast.every(images[0], labels[:1].expand(ipc), share.new_full((ipc,), 1 / ipc))
        return [*_vectors(targets), *slopes, as_vector(every)]

    def one_by_one() -> list[torch.Tensor]:
        targets = [exact.real(real[k], labels[k].expand(count), share[k]) for k in range(classes)]
        slopes = [
            exact.match(images[k], labels[k].expand(ipc), [targets[k]], share.new_ones(1))[1] for k in range(classes)
        ]
        losses = torch.nn.functional.cross_entropy(exact.network(images[0]), labels[:1].expand(ipc))
        every = torch.autograd.grad(losses, list(exact.network.parameters()))
        return [*(as_vector(target) for target in targets), *slopes, as_vector(every)]

    return half_precision.doubt(at_once, one_by_one, calls=half_precision.CAPTURED_CALLS)


def _vectors(gradients: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return gradients (R, ...) of all tensors as one vector a target, (R, P)."""
    return torch.cat([tensor.flatten(1) for tensor in gradients], 1)
