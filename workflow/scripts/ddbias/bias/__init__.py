"""What correlates an attribute with the label: who gets which attribute, and how it shows in the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np

from ddbias.bias.assignment import assign_attributes
from ddbias.bias.colour import BackgroundColour, ForegroundColour, colorize
from ddbias.bias.unchanged import Unchanged
from ddbias.options import choose


class Bias(Protocol):
    """What every entry of `BIASES` builds from its options.

    Attributes
    ----------
    assigns : bool
        Whether attributes are assigned by the aligned ratio; if not, the source's own are kept.
    attribute_names : sequence of str or None
        Names of the attributes that are assigned.
    """

    assigns: bool
    attribute_names: Sequence[str] | None

    def apply(
        self, images: np.ndarray, attributes: np.ndarray | None, *, index: np.ndarray, split: str, seed: int
    ) -> np.ndarray:
        """Make the attribute visible.

        Parameters
        ----------
        images : ndarray of uint8, shape (N, C, H, W)
        attributes : ndarray of int64, shape (N,), or None
        index : ndarray of int64, shape (N,)
            Position of each sample in the source's split; with `split` and `seed` all that noise may depend on.
        split : str
            ``"train"`` or ``"test"``.
        seed : int

        Returns
        -------
        ndarray of uint8, shape (N, C', H, W)
        """


BIASES: dict[str, Callable[..., Bias]] = {
    "foreground": ForegroundColour,
    "background": BackgroundColour,
    "none": Unchanged,
}


def build(settings: Mapping[str, object]) -> Bias:
    """Return the bias that ``settings["kind"]`` names, with the other settings as its options.

    Raises
    ------
    DdbiasError
        For an unknown kind or option, or a value that is not allowed.
    """
    make, options = choose("bias", BIASES, settings)
    return make(**options)


__all__ = ["BIASES", "Bias", "assign_attributes", "build", "colorize"]
