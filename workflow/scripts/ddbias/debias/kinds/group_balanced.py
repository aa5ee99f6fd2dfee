"""Weights that balance groups: every group of a class holds the same total weight.

With the true attribute the matching target of a class is the mean of its group means. FairDD's squared loss leads to
this target, and COBRA aims at it (arXiv 2411.19623, 2605.00185). It is no upper bound for other weights. With
pseudo-groups from a surrogate no attribute is needed. Formula and shrinkage: `ddbias.debias.balance`.

Cost: counting; with pseudo-groups that of `ddbias.debias.pseudo_groups` or `ddbias.debias.dbscan_groups`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.data.split import Split
from ddbias.debias.balance import balanced_estimate, balanced_weights, true_groups
from ddbias.debias.estimates import Estimate

PLUGIN = {
    "debias": {
        "group_balanced": {
            "description": (
                "Every group of a class holds the same total weight. Even with the true attribute this is no upper "
                "bound for other weights."
            ),
            "options": {
                "groups": {"$ref": "#/$defs/groups"},
                "surrogate": {"$ref": "#/$defs/groups_surrogate"},
                "clusters": {"$ref": "#/$defs/clusters"},
                "eps": {"$ref": "#/$defs/dbscan_eps"},
                "min_samples": {"$ref": "#/$defs/dbscan_min_samples"},
                "known": {"$ref": "#/$defs/known"},
                "smoothing": {
                    "type": "number",
                    "minimum": 0,
                    "default": 0,
                    "description": (
                        "Shrinks the weights towards equal ones, so that tiny groups do not take all the weight: this "
                        "many times the average group size is added to the size of every group. 0 balances exactly. "
                        "Ours."
                    ),
                },
                "min_cell": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 1,
                    "description": "Groups of a class with fewer samples are merged into its largest one. Ours.",
                },
                "min_evidence": {"$ref": "#/$defs/group_evidence"},
                "trial": {"$ref": "#/$defs/trial"},
                "draw": {"$ref": "#/$defs/draw"},
            },
            "seconds": (
                "2.2e-10 * max(dimensions, 160) * train * min(train / classes, 8000) if groups == 'dbscan' else 0"
            ),
            "megabytes": "8e-6 * min(train / classes, 8000) * min(train / classes, 8000) if groups == 'dbscan' else 0",
            "tries": "2 if groups == 'predicted' else 0",
        },
    },
}


def sample_weights(split: Split, *, smoothing: float = 0.0, min_cell: int = 1, **_: object) -> np.ndarray:
    """Return weights (N,) float64 with mean 1 in each class from the true attributes.

    Parameters
    ----------
    split : Split
    smoothing : float
        At least 0; shrinks the weights towards equal ones.
    min_cell : int
        At least 1; groups with fewer samples are merged into the largest group of their class.
    **_
        Options that concern pseudo-groups only.

    Raises
    ------
    DdbiasError
        If the attributes are unknown.
    """
    groups = true_groups(split, "group_balanced")
    return balanced_weights(split.labels, groups, smoothing=smoothing, min_cell=min_cell)


def estimate(columns: Mapping[str, np.ndarray], **options: object) -> Estimate | list[Estimate]:
    """Return merged pseudo-groups and weights that balance them; see `ddbias.debias.balance.balanced_estimate`."""
    return balanced_estimate(columns, "group_balanced", **options)
