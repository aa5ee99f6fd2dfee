"""How much a network computes on an image, beside the published one. Without torch, for plans.

On a processor the time of a step goes into multiply-adds and, in small networks, into moving the values between layers.
"""

from __future__ import annotations

from collections.abc import Mapping

SIDE = 32
# Millions of multiply-adds, thousands of values that layers put out, millions of parameters; 32x32 RGB, ten classes.
# Tests count them.
COUNTED = {
    "mlp": (0.41, 0.3, 0.41),
    "lenet": (0.65, 6.5, 0.06),
    "alexnet": (245.00, 221.2, 1.87),
    "alexnet_bn": (245.00, 221.2, 1.87),
    "vgg11": (152.77, 151.6, 9.23),
    "vgg11_bn": (152.77, 151.6, 9.23),
    "resnet18": (555.42, 614.4, 11.17),
    "resnet18_bn": (555.42, 614.4, 11.17),
    "resnet18_bn_ap": (725.37, 786.4, 11.25),
}
UNKNOWN = "resnet18"  # what a plug-in's network is taken for
PUBLISHED = {"kind": "convnet", "width": 128, "depth": 3}
# Of the published network's time, by three measured networks: 3 x 128 and 3 x 32 on 32x32, 2 x 32 on 16x16.
BY_PRODUCTS = 0.7


def size(network: Mapping, channels: int, side: int) -> tuple[float, float, float]:
    """Return millions of multiply-adds and thousands of values for one image, and millions of parameters.

    Parameters
    ----------
    network : mapping
        ``kind`` and options, as in a completed study.
    channels, side : int
        Of the images.
    """
    if network["kind"] in ("convnet", "convnet_bn"):
        return _convnet(network, channels, side)
    products, values, parameters = COUNTED.get(network["kind"], COUNTED[UNKNOWN])
    area = (side / SIDE) ** 2
    return products * area, values * area, parameters


def _convnet(network: Mapping, channels: int, side: int) -> tuple[float, float, float]:
    width, maps, products, values, parameters = network["width"], channels, 0, 0, 0
    for _ in range(network["depth"]):
        products += side**2 * 9 * maps * width
        values += side**2 * width
        parameters += 9 * maps * width + 3 * width
        maps = width
        side = side if network["pooling"] == "none" else side // 2
    features = maps * side**2
    return (products + 10 * features) / 1e6, (values + 10) / 1e3, (parameters + 10 * features) / 1e6


def features(network: Mapping, side: int) -> int:
    """Return how many features a network has before its last layer: what a density may be estimated on."""
    if network["kind"] not in ("convnet", "convnet_bn"):
        return 512
    side = side if network["pooling"] == "none" else side // 2 ** network["depth"]
    return network["width"] * side**2


def relative(network: Mapping, channels: int, side: int) -> float:
    """Return the time of a network on an image, that of the published one on 32x32 RGB being 1."""
    products, values, _ = size(network, channels, side)
    own_products, own_values, _ = size(PUBLISHED | {"pooling": "avg"}, 3, SIDE)
    return BY_PRODUCTS * products / own_products + (1 - BY_PRODUCTS) * values / own_values


def is_published(network: Mapping) -> bool:
    """Tell whether a network is the published one."""
    return all(network.get(key) == value for key, value in PUBLISHED.items())
