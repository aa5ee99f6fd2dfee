"""ConvNet, the default network of dataset distillation (Zhao et al., arXiv 2006.05929)."""

from __future__ import annotations

from torch import nn

from ddbias.base.errors import DdbiasError
from ddbias.learning.networks.layers import (
    Network,
    activation_layer,
    convolved,
    norm_layer,
    pooling_layer,
    require_positive,
)

PLUGIN = {
    "network": {
        "convnet": {
            "description": "ConvNet of DC; blocks of convolution, norm, activation, pooling.",
            "use": "ConvNet",
            "options": {
                "width": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 128,
                    "description": "Filters of each block (DC; 128).",
                },
                "depth": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 8,
                    "default": 3,
                    "description": "Blocks (DC; 3).",
                },
                "norm": {
                    "enum": ["none", "batch", "layer", "instance", "group"],
                    "default": "instance",
                    "description": "Normalisation (DC; instance).",
                },
                "activation": {
                    "enum": ["relu", "sigmoid", "leakyrelu", "swish"],
                    "default": "relu",
                    "description": "Activation (DC; relu).",
                },
                "pooling": {"enum": ["none", "max", "avg"], "default": "avg", "description": "Pooling (DC; avg)."},
            },
        },
        "convnet_bn": {
            "description": "ConvNet with batch normalisation.",
            "use": "ConvNet",
            "fixed": {"norm": "batch"},
            "like": "convnet",
        },
    }
}


class ConvNet(Network):
    """`depth` blocks of 3 x 3 convolution, normalisation, activation and 2 x 2 pooling, then a linear layer.

    For one-channel images the first convolution pads by 3, which turns 28 pixels into 32, as published.

    Parameters
    ----------
    channels, size, classes : int
        Channels and side of the images in pixels, number of logits.
    width : int
        Number of maps of each block.
    depth : int
        Number of blocks; each pooling halves the side.
    norm, activation, pooling : str
        Keys of `layers.NORMS`, `layers.ACTIVATIONS`, `layers.POOLINGS`.

    Raises
    ------
    DdbiasError
        An unknown or impossible option, or images that `depth` poolings would shrink to nothing.
    """

    def __init__(
        self,
        channels: int,
        size: int,
        classes: int,
        *,
        width: int = 128,
        depth: int = 3,
        norm: str = "instance",
        activation: str = "relu",
        pooling: str = "avg",
    ) -> None:
        require_positive(width=width, depth=depth)
        layers: list[nn.Module] = []
        side, maps = size, channels
        for block in range(depth):
            padding = 3 if block == 0 and channels == 1 else 1
            layers.append(nn.Conv2d(maps, width, 3, padding=padding))
            side, maps = convolved(side, 3, padding), width
            layers += [norm_layer(norm, width, side), activation_layer(activation), pooling_layer(pooling)]
            side = side if pooling == "none" else side // 2
            if side < 1:
                shallower = f"depth {block} or less, " if block else ""
                raise DdbiasError(
                    f"network convnet with depth {depth} shrinks images of {size} pixels to nothing; "
                    f"use {shallower}larger images or pooling: none"
                )
        super().__init__(nn.Sequential(*layers), width * side * side, classes)
