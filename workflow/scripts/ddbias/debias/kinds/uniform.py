"""No debias: all samples of a class count alike, as in all published distillers."""

from __future__ import annotations

import numpy as np

from ddbias.data.split import Split

PLUGIN = {
    "debias": {
        "uniform": {"description": "No debias: all images of a class count alike, as in the published distillers."},
    },
}


def sample_weights(split: Split) -> np.ndarray:
    """Return weights (N,) float64 that are all one."""
    return np.ones(len(split))
