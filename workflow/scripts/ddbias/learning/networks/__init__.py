"""The networks: how one is built and drawn anew.

All of them have ``embed(images)`` beside ``forward(images)``, and ``embedding_size``. A new network is one file with a
`layers.Network`, which is called with channels, size, classes and the keyword-only options of the architecture. One
of a plug-in is drawn by its constructor, see `ddbias.learning.networks.own`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import partial

from torch import nn

from ddbias.base import plugins
from ddbias.base.errors import DdbiasError, nearest
from ddbias.base.seeding import stream
from ddbias.learning.networks import own
from ddbias.learning.networks.initialise import construct, reset
from ddbias.learning.networks.layers import Network, require_positive

__all__ = ["Network", "build", "construct", "matching", "of_settings", "options", "reset"]


def options(name: str) -> tuple[str, ...]:
    """Return the names of the options that network `name` accepts, in the order of its definition."""
    builder = plugins.implementation("network", name)
    fixed = builder.keywords if isinstance(builder, partial) else {}
    parameters = inspect.signature(builder).parameters.values()
    return tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.name not in fixed)


def build(name: str, *, channels: int, size: int, classes: int, seed: int, **chosen: object) -> nn.Module:
    """Return network `name`, on the CPU, in float32, with weights that depend on `seed` only.

    Parameters
    ----------
    name : str
        A kind of network.
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
    require_positive(channels=channels, size=size, classes=classes)
    builder, plugin = plugins.implementation("network", name), plugins.find("network", name)
    if not plugin.built_in:
        with plugins.calling("network", name):
            network = own.build(
                plugin, lambda: builder(channels, size, classes, **chosen), (channels, size, size), classes
            )
        reset(network, stream(seed, "init"))
        return network
    known = options(name)
    for option in chosen:
        if option not in known:
            listing = f"known: {', '.join(known)}.{nearest(option, known)}" if known else "it has none; remove it"
            raise DdbiasError(f"network {name} has no option '{option}'; {listing}")
    network = construct(lambda: builder(channels, size, classes, **chosen))
    reset(network, stream(seed, "init"))
    return network


def matching(network: nn.Module) -> nn.Module:
    """Put a network into the mode in which it is matched, and return it: batch norm as in training, nothing dropped.

    The two sides of a matching would lose different values to dropout, and the workers that share a batch would draw
    them in any order.
    """
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.train()
    return network


def of_settings(settings: Mapping[str, object], shape: Sequence[int], classes: int, seed: int) -> nn.Module:
    """Return the network that the settings of a study name, see `build`.

    Parameters
    ----------
    settings : mapping
        ``kind`` and the options of the architecture.
    shape : (int, int, int)
        Channels, height and width of the images, as in ``split.shape``.
    classes, seed : int

    Raises
    ------
    DdbiasError
        As `build`, and if the images are not square.
    """
    channels, height, width = shape
    if height != width:
        raise DdbiasError(f"networks take square images, not {height}x{width}; give the data set a size")
    options = {name: value for name, value in settings.items() if name != "kind"}
    return build(settings["kind"], channels=channels, size=height, classes=classes, seed=seed, **options)
