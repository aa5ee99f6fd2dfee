"""What every kind of bias is, as a class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from ddbias.datasets.bias.context import Assignment, Context
from ddbias.datasets.normalisation import Normalisation
from ddbias.datasets.sources.record import RawImages


class Bias(ABC):
    """What every kind of bias builds from its options.

    Attributes
    ----------
    takes_ratio : bool
        Of the class: whether an aligned ratio is asked for; if not, the ratio is ``natural``.
    pad : tuple of int or None
        Of the class: pixels (top, right, bottom, left) added to 28x28 images unless the data set says otherwise; None:
        2 each.
    normalise : str, pair, mapping or None
        Of the class: what the published code of data with this bias normalises with, as
        `ddbias.datasets.normalisation` takes it, or a mapping to that from kinds of sources; None, or a source that is
        not in the mapping: what the source says.
    """

    takes_ratio: ClassVar[bool] = True
    pad: ClassVar[tuple[int, int, int, int] | None] = None
    normalise: ClassVar[Normalisation | Mapping[str, Normalisation] | None] = None

    def fitted(self, train: RawImages) -> Bias:
        """Return the same with what the training split decides: nothing, unless a kind says otherwise."""
        return self

    @abstractmethod
    def attribute_names(self, part: RawImages) -> list[str] | None:
        """Return the names of the attributes, None when they are unknown."""

    @abstractmethod
    def pairing(self, part: RawImages) -> list[int] | None:
        """Return the attribute paired with each label, None when none is."""

    @abstractmethod
    def assign(self, part: RawImages, context: Context) -> Assignment:
        """Decide which images the split holds and which attribute each has."""

    @abstractmethod
    def apply(
        self, images: np.ndarray, attributes: np.ndarray | None, index: np.ndarray, context: Context
    ) -> np.ndarray:
        """Make the attribute visible.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, C, H, W)
        attributes : ndarray of int64, shape (N,), or None
        index : ndarray of int64, shape (N,)
            Position of each sample in the source's split; with `context` all that noise may depend on.
        context : Context

        Returns
        -------
        ndarray of uint8, shape (N, C', H, W)
        """
