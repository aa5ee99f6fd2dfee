"""Networks of plug-ins: initialised by their own constructor, and checked once before they are used.

The constructor decides the initialisation, whatever the layers are: attention, embeddings, bare parameters, fixed
tables of positions. So such a network is initialised anew by constructing another one, with torch's global generator
set to a named stream, and copying its values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import nn

from ddbias.base.plugins.declarations import Plugin
from ddbias.base.plugins.given import need
from ddbias.base.seeding import global_stream

PARTS = ("embed", "embedding_size", "head")  # of a `layers.Network`, which others than the evaluation need
_CONSTRUCTOR, _RANDOM = "_ddbias_constructor", "_ddbias_random"


def build(plugin: Plugin, constructor: Callable[[], nn.Module], shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Return a new network of a plug-in, not yet drawn from a seed; `redraw` follows.

    Parameters
    ----------
    plugin : Plugin
    constructor : callable
        Makes one, for the images and classes.
    shape : (int, int, int)
        Channels, height and width of the images.
    classes : int

    Raises
    ------
    DdbiasError
        If parts, shapes or types are not those of a network, or a parameter has no effect.
    """
    _plain_attention()

    def make(seed: int) -> nn.Module:
        with global_stream(seed, "network"):
            network = constructor()
            if not isinstance(network, nn.Module):
                raise plugin.error(f"gives {type(network).__name__}, not a torch.nn.Module", plugin.use)
            _fix(network)
            _look(plugin, network, shape, classes)  # layers that are lazy draw their weights here
        return network

    network = make(0)
    setattr(network, _CONSTRUCTOR, make)
    setattr(network, _RANDOM, _draws(make(0), shape))
    return network


def is_random(network: nn.Module) -> bool:
    """Tell whether `build` made the network and it draws random numbers in training, as dropout does."""
    return getattr(network, _RANDOM, False)


def is_own(network: nn.Module) -> bool:
    """Tell whether `build` made the network."""
    return hasattr(network, _CONSTRUCTOR)


@torch.no_grad()
def redraw(network: nn.Module, seed: int) -> None:
    """Give a network that `build` made the parameters and buffers of a new one, in place."""
    drawn = dict(_tensors(getattr(network, _CONSTRUCTOR)(seed)))
    for name, tensor in _tensors(network):
        tensor.copy_(drawn[name])


def _tensors(network: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    yield from network.named_parameters(remove_duplicate=False)
    yield from network.named_buffers(remove_duplicate=False)


def _fix(network: nn.Module) -> None:
    """Make buffers of parameters without a gradient, as a table of positions is: nothing shall move or match them.

    All buffers are saved with the network: they may be drawn, so that another seed's would make another network.
    """
    for module in network.modules():
        module._non_persistent_buffers_set.clear()
        for name, parameter in list(module.named_parameters(recurse=False)):
            if not parameter.requires_grad:
                delattr(module, name)
                module.register_buffer(name, parameter.detach())


def _draws(network: nn.Module, shape: tuple[int, int, int]) -> bool:
    """Tell whether a pass in training, which may change the network, draws from torch's generator."""
    with global_stream(0, "training"), torch.no_grad():
        before = torch.get_rng_state()
        network.train()(torch.zeros(2, *shape))
        return not torch.equal(torch.get_rng_state(), before)


def _look(plugin: Plugin, network: nn.Module, shape: tuple[int, int, int], classes: int) -> None:
    for part in PARTS:
        if not hasattr(network, part):
            raise plugin.error(f"has no {part}; make it a layers.Network (docs/extending.md)", plugin.use)
    mode = network.training
    network.eval()
    images = torch.zeros(2, *shape)
    with torch.enable_grad():
        embedding, logits = network.embed(images), network(images)
    need(embedding, "the embedding of 2 images", plugin.use, shape=[2, network.embedding_size], types=["float32"])
    need(logits, "the logits of 2 images", plugin.use, shape=[2, classes], types=["float32"])
    named = dict(network.named_parameters())
    slopes = torch.autograd.grad(logits, list(named.values()), torch.ones_like(logits), allow_unused=True)
    for name, slope in zip(named, slopes, strict=True):
        if slope is None:
            raise plugin.error(f"has the parameter {name}, on which no logit depends; remove it", plugin.use)
    network.train(mode)


def _plain_attention() -> None:
    """Let torch compute attention from products and a softmax, which can be differentiated twice.

    Its fused kernels cannot (torch 2.13: *derivative for aten::_scaled_dot_product_flash_attention_for_cpu_backward is
    not implemented*), as gradient and trajectory matching need. A setting of the process, which no other network reads.
    """
    torch.backends.cuda.enable_flash_sdp(False)
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.mha.set_fastpath_enabled(False)  # that of encoders in evaluation mode rounds otherwise
