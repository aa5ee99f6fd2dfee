"""AlexNet for small images (Krizhevsky et al., 2012, as used by Zhao et al., arXiv 2006.05929)."""

from __future__ import annotations

from torch import nn

from ddbias.learning.networks.layers import Network, convolved, norm_layer, require_size

PLUGIN = {
    "network": {
        "alexnet": {
            "description": "As in DC.",
            "use": "AlexNet",
            "counts": [245.0, 221.2],
            "options": {
                "norm": {
                    "enum": ["none", "batch", "layer", "instance", "group"],
                    "description": "Normalisation; by default as in DC.",
                },
            },
        },
        "alexnet_bn": {
            "description": "As in DC.",
            "use": "AlexNet",
            "counts": [245.0, 221.2],
            "fixed": {"norm": "batch"},
        },
    },
}

# Maps, kernel, padding, and whether a max-pooling follows; the padding of the first depends on the channels.
_LAYOUT = ((128, 5, 2, True), (192, 5, 2, True), (256, 3, 1, False), (192, 3, 1, False), (192, 3, 1, True))


class AlexNet(Network):
    """Five convolutions with ReLU, three max-poolings, and a linear layer.

    Parameters
    ----------
    channels, size, classes : int
        Channels and side of the images in pixels, number of logits. One-channel images are padded by 4, which turns
        28 pixels into 32.
    norm : str
        Key of `layers.NORMS`; stands between convolution and ReLU.
    """

    def __init__(self, channels: int, size: int, classes: int, *, norm: str = "none") -> None:
        first_padding = 4 if channels == 1 else 2

        def final_side(size: int) -> int:
            return convolved(size, 5, first_padding) // 8

        final = require_size("alexnet", size, final_side)
        layers: list[nn.Module] = []
        side, maps = convolved(size, 5, first_padding), channels
        for position, (width, kernel, padding, pooled) in enumerate(_LAYOUT):
            layers.append(nn.Conv2d(maps, width, kernel, padding=padding if position else first_padding))
            layers += [norm_layer(norm, width, side), nn.ReLU(inplace=True)]
            maps = width
            if pooled:
                layers.append(nn.MaxPool2d(2))
                side //= 2
        super().__init__(nn.Sequential(*layers), maps * final * final, classes)
