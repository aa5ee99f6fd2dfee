"""The area under the ROC curve (AUC) of a score.

Ours, because importing scikit-learn for it would take a second.
"""

from __future__ import annotations

import numpy as np


def auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the AUC: the share of pairs of a positive and a negative sample in which the positive one scores higher.

    A tie counts half. Pairs are counted as integers, so the result is the float nearest to the exact value.

    Parameters
    ----------
    score : ndarray of float, shape (N,)
        May be infinite, not NaN.
    positive : ndarray of bool, shape (N,)
        At least one positive and one negative sample.

    Returns
    -------
    float
        0..1; .5 for a score that is unrelated.

    Examples
    --------
    >>> auc(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    _, rank = np.unique(score, return_inverse=True)
    positives, others = (np.bincount(rank[chosen], minlength=rank.max() + 1) for chosen in (positive, ~positive))
    below = others.cumsum() - others
    return float((positives * (2 * below + others)).sum() / (2 * positives.sum() * others.sum()))
