"""Biases: which image gets which attribute, and how it changes the image."""

from __future__ import annotations

from collections.abc import Mapping

from ddbias.base import plugins
from ddbias.base.plugins.given import need_kind
from ddbias.datasets.bias.base import Bias
from ddbias.datasets.bias.context import Assignment, Context


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
        need_kind(made, Bias, "itself", None)
    return made


__all__ = ["Assignment", "Bias", "Context", "build"]
