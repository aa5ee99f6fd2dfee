"""What correlates an attribute with the label: who gets which attribute, and how it shows in the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ddbias.base import plugins
from ddbias.base.errors import Misuse
from ddbias.datasets.bias.context import Assignment, Context
from ddbias.datasets.normalisation import Normalisation
from ddbias.datasets.sources.record import RawImages


class Bias(Protocol):
    """What every kind of bias builds from its options.

    Attributes
    ----------
    takes_ratio : bool
        Whether an aligned ratio is asked for; if not, the ratio is ``natural``.
    pad : tuple of int or None
        Pixels (top, right, bottom, left) added to 28x28 images unless the data set says otherwise; None: 2 each.
    normalise : str or pair, or None
        What the published code of data with this bias normalises with, as `ddbias.datasets.normalisation` takes it;
        None: what the source says. May be left out.
    fitted : callable
        ``fitted(train) -> Bias``, the same with what the training split decides. May be left out.
    """

    takes_ratio: bool
    pad: tuple[int, int, int, int] | None
    normalise: Normalisation | None

    def attribute_names(self, part: RawImages) -> list[str] | None:
        """Return the names of the attributes, None when they are unknown."""

    def pairing(self, part: RawImages) -> list[int] | None:
        """Return the attribute paired with each label, None when none is."""

    def assign(self, part: RawImages, context: Context) -> Assignment:
        """Decide which images the split holds and which attribute each has."""

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


def build(settings: Mapping[str, object]) -> Bias:
    """Return the bias that ``settings["kind"]`` names, with the other settings as its options.

    Raises
    ------
    DdbiasError
        For an unknown kind or option, or a value that is not allowed.
    """
    make, options = plugins.chosen("bias", settings)
    with plugins.calling("bias", settings["kind"]):
        made = make(**options)
        for part in ("takes_ratio", "pad", "attribute_names", "pairing", "assign", "apply"):
            if not hasattr(made, part):
                raise Misuse(f"has no {part}, which a bias needs; see docs/extending.md")
    return made


__all__ = ["Assignment", "Bias", "Context", "build"]
