"""Multi-layer perceptron with two hidden layers."""

from __future__ import annotations

from torch import nn

from ddbias.learning.networks.layers import Network, activation_layer, require_positive


class MLP(Network):
    """Pixels, two hidden layers of `width` units with ReLU, and a linear layer.

    Parameters
    ----------
    channels, size, classes : int
        Channels and side of the images in pixels, number of logits.
    width : int
        Units of each hidden layer.
    activation : str
        Key of `layers.ACTIVATIONS`.
    """

    def __init__(self, channels: int, size: int, classes: int, *, width: int = 128, activation: str = "relu") -> None:
        require_positive(width=width)
        body = nn.Sequential(
            nn.Flatten(),
            nn.Linear(channels * size * size, width),
            activation_layer(activation),
            nn.Linear(width, width),
            activation_layer(activation),
        )
        super().__init__(body, width, classes)
