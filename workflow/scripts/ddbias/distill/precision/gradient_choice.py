"""Which way gradient matching computes: class by class on a CPU, all classes at once on an accelerator."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from ddbias.base.seeding import stream
from ddbias.debias.real_side import RealBatch, Target
from ddbias.distill.precision.batched_gradients import AllAtOnce, BatchedGradients
from ddbias.distill.precision.class_gradients import ClassByClass, ExactGradients, FastGradients
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.augment.siamese import SiameseClasses, siamese_for
from ddbias.learning.device import kind
from ddbias.learning.networks import own
from ddbias.learning.precision import compiling
from ddbias.learning.precision.compiled_network import as_vector

PROBED_CLASSES = 16  # with which a GPU tries what it will do, at most


def matching_for(
    network: nn.Module,
    distance: str,
    augment: DSA,
    *,
    shape: tuple[int, ...],
    classes: int,
    ipc: int,
    real_batch: int,
    device: torch.device,
    precision: str,
) -> ClassByClass | AllAtOnce:
    """Return the gradient matching for `precision`, the exact one if the fast one is impossible.

    Parameters
    ----------
    network : Module
        On `device`. Its parameters may change (in place) between two steps.
    distance : str
        A metric of `ddbias.distill.gradient_distance`.
    augment : DSA
    shape : tuple of int
        Channels, height and width of the images.
    classes, ipc, real_batch : int
        Number of classes, and of synthetic and of real images of each.
    device : device
    precision : {"exact", "fast"}
    """
    exact, sides = ExactGradients(network, distance), {"shape": shape, "classes": classes, "ipc": ipc}
    if precision != "fast":
        # `vmap` may not know what the network of a plug-in does.
        if kind(device).micro_batches or own.is_own(network) or compiling.copy_obstacle(network):
            return ClassByClass(exact, augment)
        gradients = _batched(network, distance, (min(classes, PROBED_CLASSES), real_batch, ipc), shape, device)
        return AllAtOnce(gradients, siamese_for(augment, device, precision, **sides))
    if not compiling.captures(device):
        how = {"shape": shape, "count": ipc, "device": device, "precision": precision}
        return ClassByClass(gradients_for(network, distance, exact.names, **how), augment)
    sizes = min(classes, PROBED_CLASSES), real_batch, ipc
    gradients = compiling.fast_or_exact(
        exact,
        lambda: BatchedGradients(network, distance),
        lambda way: _probe(way, shape, sizes, device),
        obstacle=compiling.network_obstacle(network, device),
        instead="gradients are computed exactly",
        calls=compiling.CAPTURED_CALLS,
    )
    if isinstance(gradients, BatchedGradients):
        return AllAtOnce(gradients, siamese_for(augment, device, precision, **sides))
    return ClassByClass(gradients, augment)


def gradients_for(
    network: nn.Module,
    distance: str,
    names: Sequence[str],
    *,
    shape: tuple[int, ...],
    count: int,
    device: torch.device,
    precision: str,
) -> ExactGradients:
    """Return the gradients of one class after the other for `precision`, on a GPU the exact ones.

    Parameters
    ----------
    network, distance
        As of `matching_for`.
    names : sequence of str
        Parameters whose gradients are compared.
    shape : tuple of int
        Channels, height and width of the images.
    count : int
        Synthetic images of a class that are compared at a time.
    device : device
    precision : {"exact", "fast"}
    """
    exact = ExactGradients(network, distance, names)
    if precision != "fast":
        return exact
    obstacle = "a GPU does not compile the gradients of a single class" if compiling.captures(device) else None
    return compiling.fast_or_exact(
        exact,
        lambda: FastGradients(network, distance, names),
        lambda way: _probe(way, shape, (1, compiling.MICRO_BATCH, count), device),
        obstacle=obstacle or compiling.network_obstacle(network, device),
        instead="gradients are computed exactly",
    )


def _probe(
    gradients: ExactGradients, shape: tuple[int, ...], sizes: tuple[int, int, int], device: torch.device
) -> list[torch.Tensor]:
    """Return what a way gives for noise: gradients of both sides and, on a GPU, of a training step.

    `sizes` are the classes, the real and the synthetic images of each.
    """
    classes, count, ipc = sizes
    noise = torch.randn(classes, count + ipc, *shape, generator=stream(0, "probe")).to(device)
    real, images = noise.split([count, ipc], 1)
    share = torch.full((classes, count), 1 / count, device=device)
    members = torch.arange(classes * count).view(classes, count)  # (K, B)
    targets = tuple(Target(label, rows, share[0].cpu()) for label, rows in enumerate(members))
    batch = RealBatch(members.flatten(), torch.arange(classes).repeat_interleave(count), targets)
    labels, plain = torch.arange(classes, device=device), DSA("none")
    gradients.refresh()
    if isinstance(gradients, BatchedGradients):
        way = AllAtOnce(gradients, SiameseClasses(plain))
        given = list(torch.cat([tensor.flatten(1) for tensor in gradients.real_all(real, labels, share)], 1))
    else:
        way = ClassByClass(gradients, plain)
        given = [as_vector(gradients.real(real[k], labels[k].expand(count), share[k])) for k in range(classes)]
    _, slope = way.match(images.flatten(0, 1), real.flatten(0, 1), batch, [0] * classes)
    given += slope.chunk(classes)
    if compiling.captures(device):
        given.append(as_vector(_of_mean(gradients, images[0], labels[0].expand(ipc))))
    return given


def _batched(
    network: nn.Module, distance: str, sizes: tuple[int, int, int], shape: tuple[int, ...], device: torch.device
) -> BatchedGradients:
    """Return the exact gradients of all classes at once, on a GPU captured as graphs; `sizes` as of `_probe`."""

    def made(compiled: Callable[[Callable], Callable]) -> BatchedGradients:
        gradients = BatchedGradients(network, distance, dtype=torch.float32, compiled=compiled)
        gradients.of_mean = None  # training between two steps takes torch's own way
        return gradients

    plain = made(lambda function: function)
    if not kind(device).captures:
        return plain
    return compiling.same_in_graphs(
        plain, lambda: made(compiling.graphed), lambda way: _probe(way, shape, sizes, device)
    )


def _of_mean(gradients: ExactGradients, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    if gradients.of_mean is not None:
        return gradients.of_mean(images, labels)[1]
    return torch.autograd.grad(cross_entropy(gradients.network(images), labels), list(gradients.network.parameters()))
