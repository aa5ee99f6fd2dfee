"""Seconds and memory of a network for one image, relative to the published network. Without torch.

On a CPU the time of a step is spent on multiply-adds and, in small networks, on moving values between layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ddbias.base import plugins
from ddbias.planning.sizes import DataSize

# CPU seconds per image of a *pass*: one training step of the published network (ConvNet 3 x 128, 32 x 32 RGB, float32).
# Measured on the machine on which all declared seconds were measured; workflow/speed.py measures it on another.
PASS = 0.0038
LOOK = 1 / 3  # of a pass: the forward pass alone
IMAGE_MB = 1.7  # memory for each image of a batch on which the published network is trained
SIDE = 32
PUBLISHED = {"width": 128, "depth": 3, "pooling": "avg"}
# Share of the time spent on multiply-adds, from three measured networks: 3 x 128 and 3 x 32 on 32x32, 2 x 32 on 16x16.
BY_PRODUCTS = 0.7
UNKNOWN = "resnet18"  # whose cost is assumed for a network that declares none


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network for one image of a data set."""

    seconds: float  # of a pass, on the measured machine
    image_mb: float  # memory for each image of a training batch
    known: bool  # whether such networks were measured: ConvNets on 32 x 32 and below


def network_cost(network: Mapping, of: DataSize) -> NetworkCost:
    """Return the cost of a network for one image of a data set.

    Parameters
    ----------
    network : mapping
        ``kind`` and options, with defaults filled in.
    of : DataSize
    """
    products, values = counts(network, of.channels, of.side)
    own_products, own_values = _blocks(PUBLISHED, 3, SIDE)
    seconds = PASS * (BY_PRODUCTS * products / own_products + (1 - BY_PRODUCTS) * values / own_values)
    return NetworkCost(seconds, IMAGE_MB * values / own_values, _is_convnet(network) and of.side <= SIDE)


def counts(network: Mapping, channels: int, side: int) -> tuple[float, float]:
    """Return millions of multiply-adds and thousands of values that layers output, for one image of side x side."""
    if _is_convnet(network):
        return _blocks(network, channels, side)
    declared = plugins.find("network", network["kind"]).facts.get("counts")
    declared = declared or plugins.find("network", UNKNOWN).facts["counts"]
    return declared[0] * (side / SIDE) ** 2, declared[1] * (side / SIDE) ** 2


def _is_convnet(network: Mapping) -> bool:
    """Tell whether `_blocks` applies: a plug-in's network may have options of the same names with another meaning."""
    return set(PUBLISHED) <= network.keys() and plugins.find("network", network["kind"]).built_in


def _blocks(network: Mapping, channels: int, side: int) -> tuple[float, float]:
    """Return `counts` of a ConvNet: its blocks of 3 x 3 convolution and pooling, and its last layer for ten classes."""
    width, maps, products, values = network["width"], channels, 0, 0
    for _ in range(network["depth"]):
        products += side**2 * 9 * maps * width
        values += side**2 * width
        maps, side = width, side if network["pooling"] == "none" else side // 2
    return (products + 10 * maps * side**2) / 1e6, (values + 10) / 1e3


def features(network: Mapping, side: int) -> int:
    """Return the number of features before the last layer: the dimensions of a surrogate's embedding."""
    if not _is_convnet(network):
        return 512
    return network["width"] * (side if network["pooling"] == "none" else side // 2 ** network["depth"]) ** 2
