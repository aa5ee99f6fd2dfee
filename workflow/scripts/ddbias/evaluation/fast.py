"""Whether an evaluation trains and tests its networks in bfloat16, as ``precision: fast`` asks for.

Parameters, momentum and the update stay float32; the gradient of a batch, and the logits of the test images, come from
a compiled network in bfloat16 (`ddbias.learning.precision.half_network`). Batches and augmentation are those of
float32. Repeats share the compiled graphs.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.functional import cross_entropy

from ddbias.base.seeding import stream
from ddbias.data.split import Split
from ddbias.evaluation import debiased_training
from ddbias.learning.device import kind
from ddbias.learning.networks import Network
from ddbias.learning.precision import half_precision
from ddbias.learning.precision.half_network import HalfNetwork, as_vector


def fast_network(
    network: Network,
    test: Split,
    *,
    count: int,
    batch_size: int,
    debiasing: Mapping,
    cutmix: float = 0.0,
    soft_labels: bool = False,
) -> HalfNetwork | None:
    """Return what computes like `network` in bfloat16, or None and say why it cannot be had.

    Parameters
    ----------
    network : Network
        Of the architecture and on the device of all that will be trained.
    test : Split
    count, batch_size : int
        Number of images to train on, and of those of a batch.
    debiasing : mapping
        ``kind`` and options, see `ddbias.evaluation.debiased_training`.
    cutmix : float
        Share of the batches that are mixed.
    soft_labels : bool
        Whether networks are trained on soft labels.
    """
    device = next(network.parameters()).device
    size = half_precision.least_filled([len(batch) for batch in torch.arange(count).split(batch_size)])
    images = torch.randn(size, *test.shape, generator=stream(0, "probe"))
    labels = torch.arange(size) % test.classes

    def probe(fast: HalfNetwork | None) -> list[torch.Tensor]:
        if fast is None:
            return [as_vector(_gradients(network, images, labels)), network(images).detach()]
        return [as_vector(fast.of_mean(images, labels)), fast.logits(images)]

    return half_precision.fast_or_exact(
        None,
        lambda: HalfNetwork(network, size=size),
        probe,
        obstacle=_loss_obstacle(debiasing["kind"], cutmix, soft_labels) or _evaluation_obstacle(network, device),
        instead="the evaluation stays float32",
    )


def _loss_obstacle(debiasing: str, cutmix: float, soft_labels: bool) -> str | None:
    if cutmix:
        return "CutMix has a loss of its own"
    if soft_labels:
        return "soft labels have a loss of their own"
    return None if debiasing == debiased_training.NONE else f"debiasing {debiasing} has a loss of its own"


def _evaluation_obstacle(network: Network, device: torch.device) -> str | None:
    if not kind(device).micro_batches:
        return "networks are not trained in bfloat16 on a GPU"
    return half_precision.network_obstacle(network, device)


def _gradients(network: Network, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(cross_entropy(network(images), labels), list(network.parameters()))
