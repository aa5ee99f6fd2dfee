"""FairDD: the synthetic images of a class are matched with every group of the class on its own.

Source: Zhou et al., "Fair Dataset Distillation via Synchronized Matching" (arXiv 2411.19623). Of a class batch drawn
uniformly every group that is present gives one target, the plain mean over its images, and the loss of the class is the
**sum** of the distances to them: rare groups count as much as common ones, and the step of the pixels grows with the
number of groups. Groups that a batch misses are left out of that step. ``reduction: mean`` divides by the number of
groups present, as the re-implementation with COBRA does for gradient matching.

Differs from the paper in: groups may be pseudo-groups of a surrogate, where attributes are unknown; ``draw:
proportional`` draws the groups alike often, so that rare ones are seldom missed. Where images are drawn without being
matched group by group (first images, controls, the training of MTT's experts and of IDC's network), the groups of a
class are drawn alike often.

Cost: as without it, and pseudo-groups once; gradient matching computes the real gradient in as many parts as there are
groups.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.data.split import Split
from ddbias.debias.balance import balanced_estimate, balanced_truth
from ddbias.debias.estimates import Estimate

PLUGIN = {
    "debias": {
        "fairdd": {
            "description": (
                "A target for every group of a class, whose distances are added (FairDD, arXiv 2411.19623). "
                "MTT's experts are trained on group-balanced images instead."
            ),
            "options": {
                "groups": {"$ref": "#/$defs/groups"},
                "surrogate": {"$ref": "#/$defs/groups_surrogate"},
                "clusters": {"$ref": "#/$defs/clusters"},
                "eps": {"$ref": "#/$defs/dbscan_eps"},
                "min_samples": {"$ref": "#/$defs/dbscan_min_samples"},
                "known": {"$ref": "#/$defs/known"},
                "reduction": {
                    "enum": ["sum", "mean"],
                    "default": "sum",
                    "description": (
                        "Whether the distances to the groups present are added, so that the step of the pixels "
                        "grows with their number (FairDD), or averaged (COBRA's re-implementation for gradient "
                        "matching)."
                    ),
                },
                "min_evidence": {"$ref": "#/$defs/group_evidence"},
                "trial": {"$ref": "#/$defs/trial"},
                "draw": {"$ref": "#/$defs/group_draw"},
            },
            "seconds": (
                "2.2e-10 * max(dimensions, 160) * train * min(train / classes, 8000) if groups == 'dbscan' else 0"
            ),
            "megabytes": "8e-6 * min(train / classes, 8000) * min(train / classes, 8000) if groups == 'dbscan' else 0",
            "tries": "6 if groups == 'predicted' else 0",
        },
    },
}

POOLING = "groups"


def sample_weights(split: Split, **_: object) -> np.ndarray:
    """Return weights (N,) float64; see `ddbias.debias.balance.balanced_truth`."""
    return balanced_truth(split, "fairdd")


def estimate(columns: Mapping[str, np.ndarray], **options: object) -> Estimate | list[Estimate]:
    """Return pseudo-groups and weights; see `ddbias.debias.balance.balanced_estimate`."""
    return balanced_estimate(columns, "fairdd", **options)
