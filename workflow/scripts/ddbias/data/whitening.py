"""ZCA whitening: images whose values are uncorrelated and still look like images, for networks (``normalise: zca``).

With the mean m and the covariance ``U diag(s) U^T`` (over N - 1) of the flattened training images, pixels in 0..1, it
is ``(x - m) W`` with ``W = U diag((s + eps)^-1/2) U^T``. MTT (arXiv 2203.11932) does so instead of a normalisation per
channel, with this eps, which regularises less if pixels have been divided by their deviation. W is symmetric and has an
inverse, so that images can be stored as pixels all the same.

Cost: the covariance, N * D^2 for images of D values, and its eigenvectors, D^3: a minute for 60,000 of 32x32
RGB on one core. Afterwards D^2 an image, .3 ms there.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch

from ddbias.base.errors import DdbiasError

EPSILON = 0.1
MOST_VALUES = 4096  # of an image: the matrix is stored with each split


@dataclass(frozen=True, eq=False)
class Whitening:
    """A ZCA transform of images.

    Attributes
    ----------
    mean : Tensor of float32, shape (D,)
    matrix : Tensor of float32, shape (D, D)
        Symmetric.
    """

    mean: torch.Tensor
    matrix: torch.Tensor
    _kept: dict = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, parts: Iterable[torch.Tensor]) -> Whitening:
        """Return the transform of images that come in parts (B, C, H, W).

        Raises
        ------
        DdbiasError
            If images have more than `MOST_VALUES` values.
        """
        count, total, products = 0, 0.0, 0.0
        for part in parts:
            flat = part.flatten(1).double()
            if flat.shape[1] > MOST_VALUES:
                raise DdbiasError(
                    f"normalise: zca takes images of at most {MOST_VALUES} values, these have {flat.shape[1]}; choose "
                    "a smaller size"
                )
            count, total, products = count + len(flat), total + flat.sum(0), products + flat.T @ flat
        mean = total / count
        values, vectors = torch.linalg.eigh((products - count * mean.outer(mean)) / (count - 1))
        matrix = (vectors / (values.clamp(min=0) + EPSILON).sqrt()) @ vectors.T
        return cls(mean.float(), ((matrix + matrix.T) / 2).float())

    def apply(self, images: torch.Tensor) -> torch.Tensor:
        """Return images (B, C, H, W) whitened."""
        mean, matrix = self._on(images.device, "matrix")
        return ((images.flatten(1) - mean) @ matrix).view_as(images)

    def undo(self, images: torch.Tensor) -> torch.Tensor:
        """Invert `apply`."""
        mean, inverse = self._on(images.device, "inverse")
        return (images.flatten(1) @ inverse + mean).view_as(images)

    def _on(self, device: torch.device, which: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean and a matrix on a device; kept, as every batch asks for them."""
        if (device, which) not in self._kept:
            matrix = self.matrix if which == "matrix" else torch.linalg.inv(self.matrix.double()).float()
            self._kept[device, which] = self.mean.to(device), matrix.to(device)
        return self._kept[device, which]

    def encoded(self) -> str:
        """Return it as text: the mean, and the matrix from its diagonal on, row by row."""
        upper = self.matrix.numpy()[np.triu_indices(len(self.mean))]
        return b64encode(np.concatenate([self.mean.numpy(), upper]).astype("<f4").tobytes()).decode()

    @classmethod
    def decoded(cls, text: str, size: int) -> Whitening:
        """Return what `encoded` gave, for images of `size` values; raises ValueError where it is something else."""
        mean, upper = np.split(np.frombuffer(b64decode(text), "<f4").astype(np.float32), [size])
        matrix = np.empty((size, size), np.float32)
        rows, columns = np.triu_indices(size)
        matrix[rows, columns] = upper
        matrix[columns, rows] = upper
        return cls(torch.from_numpy(mean), torch.from_numpy(matrix))
