"""ResNet18 for small images (He et al., arXiv 1512.03385, as used by Zhao et al., arXiv 2006.05929)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from ddbias.learning.networks.layers import Network, convolved, norm_layer, require_size
from ddbias.learning.networks.pooling import AveragePooling

PLUGIN = {
    "network": {
        "resnet18": {
            "description": "As in DC.",
            "use": "ResNet18",
            "counts": [555.42, 614.4],
            "options": {
                "norm": {
                    "enum": ["none", "batch", "layer", "instance", "group"],
                    "description": "Normalisation; by default as in DC.",
                },
            },
        },
        "resnet18_bn": {
            "description": "As in DC.",
            "use": "ResNet18",
            "counts": [555.42, 614.4],
            "fixed": {"norm": "batch"},
        },
        "resnet18_bn_ap": {"description": "As in DC.", "use": "ResNet18AveragePooling", "counts": [725.37, 786.4]},
    },
}

_WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; the side is halved by stride or by average pooling, or kept.

    Parameters
    ----------
    maps, width : int
        Number of maps that enter and leave.
    sides : tuple of int
        Side of the maps that enter and leave.
    norm : str
        Key of `layers.NORMS`.
    halve : str
        ``"no"``, ``"stride"`` or ``"pool"``.
    """

    def __init__(self, maps: int, width: int, sides: tuple[int, int], norm: str, halve: str) -> None:
        super().__init__()
        stride = 2 if halve == "stride" else 1
        self.pool = AveragePooling() if halve == "pool" else nn.Identity()
        # Pooling stands behind the first ReLU, so the first normalisation still sees the unpooled maps.
        entering, side = sides
        unpooled_side = entering if halve == "pool" else side
        self.conv1 = nn.Conv2d(maps, width, 3, stride, padding=1, bias=False)
        self.norm1 = norm_layer(norm, width, unpooled_side)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm2 = norm_layer(norm, width, side)
        self.shortcut = nn.Identity()
        if halve != "no" or maps != width:
            # A 1 x 1 convolution without bias commutes with averaging; pooling first costs a quarter.
            pool = AveragePooling() if halve == "pool" else nn.Identity()
            convolution = nn.Conv2d(maps, width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(pool, convolution, norm_layer(norm, width, side))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return float maps (B, width, side, side)."""
        out = self.pool(F.relu(self.norm1(self.conv1(x)), inplace=True))
        return F.relu(self.norm2(self.conv2(out)) + self.shortcut(x))


class ResNet18(Network):
    """A 3 x 3 convolution and eight basic blocks in four stages, average pooling 4 x 4, a linear layer.

    Parameters
    ----------
    channels, size, classes : int
        Channels and side of the images in pixels, number of logits. Unlike that of ConvNet and
        VGG11, the first convolution pads by 1 for one channel, too, as published: 28 pixels end in a 4 x 4 map as well.
    norm : str
        Key of `layers.NORMS`.
    """

    def __init__(self, channels: int, size: int, classes: int, *, norm: str = "instance") -> None:
        layers, side = _stages("resnet18", channels, size, norm, "stride")
        # Small images leave maps smaller than the published 4 x 4 window.
        window = min(4, side)
        layers.append(nn.AvgPool2d(window))
        side //= window
        super().__init__(nn.Sequential(*layers), _WIDTHS[-1] * side * side, classes)


class ResNet18AveragePooling(Network):
    """ResNet18 with BatchNorm that halves by average pooling and feeds the whole last map to the linear layer.

    Parameters
    ----------
    channels, size, classes : int
        Channels and side of the images in pixels, number of logits.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        layers, side = _stages("resnet18_bn_ap", channels, size, "batch", "pool")
        super().__init__(nn.Sequential(*layers), _WIDTHS[-1] * side * side, classes)


def _stages(network: str, channels: int, size: int, norm: str, halve: str) -> tuple[list[nn.Module], int]:
    """Return the layers up to the last stage and the side of its maps."""

    def side_after(side: int, halvings: int) -> int:
        for _ in range(halvings):
            side = side // 2 if halve == "pool" else convolved(side, 3, 1, stride=2)
        return side

    # On maps of one pixel, normalisation within a map would leave nothing of the image.
    require_size(network, size, lambda size: side_after(size, len(_WIDTHS) - 1), at_least=2)
    side = size
    layers: list[nn.Module] = [
        nn.Conv2d(channels, _WIDTHS[0], 3, padding=1, bias=False),
        norm_layer(norm, _WIDTHS[0], side),
        nn.ReLU(inplace=True),
    ]
    maps = _WIDTHS[0]
    for stage, width in enumerate(_WIDTHS):
        entering, side = side, side_after(size, stage)
        layers.append(BasicBlock(maps, width, (entering, side), norm, halve if stage else "no"))
        layers.append(BasicBlock(width, width, (side, side), norm, "no"))
        maps = width
    return layers, side
