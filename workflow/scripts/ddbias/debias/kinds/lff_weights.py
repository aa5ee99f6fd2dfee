"""Weights from LfF: samples that are harder for a biased classifier than for a debiased one count more.

Source: Nam et al., "Learning from Failure" (arXiv 2007.02561). The relative difficulty ``W = L_b / (L_b + L_d)`` is
computed from the losses of the two networks of a surrogate of kind ``lff``. LfF weights the loss of the debiased
network with W; here W, scaled to mean 1 within each class, weights the real images. Needs no attribute labels.

Cost: none beside the surrogate.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.debias.estimates import Estimate, column, mean_one

PLUGIN = {
    "debias": {
        "lff_weights": {
            "description": "Weights are the relative difficulty of a surrogate of kind lff (LfF, arXiv 2007.02561).",
            "required": ["surrogate"],
            "options": {
                "surrogate": {"type": "string", "description": "Name under `surrogates`, of the kind lff."},
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
        If the surrogate stores no difficulty, or a value is negative or not finite.
    """
    return Estimate(mean_one(column(columns, "difficulty", "lff_weights", "one of kind lff"), columns["label"]))
