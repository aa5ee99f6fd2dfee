"""How well a score ranks: the area under the ROC curve, which scikit-learn would take a second to load for."""

from __future__ import annotations

import numpy as np


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the share of the pairs of a positive and another sample in which the positive one has the higher score.

    A tie counts half. Pairs are counted in whole numbers, so the result is the nearest float to the exact one.

    Parameters
    ----------
    score : ndarray of float, shape (N,)
        May be infinite, not NaN.
    positive : ndarray of bool, shape (N,)
        At least one of each.
    """
    _, rank = np.unique(score, return_inverse=True)
    positives, others = (np.bincount(rank[chosen], minlength=rank.max() + 1) for chosen in (positive, ~positive))
    below = others.cumsum() - others
    return float((positives * (2 * below + others)).sum() / (2 * positives.sum() * others.sum()))
