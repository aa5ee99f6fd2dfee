"""FairDD: the synthetic images of a class are matched with every group of the class separately.

Source: Zhou et al., "FairDD: Fair Dataset Distillation" (arXiv 2411.19623). A batch of each class is drawn
uniformly. Every group present gives one target, the plain mean over its images; groups that are absent are left out of
the step. The loss of the class is the **sum** of the distances to the targets. So rare groups count as much as common
ones, and the gradient of the pixels grows with the number of groups. ``reduction: mean`` divides by the number of
groups present, as COBRA's re-implementation of FairDD does for gradient matching.

Differs from the paper in: where attributes are unknown, groups may be pseudo-groups of a surrogate; ``draw:
proportional`` draws all groups equally often, so that rare ones are seldom absent. Some draws are not matched group by
group (first images, controls, training of MTT's experts and of IDC's network); they also draw the groups of a class
equally often.

Cost: pseudo-groups are made once; gradient matching computes one real gradient for each group instead of each class.
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
                "One target for each group of a class; the distances to them are added (FairDD, arXiv 2411.19623). "
                "MTT's experts are trained on group-balanced images instead."
            ),
            "like": "cobra",
            "options": {
                "reduction": {
                    "enum": ["sum", "mean"],
                    "default": "sum",
                    "description": (
                        "Whether the distances to the groups present are added (FairDD) or averaged (COBRA's "
                        "re-implementation for gradient matching). Added, the gradient of the pixels grows with the "
                        "number of groups."
                    ),
                },
            },
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
