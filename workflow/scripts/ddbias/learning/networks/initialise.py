"""Default initialisation of PyTorch, drawn from an explicit generator.

PyTorch's own layers draw from the global generator. Here a network is made without any draw and then filled in
place, so that a seed alone decides its weights. Networks of plug-ins draw themselves, see
`ddbias.learning.networks.own`.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from ddbias.base.errors import DdbiasError
from ddbias.learning.device import transfer
from ddbias.learning.networks import own

_WEIGHTED = (nn.Linear, nn.Conv2d)
_NORMS = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


def construct(builder: Callable[[], nn.Module]) -> nn.Module:
    """Call `builder` and return its network on the CPU with memory that is not yet filled; nothing is drawn.

    ``Module.to_empty`` does the same, but its first call takes 0.6 s, as long as many whole jobs of this workflow.
    """
    with torch.device("meta"):
        network = builder()
    for module in network.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            empty = torch.empty(parameter.shape, dtype=parameter.dtype)
            setattr(module, name, nn.Parameter(empty, parameter.requires_grad))
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty(buffer.shape, dtype=buffer.dtype))
    return network


@torch.no_grad()
def reset(network: nn.Module, generator: torch.Generator) -> None:
    """Draw all parameters of `network` anew, in place, and clear the statistics of its BatchNorm layers.

    A network of a plug-in draws itself (`ddbias.learning.networks.own`). Of others, weights and biases of linear and
    convolutional layers are uniform in +-1/sqrt(fan_in), those of normalisations 1 and 0: the defaults of PyTorch. The
    values depend on the generator only, not on device, memory format or the global random state.

    Parameters
    ----------
    network : nn.Module
        Of a plug-in, or made of linear, convolutional and normalisation layers and of layers without parameters.
    generator : torch.Generator
        Is advanced.

    Raises
    ------
    DdbiasError
        A layer has parameters or buffers that this function does not know how to draw.
    """
    if own.is_own(network):
        own.redraw(network, int(torch.randint(2**62, (), generator=generator)))
        return
    drawn: list[tuple[torch.Tensor, torch.Tensor]] = []  # what is filled from CPU tensors, and these
    for name, module in network.named_modules():
        if isinstance(module, _WEIGHTED):
            drawn += _reset_weighted(module, generator)
        elif isinstance(module, _NORMS):
            drawn += _reset_norm(module)
        elif any(True for _ in (*module.parameters(recurse=False), *module.buffers(recurse=False))):
            raise DdbiasError(
                f"cannot initialise layer '{name}' ({type(module).__name__}) of a network; "
                "build it from Linear, Conv2d, BatchNorm2d, GroupNorm and LayerNorm"
            )
    if drawn:
        slots, values = zip(*drawn, strict=True)
        torch._foreach_copy_(list(slots), transfer(values, slots[0].device))


def _reset_weighted(
    layer: nn.Linear | nn.Conv2d, generator: torch.Generator
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    bound = 1 / math.sqrt(layer.weight[0].numel())
    filled = [_uniform(tensor, bound, generator) for tensor in (layer.weight, layer.bias) if tensor is not None]
    return [pair for pair in filled if pair is not None]


def _reset_norm(layer: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    if isinstance(layer, nn.BatchNorm2d):
        layer.reset_running_stats()
    filled = ((layer.weight, torch.ones), (layer.bias, torch.zeros))
    return [(tensor, values(tensor.shape)) for tensor, values in filled if tensor is not None]


def _uniform(
    tensor: torch.Tensor, bound: float, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Fill `tensor` with U(-bound, bound); return one of another form with the CPU tensor to fill it from."""
    if tensor.device == generator.device and tensor.is_contiguous() and tensor.dtype == torch.float32:
        tensor.uniform_(-bound, bound, generator=generator)
        return None
    return tensor, torch.empty(tensor.shape, device=generator.device).uniform_(-bound, bound, generator=generator)
