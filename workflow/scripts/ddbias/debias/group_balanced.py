"""Weights from the true attribute: every group of a class holds the same total weight.

The upper bound for what any weighting without attribute labels can reach; the matching target is then the mean of
the group means, as in FairDD and COBRA (arXiv 2411.19623, 2605.00185).
"""

from __future__ import annotations

import numpy as np

from ddbias.data import Split
from ddbias.errors import DdbiasError

NEEDS_SURROGATE = False


def sample_weights(split: Split) -> np.ndarray:
    """Return weights (N,) float64 with mean 1 in each class, inverse to the size of a sample's group.

    Raises
    ------
    DdbiasError
        If the attributes are unknown.
    """
    if split.attributes is None:
        raise DdbiasError("debias group_balanced needs the true attribute, which this data set does not have; use kde")
    labels, attributes = np.asarray(split.labels), np.asarray(split.attributes)
    sizes = np.zeros((split.classes, int(attributes.max()) + 1), np.int64)
    np.add.at(sizes, (labels, attributes), 1)
    groups = (sizes > 0).sum(1)
    return sizes.sum(1)[labels] / (groups[labels] * sizes[labels, attributes])
