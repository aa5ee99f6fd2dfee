"""Kinds of debias: how the real images of a matching step are drawn and pooled.

Every kind is one module, with one or both of these functions:

``sample_weights(split, **options) -> (N,) float64``
    used without a surrogate; from labels and attributes;
``estimate(columns, **options) -> Estimate or list of Estimate``
    used with a surrogate; from the columns of its file. These are ``embedding``, ``label`` and ``index``, and depending
    on the surrogate ``logits``, ``difficulty``, ``predictions`` and ``excluded``. The attribute is never among them;
    with an option ``known``, ``attribute_known`` has it for that share of the samples. A list has the candidates for a
    trial (`ddbias.debias.trial`).

``POOLING`` (default ``mean``) says how a batch is pooled into targets, for every distiller alike: see
`ddbias.debias.real_side`.
"""

from __future__ import annotations

from collections.abc import Mapping

# Settings that the functions of a kind do not get: where the columns come from and what is done with the weights.
OUTSIDE = ("kind", "surrogate", "draw", "reduction", "trial")


def options(settings: Mapping) -> dict:
    """Return the settings of a debias that `sample_weights` and `estimate` take as arguments."""
    return {name: value for name, value in settings.items() if name not in OUTSIDE}
