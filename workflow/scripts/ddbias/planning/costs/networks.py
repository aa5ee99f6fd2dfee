"""How long a network computes on an image, and the memory that takes, beside the published one. Without torch.

On a processor the time of a step goes into multiply-adds and, in small networks, into moving the values between layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ddbias.base import plugins
from ddbias.planning.sizes import DataSize

# Seconds of the processor for a *pass*: training the published network (ConvNet 3 x 128, 32 x 32 RGB) on an image in
# float32. Of the machine where all that is declared in seconds was measured; workflow/speed.py tells that of another.
PASS = 0.0038
LOOK = 1 / 3  # of a pass, where nothing is learnt from an image
IMAGE_MB = 1.7  # held for each image of the batch that the published network learns from
SIDE = 32
PUBLISHED = {"width": 128, "depth": 3, "pooling": "avg"}
# Of the time, by three measured networks: 3 x 128 and 3 x 32 on 32x32, 2 x 32 on 16x16.
BY_PRODUCTS = 0.7
UNKNOWN = "resnet18"  # what a plug-in's network is taken for


@dataclass(frozen=True)
class NetworkCost:
    """What a network takes for an image of a data set."""

    seconds: float  # of a pass, on the measured machine
    image_mb: float  # held for each image of a batch while it learns
    known: bool  # whether it is one of those that were measured: ConvNets on 32 x 32 and below


def network_cost(network: Mapping, of: DataSize) -> NetworkCost:
    """Return what a network of a completed study (``kind`` and options) takes for an image of a data set."""
    products, values = counts(network, of.channels, of.side)
    own_products, own_values = _blocks(PUBLISHED, 3, SIDE)
    seconds = PASS * (BY_PRODUCTS * products / own_products + (1 - BY_PRODUCTS) * values / own_values)
    return NetworkCost(seconds, IMAGE_MB * values / own_values, _is_convnet(network) and of.side <= SIDE)


def counts(network: Mapping, channels: int, side: int) -> tuple[float, float]:
    """Return millions of multiply-adds, and thousands of values that layers put out, for one image."""
    if _is_convnet(network):
        return _blocks(network, channels, side)
    declared = plugins.find("network", network["kind"]).facts.get("counts")
    declared = declared or plugins.find("network", UNKNOWN).facts["counts"]
    return declared[0] * (side / SIDE) ** 2, declared[1] * (side / SIDE) ** 2


def _is_convnet(network: Mapping) -> bool:
    """Tell whether blocks can be counted: a network of a plug-in may have a depth, too, of something else."""
    return set(PUBLISHED) <= network.keys() and plugins.find("network", network["kind"]).built_in


def _blocks(network: Mapping, channels: int, side: int) -> tuple[float, float]:
    """Count the blocks of 3 x 3 convolution and pooling of a ConvNet, and its last layer for ten classes."""
    width, maps, products, values = network["width"], channels, 0, 0
    for _ in range(network["depth"]):
        products += side**2 * 9 * maps * width
        values += side**2 * width
        maps, side = width, side if network["pooling"] == "none" else side // 2
    return (products + 10 * maps * side**2) / 1e6, (values + 10) / 1e3


def features(network: Mapping, side: int) -> int:
    """Return how many features a network has before its last layer: what a density may be estimated on."""
    if not _is_convnet(network):
        return 512
    return network["width"] * (side if network["pooling"] == "none" else side // 2 ** network["depth"]) ** 2
