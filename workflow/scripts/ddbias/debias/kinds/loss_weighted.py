"""Weights from the loss of a biased classifier: what it gets wrong counts more.

The weight of a sample is its cross-entropy under a surrogate's logits to a power, scaled to mean 1 within each class:
the continuous form of upweighting the errors of a first, short training (JTT, arXiv 2107.09044). ``power`` 0 weighs all
alike, 1 is the loss itself; both options are ours. Needs no attribute labels.

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
                "Weights are a power of the loss of a surrogate that classifies; after JTT (arXiv 2107.09044), ours."
            ),
            "required": ["surrogate"],
            "options": {
                "surrogate": {"type": "string", "description": "Name under `surrogates`."},
                "power": {
                    "type": "number",
                    "minimum": 0,
                    "default": 1,
                    "description": "Of the loss; 0 weighs all alike. Ours.",
                },
                "clip": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "maximum": 1,
                    "default": None,
                    "description": (
                        "Quantile of the losses of a class above which samples count alike; null clips nothing. Ours."
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
    power : float
        At least 0.
    clip : float, optional
        Quantile of the losses of a class, 0..1, above which samples count as if they lay at it: it stops a few
        mislabelled images from taking all the weight.

    Raises
    ------
    DdbiasError
        If the surrogate stores no logits, they are not finite or too few for the labels, or the power is negative.
    """
    logits = column(columns, "logits", "loss_weighted", CLASSIFY)
    labels = np.asarray(columns["label"])
    if not 0 <= power < np.inf:
        raise DdbiasError(f"the power of loss_weighted must be a number of at least 0, not {power}")
    losses = cross_entropies(logits, labels)
    for label in np.unique(labels):
        members = labels == label
        # Scaled before the power is taken, which may leave the range of numbers.
        largest = losses[members].max() if clip is None else np.quantile(losses[members], clip)
        losses[members] = np.minimum(losses[members], largest) / (largest or 1.0)
    return Estimate(mean_one(losses**power, labels))
