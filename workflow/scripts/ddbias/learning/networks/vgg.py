"""VGG11 for small images (Simonyan and Zisserman, arXiv 1409.1556, as used by Zhao et al., arXiv 2006.05929)."""

from __future__ import annotations

from torch import nn

from ddbias.learning.networks.layers import Network, convolved, norm_layer, require_size

PLUGIN = {
    "network": {
        "vgg11": {
            "description": "As in DC.",
            "use": "VGG11",
            "counts": [152.77, 151.6],
            "options": {
                "norm": {
                    "enum": ["none", "batch", "layer", "instance", "group"],
                    "description": "Normalisation; by default as in DC.",
                }
            },
        },
        "vgg11_bn": {"description": "As in DC.", "use": "VGG11", "counts": [152.77, 151.6], "fixed": {"norm": "batch"}},
    }
}

# Maps of the convolutions of each block; a max-pooling ends a block.
_BLOCKS = ((64,), (128,), (256, 256), (512, 512), (512, 512))


class VGG11(Network):
    """Eight 3 x 3 convolutions in five blocks, each ended by a max-pooling, and a linear layer.

    Five poolings need 32 pixels. The first convolution pads by 3 for one-channel images, as published, and here also
    for every image smaller than 32 pixels, so that 3 x 28 x 28 works.

    Parameters
    ----------
    channels, size, classes : int
        Channels and side of the images in pixels (at least 28), number of logits.
    norm : str
        Key of `layers.NORMS`; stands between convolution and ReLU.
    """

    def __init__(self, channels: int, size: int, classes: int, *, norm: str = "instance") -> None:
        def padded_side(size: int) -> int:
            return convolved(size, 3, 3 if channels == 1 or size < 32 else 1)

        final = require_size("vgg11", size, lambda size: padded_side(size) // 32)
        layers: list[nn.Module] = []
        side, maps = padded_side(size), channels
        for block in _BLOCKS:
            for width in block:
                padding = 1 if layers else (side - size + 2) // 2
                layers += [
                    nn.Conv2d(maps, width, 3, padding=padding),
                    norm_layer(norm, width, side),
                    nn.ReLU(inplace=True),
                ]
                maps = width
            layers.append(nn.MaxPool2d(2))
            side //= 2
        super().__init__(nn.Sequential(*layers), maps * final * final, classes)
