"""Multi-layer perceptron with two hidden layers."""

from __future__ import annotations

from torch import nn

from ddbias.learning.networks.layers import Network, activation_layer, require_positive

PLUGIN = {
    "network": {
        "mlp": {
            "description": "Two hidden layers.",
            "use": "MLP",
            "counts": [0.41, 0.3],
            "options": {
                "width": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 128,
                    "description": "Hidden units of each layer (DC; 128).",
                },
                "activation": {
                    "enum": ["relu", "sigmoid", "leakyrelu", "swish"],
                    "default": "relu",
                    "description": "Activation (DC; relu).",
                },
            },
        },
    },
}


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
