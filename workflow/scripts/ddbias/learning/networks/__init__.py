"""The networks: a registry, and how one is built and drawn anew.

All of them have ``embed(images)`` beside ``forward(images)``, and ``embedding_size``. A new network is one file with a
`layers.Network` and one line in `NETWORKS`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial

from torch import nn

from ddbias.base import plugins
from ddbias.base.errors import DdbiasError, nearest, unknown
from ddbias.base.seeding import stream
from ddbias.learning.networks.alexnet import AlexNet
from ddbias.learning.networks.convnet import ConvNet
from ddbias.learning.networks.initialise import construct, reset
from ddbias.learning.networks.layers import Network, require_positive
from ddbias.learning.networks.lenet import LeNet
from ddbias.learning.networks.mlp import MLP
from ddbias.learning.networks.resnet import ResNet18, ResNet18AveragePooling
from ddbias.learning.networks.vgg import VGG11

__all__ = ["NETWORKS", "Network", "build", "construct", "options", "reset"]

# Called with channels, size, classes and the keyword-only options of the architecture.
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "convnet": ConvNet,
    "convnet_bn": partial(ConvNet, norm="batch"),
    "mlp": MLP,
    "lenet": LeNet,
    "alexnet": AlexNet,
    "alexnet_bn": partial(AlexNet, norm="batch"),
    "vgg11": VGG11,
    "vgg11_bn": partial(VGG11, norm="batch"),
    "resnet18": ResNet18,
    "resnet18_bn": partial(ResNet18, norm="batch"),
    "resnet18_bn_ap": ResNet18AveragePooling,
}


def options(name: str) -> tuple[str, ...]:
    """Return the names of the options that network `name` accepts, in the order of its definition."""
    builder = _builder(name)
    fixed = builder.keywords if isinstance(builder, partial) else {}
    parameters = inspect.signature(builder).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in fixed)


def build(name: str, *, channels: int, size: int, classes: int, seed: int, **chosen: object) -> nn.Module:
    """Return network `name`, on the CPU, in float32, with weights that depend on `seed` only.

    Parameters
    ----------
    name : str
        Key of `NETWORKS`.
    channels, size, classes : int
        Channels and side of the square images in pixels, number of classes.
    seed : int
        Weights come from its stream ``"init"``; the global generator is left alone.
    **chosen
        Options of the architecture, see `options`: ``width``, ``depth``, ``norm``, ``activation``, ``pooling``.

    Raises
    ------
    DdbiasError
        Unknown name or option, a value that the option does not know, or images too small for the network.

    Examples
    --------
    >>> import torch
    >>> from ddbias import build_network
    >>> network = build_network("convnet", channels=1, size=16, classes=10, seed=0, width=8, depth=2)
    >>> network(torch.zeros(5, 1, 16, 16)).shape
    torch.Size([5, 10])
    """
    builder = _builder(name)
    known = options(name)
    for option in chosen:
        if option not in known:
            listing = f"known: {', '.join(known)}.{nearest(option, known)}" if known else "it has none; remove it"
            raise DdbiasError(f"network {name} has no option '{option}'; {listing}")
    require_positive(channels=channels, size=size, classes=classes)
    network = construct(lambda: builder(channels, size, classes, **chosen))
    reset(network, stream(seed, "init"))
    return network


def _builder(name: str) -> Callable[..., nn.Module]:
    registry = plugins.extended("network", NETWORKS, name)
    if name not in registry:
        raise unknown("network", name, registry)
    return registry[name]
