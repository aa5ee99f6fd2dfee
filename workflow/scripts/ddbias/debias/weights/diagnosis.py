"""Numbers that describe weights: how few samples hold them, and how much of them conflicting samples hold."""

from __future__ import annotations

import math

import numpy as np

from ddbias.base.groups import class_members
from ddbias.debias.weights.ranking import auc

LARGEST = 0.01  # share of the samples in ``largest_share``


def diagnose(
    weights: np.ndarray, log_density: np.ndarray | None, conflicting: np.ndarray | None, labels: np.ndarray
) -> dict:
    """Describe weights, over all samples and for each class.

    Parameters
    ----------
    weights : ndarray of float64, shape (N,)
        Not negative, with mean 1 within each class.
    log_density : ndarray of float64, shape (N,), or None
        None: there is no AUC.
    conflicting : ndarray of bool, shape (N,), or None
        None where the attribute is unknown; numbers that need it are then None.
    labels : ndarray of int, shape (N,)

    Returns
    -------
    dict
        - ``conflicting_share``: share of the total weight on conflicting samples, 0..1;
        - ``conflicting_ratio``: share of the samples that are conflicting, 0..1;
        - ``auc``: of minus the log-density against conflicting, 0..1; over all classes it is meaningful only if they
          have the same kernel variance;
        - ``effective_sample_size``: ``(sum w)^2 / sum w^2``;
        - ``largest_share``: share of the total weight, 0..1, on the 1 % of the samples (at least one) with the largest
          weights;
        - ``classes``: a list of the same for each class, with its ``label`` and number of ``samples``, in ascending
          order of the labels.
    """
    classes = [
        {
            "label": label,
            "samples": len(rows),
            **_describe(
                weights[rows],
                None if log_density is None else log_density[rows],
                None if conflicting is None else conflicting[rows],
            ),
        }
        for label, rows in class_members(labels)
    ]
    return {**_describe(weights, log_density, conflicting), "classes": classes}


def _describe(weights: np.ndarray, log_density: np.ndarray | None, conflicting: np.ndarray | None) -> dict:
    known = conflicting is not None and 0 < conflicting.sum() < len(conflicting)
    first = len(weights) - max(1, math.ceil(LARGEST * len(weights)))
    return {
        "auc": auc(-log_density, conflicting) if known and log_density is not None else None,
        "conflicting_share": float(weights[conflicting].sum() / weights.sum()) if known else None,
        "conflicting_ratio": float(conflicting.mean()) if conflicting is not None else None,
        "effective_sample_size": float(weights.sum() ** 2 / (weights**2).sum()),
        "largest_share": float(np.partition(weights, first)[first:].sum() / weights.sum()),
    }
