"""Weights from LfF: a sample counts as much as it is harder for a biased classifier than for a debiased one.

Source: Nam et al., "Learning from Failure" (arXiv 2007.02561), relative difficulty ``W = L_b / (L_b + L_d)`` of the
two networks that a surrogate of kind ``lff`` trains side by side. There W weighs the loss of the debiased network; here
it weighs the real side of the matching, scaled to mean 1 within each class. Needs no attribute labels.

Cost: none beside the surrogate.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.debias.estimates import Estimate, column, mean_one

PLUGIN = {
    "debias": {
        "lff_weights": {
            "description": ("Weights are the relative difficulty of a surrogate of kind lff (LfF, arXiv 2007.02561)."),
            "required": ["surrogate"],
            "options": {
                "surrogate": {"type": "string", "description": "Name under `surrogates`."},
                "draw": {"$ref": "#/$defs/draw"},
                "trial": {"$ref": "#/$defs/trial"},
            },
            "reads": ["difficulty"],
        },
    },
}


def estimate(columns: Mapping[str, np.ndarray]) -> Estimate:
    """Return weights proportional to ``difficulty`` (N,), 0..1, within each class.

    Raises
    ------
    DdbiasError
        If the surrogate stores no difficulty, or it is not finite.
    """
    return Estimate(mean_one(column(columns, "difficulty", "lff_weights", "one of kind lff"), columns["label"]))
