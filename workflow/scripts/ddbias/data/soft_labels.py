"""Soft labels of a distilled set: for each image a probability of every class, beside its hard label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from ddbias.data.formation import decode_labels

TENSOR, TEMPERATURE = "soft_labels", "temperature"  # in the file of a distilled set and in its metadata
TOLERANCE = 1e-3  # of the sum of probabilities


@dataclass(frozen=True, eq=False)
class SoftLabels:
    """Soft labels and the temperature at which they were computed.

    Attributes
    ----------
    probabilities : Tensor of float32, shape (M, K)
        Each row sums to 1.
    temperature : float
        The probabilities are ``softmax(logits / temperature)`` of the network that gave them.
    """

    probabilities: torch.Tensor
    temperature: float = 1.0

    def is_valid(self, count: int, classes: int) -> bool:
        """Tell whether these are soft labels of a number of images."""
        values = self.probabilities
        return bool(
            values.shape == (count, classes)
            and values.dtype == torch.float32
            and isinstance(self.temperature, (int, float))
            and 0 < self.temperature < float("inf")
            and (values >= 0).all()
            and ((values.sum(1) - 1).abs() < TOLERANCE).all()
        )

    def decoded(self, factor: int) -> SoftLabels:
        """Return the soft labels of the images that stored images hold, see `ddbias.data.formation`."""
        return SoftLabels(decode_labels(self.probabilities, factor), self.temperature)

    def loss(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of `targets` (B, K) and ``softmax(logits / temperature)``, times its square.

        Its gradient is that of the Kullback-Leibler divergence of the two, which differs by a constant. The square of
        the temperature keeps the size of the gradient (Hinton et al., arXiv 1503.02531), as SGD needs.
        """
        return self.temperature**2 * torch.nn.functional.cross_entropy(logits / self.temperature, targets)


def of_tensors(tensors: Mapping[str, torch.Tensor], meta: Mapping) -> SoftLabels | None:
    """Return the soft labels in the tensors and the metadata of a distilled set, None if it has none."""
    return SoftLabels(tensors[TENSOR], meta.get(TEMPERATURE, 1.0)) if TENSOR in tensors else None
