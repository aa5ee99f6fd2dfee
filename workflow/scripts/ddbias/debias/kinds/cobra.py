"""COBRA: the synthetic images of a class are matched with the barycentre of its groups.

Source: "COBRA" (arXiv 2605.00185). A batch of each class is drawn uniformly. The target is the mean, with equal
weights, of the means of the groups present: ``b_c = (1 / |G|) sum_g mu_cg``. The means are of embeddings (dm) or of
gradients (dc, dsa, idc).

Its public code has further settings for distribution matching, which are options of the distiller dm here:
``distance: absolute``, ``warm_up: 10`` (50 at 50, 100 at 100 images per class), ``real_batch: 600``, 2,600 iterations.

Differs from the paper as `ddbias.debias.kinds.fairdd` does: pseudo-groups, ``draw: proportional``, and balanced draws
where nothing is matched.

Cost: none beside the distiller; pseudo-groups are made once.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.data.split import Split
from ddbias.debias.balance import balanced_estimate, balanced_truth
from ddbias.debias.estimates import Estimate

PLUGIN = {
    "debias": {
        "cobra": {
            "description": (
                "One target for each class, the mean of the means of its groups (COBRA, arXiv 2605.00185). "
                "MTT's experts are trained on group-balanced images instead. For distribution matching COBRA's code "
                "also sets `distance: absolute` and a `warm_up`, options of dm."
            ),
            "options": {
                "groups": {"$ref": "#/$defs/groups"},
                "surrogate": {"$ref": "#/$defs/groups_surrogate"},
                "clusters": {"$ref": "#/$defs/clusters"},
                "eps": {"$ref": "#/$defs/dbscan_eps"},
                "min_samples": {"$ref": "#/$defs/dbscan_min_samples"},
                "known": {"$ref": "#/$defs/known"},
                "min_evidence": {"$ref": "#/$defs/group_evidence"},
                "trial": {"$ref": "#/$defs/trial"},
                "draw": {
                    "enum": ["uniform", "proportional"],
                    "default": "uniform",
                    "description": (
                        "How the batch is drawn whose groups are matched: uniformly (FairDD and COBRA), or with the "
                        "groups of a class equally often, so that rare ones are seldom missed (ours)."
                    ),
                },
            },
            "seconds": (
                "2.2e-10 * max(dimensions, 160) * train * min(train / classes, 8000) if groups == 'dbscan' else 0"
            ),
            "megabytes": "8e-6 * min(train / classes, 8000) * min(train / classes, 8000) if groups == 'dbscan' else 0",
            "tries": "2 if groups == 'predicted' else 0",
        },
    },
}

POOLING = "barycentre"


def sample_weights(split: Split, **_: object) -> np.ndarray:
    """Return weights (N,) float64; see `ddbias.debias.balance.balanced_truth`."""
    return balanced_truth(split, "cobra")


def estimate(columns: Mapping[str, np.ndarray], **options: object) -> Estimate | list[Estimate]:
    """Return pseudo-groups and weights; see `ddbias.debias.balance.balanced_estimate`."""
    return balanced_estimate(columns, "cobra", **options)
