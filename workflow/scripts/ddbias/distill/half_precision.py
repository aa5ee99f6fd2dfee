"""Networks in bfloat16 for compiled graphs: what is common to the fast ways of the distillers.

On a processor that multiplies bfloat16 in hardware: bfloat16, channels-last and compiled, in micro-batches of 32 images
whose activations stay in the cache (instance, layer and group norm are per sample, so micro-batches change nothing
mathematically). On a GPU: one batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import nn

from ddbias import device as devices

MICRO_BATCH = 32
LEAST_COSINE = 0.95  # of what a network gives in bfloat16 and in float32


class AveragePooling(nn.Module):
    """2 x 2 average pooling by reshaping.

    The compiler turns its derivative into plain reads; for that of ``nn.AvgPool2d`` it tests borders at every pixel,
    which took a fifth of the backward pass.
    """

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (B, C, H // 2, W // 2) of images (B, C, H, W)."""
        count, maps, height, width = images.shape
        height, width = height // 2, width // 2
        images = images[:, :, : 2 * height, : 2 * width]
        return images.reshape(count, maps, height, 2, width, 2).mean((3, 5))


def obstacle(network: nn.Module, device: torch.device) -> str | None:
    """Return why `network` cannot compute fast on `device`, or None."""
    if here := devices.obstacle(device):
        return here
    # An image's embedding then depends on its batch, so micro-batches would change it.
    return "the network has batch norm" if has_batch_norm(network) else None


def has_batch_norm(network: nn.Module) -> bool:
    """Tell whether an image's embedding depends on its batch."""
    return any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules())


def doubt(fast: Callable[[], Sequence[torch.Tensor]], exact: Callable[[], Sequence[torch.Tensor]]) -> str | None:
    """Compute a probe both ways, the fast one last, and return why the fast way is not to be had, or None.

    A network that normalises maps of few pixels, as VGG11 does on small images, magnifies the rounding. The probe must
    be the same whenever a job starts, so that a resumed one decides alike. Loads the compiler.
    """
    from torch._dynamo.exc import TorchDynamoException

    try:
        pairs = list(zip(exact(), fast(), strict=True))
    except TorchDynamoException:
        return "torch cannot compile this network"
    cosines = [torch.cosine_similarity(a.flatten(), b.flatten(), dim=0) for a, b in pairs]
    return None if min(cosines) >= LEAST_COSINE else "bfloat16 has too few digits for this network"


def half_copy(network: nn.Module) -> nn.Module:
    """Return a bfloat16 copy of `network` that compiles well; `refresh` gives it new parameters."""
    half = copy.deepcopy(network)
    for parent in list(half.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AvgPool2d) and (child.kernel_size, child.stride, child.padding) == (2, 2, 0):
                setattr(parent, name, AveragePooling())
    return half.to(torch.bfloat16, memory_format=torch.channels_last)


@torch.no_grad()
def refresh(half: nn.Module, network: nn.Module) -> None:
    """Give the copy the parameters of the network, rounded."""
    for slot, source in zip(half.parameters(), network.parameters(), strict=True):
        slot.copy_(source)


def compiled(function: Callable) -> Callable:
    """Return `function` compiled, for fixed shapes, at its first call."""
    # In this process: helper processes of the compiler would outlive a killed job and take the other cores.
    return torch.compile(function, dynamic=False, options={"compile_threads": 1})


def micro_batches(images: torch.Tensor) -> list[torch.Tensor]:
    """Split images (B, C, H, W) into bfloat16, channels-last batches of one shape, so that one graph is compiled.

    The last one is filled up with copies of the first image; what they give is to be left out. Differentiable.
    """
    images = images.to(torch.bfloat16, memory_format=torch.channels_last)
    if images.device.type != "cpu":
        return [images]
    images = filled(images)
    return [part.contiguous(memory_format=torch.channels_last) for part in images.split(MICRO_BATCH)]


def filled(values: torch.Tensor) -> torch.Tensor:
    """Return values (B, ...) lengthened to a multiple of the micro-batch with copies of the first."""
    short = -len(values) % MICRO_BATCH
    return torch.cat([values, values[:1].expand(short, *values.shape[1:])]) if short else values
