"""Debias: how the real side of the matching is drawn and pooled.

Every kind is one module. It has

``sample_weights(split, **options) -> (N,) float64``
    where no surrogate is named, from labels and attributes, or
``estimate(columns, **options) -> Estimate or list of Estimate``
    where one is, from the columns of its file (``embedding``, ``label``, ``index``, perhaps ``logits``,
    ``difficulty``; never the attribute, but for the share that an option ``known`` states: ``attribute_known``),

or both, and perhaps ``POOLING`` (default ``mean``). What it says is the same for every distiller: see
`ddbias.debias.real_side`.
"""

from __future__ import annotations

from collections.abc import Mapping

# Settings that say where columns come from and what is done with weights, not how they are made.
OUTSIDE = ("kind", "surrogate", "draw", "reduction", "trial")


def options(settings: Mapping) -> dict:
    """Return the settings of a debias that its functions take."""
    return {name: value for name, value in settings.items() if name not in OUTSIDE}
