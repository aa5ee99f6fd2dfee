"""Weights from the loss of a biased classifier: samples that it misclassifies count more.

The weight of a sample is a power of its cross-entropy under a surrogate's logits, scaled to mean 1 within each class.
This is a continuous form of JTT (arXiv 2107.09044), which upweights the errors of a first, short training. ``power`` 0
weights all samples equally, 1 takes the loss itself; ``power`` and ``clip`` are ours. Needs no attribute labels.

Cost: none beside the surrogate.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.debias.balance import CLASSIFY
from ddbias.debias.estimates import Estimate, column, cross_entropies, mean_one

PLUGIN = {
    "debias": {
        "loss_weighted": {
            "description": (
                "Weights are a power of the loss of a surrogate that classifies. Ours, after JTT (arXiv 2107.09044)."
            ),
            "required": ["surrogate"],
            "options": {
                "surrogate": {"type": "string", "description": "Name under `surrogates`, of a kind that classifies."},
                "power": {
                    "type": "number",
                    "minimum": 0,
                    "default": 1,
                    "description": "Exponent of the loss; 0 weights all samples equally. Ours.",
                },
                "clip": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "maximum": 1,
                    "default": None,
                    "description": (
                        "Quantile of the losses of a class; larger losses are lowered to it. null clips nothing. Ours."
                    ),
                },
                "draw": {"$ref": "#/$defs/draw"},
                "trial": {"$ref": "#/$defs/trial"},
            },
            "reads": ["logits"],
        },
    },
}


def estimate(columns: Mapping[str, np.ndarray], *, power: float = 1.0, clip: float | None = None) -> Estimate:
    """Return weights ``loss ** power`` from ``logits`` (N, K) and ``label`` (N,).

    Parameters
    ----------
    columns : mapping of str to ndarray
        ``logits`` and ``label``.
    power : float
        At least 0.
    clip : float, optional
        Quantile of the losses of a class, 0..1; larger losses are lowered to it, so that a few mislabelled images do
        not take all the weight.

    Raises
    ------
    DdbiasError
        If the surrogate stores no logits, a logit is not finite, a label has no logit, or the power is negative.
    """
    logits = column(columns, "logits", "loss_weighted", CLASSIFY)
    labels = np.asarray(columns["label"])
    if not 0 <= power < np.inf:
        raise DdbiasError(f"the power of loss_weighted must be a number of at least 0, not {power}")
    losses = cross_entropies(logits, labels)
    for label in np.unique(labels):
        members = labels == label
        # Scaled first, because a large power might overflow.
        largest = losses[members].max() if clip is None else np.quantile(losses[members], clip)
        losses[members] = np.minimum(losses[members], largest) / (largest or 1.0)
    return Estimate(mean_one(losses**power, labels))
