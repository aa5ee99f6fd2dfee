"""LeNet-5 with ReLU and max-pooling (LeCun et al., 1998, as used by Zhao et al., arXiv 2006.05929)."""

from __future__ import annotations

from torch import nn

from ddbias.learning.networks.layers import Network, convolved, require_size

PLUGIN = {"network": {"lenet": {"description": "As in DC.", "use": "LeNet", "counts": [0.65, 6.5]}}}


class LeNet(Network):
    """Two 5 x 5 convolutions (6 and 16 maps) with max-pooling, hidden layers of 120 and 84 units, a linear layer.

    Parameters
    ----------
    channels, size, classes : int
        Channels and side of the images in pixels, number of logits. One-channel images are padded by 2.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        padding = 2 if channels == 1 else 0

        def final_side(size: int) -> int:
            return convolved(convolved(size, 5, padding) // 2, 5, 0) // 2

        side = require_size("lenet", size, final_side)
        body = nn.Sequential(
            nn.Conv2d(channels, 6, 5, padding=padding),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * side * side, 120),
            nn.ReLU(inplace=True),
            nn.Linear(120, 84),
            nn.ReLU(inplace=True),
        )
        super().__init__(body, 84, classes)
