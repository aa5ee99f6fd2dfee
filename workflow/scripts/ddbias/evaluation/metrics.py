"""All metrics of a trained network, from one array of counts.

``counts[attribute, label, prediction]`` is the number of test samples of a group (attribute, label) with each
prediction. A group without samples is missing, never zero: a metric that needs it is left out.

Sources: DEO_M and DEO_A as FairDD prints them (arXiv 2411.19623), aligned / conflicting /
unbiased accuracy as in Learning from Failure (arXiv 2007.02561); information between attribute and prediction as Lu et
al. suggest (arXiv 2403.16028). Metrics of the confidence are in `ddbias.evaluation.calibration`.
"""

from __future__ import annotations

import numpy as np

from ddbias.base.groups import IDENTITY, Pairing, aligned_cells

METRICS = (
    "accuracy",
    "unbiased_accuracy",
    "aligned_accuracy",
    "conflicting_accuracy",
    "worst_group_accuracy",
    "deo_max",
    "deo_mean",
    "equalized_odds",
    "attribute_accuracy",
    "attribute_information",
)


def count(attributes: np.ndarray | None, labels: np.ndarray, predictions: np.ndarray, groups: int, classes: int):
    """Count samples by attribute, label and prediction.

    Parameters
    ----------
    attributes : ndarray of int, shape (N,), or None
        When None (unknown), all samples form the one group 0 and `groups` must be 1.
    labels, predictions : ndarray of int, shape (N,)
    groups, classes : int
        Number of attributes A and of classes K.

    Returns
    -------
    ndarray of int64, shape (A, K, K)
    """
    group = np.zeros_like(labels) if attributes is None else attributes
    flat = (np.asarray(group, np.int64) * classes + labels) * classes + predictions
    return np.bincount(flat, minlength=groups * classes * classes).reshape(groups, classes, classes)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide, giving NaN where the denominator is zero."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)


def group_accuracy(counts: np.ndarray) -> np.ndarray:
    """Return the accuracy of every cell, shape (A, K), NaN for a cell without samples."""
    return _ratio(np.einsum("akk->ak", counts), counts.sum(2))


def _spread(values: np.ndarray) -> np.ndarray:
    """Return max - min over the groups (axis 0) that have samples; NaN where fewer than two have."""
    present = ~np.isnan(values)
    high = np.where(present, values, -np.inf).max(0)
    low = np.where(present, values, np.inf).min(0)
    return np.where(present.sum(0) >= 2, high - low, np.nan)


def _equalized_odds(counts: np.ndarray) -> float:
    """Return the largest gap between groups in any class's true or false positive rate (one against the rest)."""
    hits = np.einsum("akk->ak", counts)
    by_label, by_prediction = counts.sum(2), counts.sum(1)
    total = counts.sum((1, 2))[:, None]
    true_positive = _spread(_ratio(hits, by_label))
    false_positive = _spread(_ratio(by_prediction - hits, total - by_label))
    gaps = np.concatenate([true_positive, false_positive])
    return float(gaps.max()) if not np.isnan(gaps).any() else np.nan


def _entropy(weights: np.ndarray, axis: int) -> np.ndarray:
    """Return the entropy in nats of the distributions along an axis; 0 for one without weight."""
    total = weights.sum(axis, keepdims=True)
    share = weights / np.where(total > 0, total, 1)
    return -(share * np.log(share, out=np.zeros_like(share), where=share > 0)).sum(axis)


def _attribute_information(counts: np.ndarray) -> float:
    """Return I(attribute; prediction | label) over H(attribute | label), NaN where a label tells the attribute."""
    of_label = counts.sum((0, 2))
    unknown = (of_label * _entropy(counts.sum(2), 0)).sum()
    by_prediction = counts.sum(0)  # (labels, predictions)
    left = (by_prediction * _entropy(counts, 0)).sum()
    return float(np.clip(1 - left / unknown, 0, 1)) if unknown > 0 else np.nan


def group_metrics(counts: np.ndarray, pairing: Pairing = IDENTITY) -> dict[str, float]:
    """Compute all metrics of one network on one test set.

    Parameters
    ----------
    counts : ndarray of int, shape (A, K, K)
        ``counts[attribute, label, prediction]``. With ``A = 1`` the attribute is unknown and only ``accuracy``
        is given.
    pairing : sequence of int, ``"identity"`` or None
        The attribute paired with each label, see `ddbias.base.groups`; None leaves aligned and conflicting accuracy
        out.

    Returns
    -------
    dict
        Metric name to value in 0..1. Missing metrics are left out:

        - ``accuracy``: share of correct predictions;
        - ``unbiased_accuracy``: mean accuracy over all A x K cells; missing if any cell is empty;
        - ``aligned_accuracy``, ``conflicting_accuracy``: accuracy on samples whose attribute is / is not the one
          paired with their label;
        - ``worst_group_accuracy``: lowest accuracy of a cell that has samples;
        - ``deo_max``, ``deo_mean``: over labels, the maximum and mean of the gap between the best and the worst
          group's accuracy (FairDD's DEO_M and DEO_A: true positives only); missing if a label has fewer than two
          groups;
        - ``equalized_odds``: largest gap between groups in true *or false* positive rate, one class against the
          rest (equals fairlearn's ``equalized_odds_difference`` for two classes);
        - ``attribute_accuracy``: share of samples whose prediction is a class paired with their attribute; 1 for a
          network that uses only the attribute, the share of aligned samples for a perfect one;
        - ``attribute_information``: share of the attribute's entropy, given the label, that the prediction explains,
          I(attribute; prediction | label) / H(attribute | label); 0 for a perfect network. A plug-in estimate: of
          independent ones about (A - 1) (K - 1) K / (2 N H), .02 for ten groups, ten classes and 10,000 samples.

    Raises
    ------
    ValueError
        If the shape is not (A, K, K), a count is not a whole number from 0, no sample was counted, or `pairing` does
        not name an attribute for each label.

    Examples
    --------
    Two attributes, two classes, 100 test samples of each group; attribute 0 is paired with class 0:

    >>> import numpy as np
    >>> from ddbias import group_metrics
    >>> metrics = group_metrics(np.array([[[90, 10], [40, 60]], [[50, 50], [5, 95]]]))
    >>> [round(metrics[name], 3) for name in ("unbiased_accuracy", "conflicting_accuracy", "worst_group_accuracy")]
    [0.738, 0.55, 0.5]
    """
    counts = np.asarray(counts)
    if counts.ndim != 3 or counts.shape[1] != counts.shape[2]:
        raise ValueError(f"counts must have the shape (attributes, labels, labels), not {counts.shape}")
    if counts.dtype.kind not in "iu" or (counts < 0).any():
        raise ValueError(f"counts must be whole numbers from 0, not {counts.dtype} from {counts.min()}")
    counts = counts.astype(np.int64)
    if counts.sum() == 0:
        raise ValueError("counts are all zero: no sample was tested")
    if pairing is not None and not isinstance(pairing, str):
        partners = np.asarray(pairing)[: counts.shape[1]]
        if partners.shape != counts.shape[1:2] or not np.isin(partners, np.arange(len(counts))).all():
            raise ValueError(f"pairing must name one of {len(counts)} attributes for each of {counts.shape[1]} labels")
    hits, support = np.einsum("akk->ak", counts), counts.sum(2)
    values = {"accuracy": hits.sum() / support.sum()}
    if counts.shape[0] > 1:
        cells = group_accuracy(counts)
        deo = _spread(cells)
        values |= {
            "unbiased_accuracy": cells.mean(),
            "worst_group_accuracy": np.nanmin(cells),
            "deo_max": deo.max(),
            "deo_mean": deo.mean(),
            "equalized_odds": _equalized_odds(counts),
            "attribute_information": _attribute_information(counts),
        }
        aligned = aligned_cells(pairing, *counts.shape[:2])
        if aligned is not None:
            values["aligned_accuracy"] = _ratio(hits[aligned].sum(), support[aligned].sum())
            values["conflicting_accuracy"] = _ratio(hits[~aligned].sum(), support[~aligned].sum())
            as_attribute = np.einsum("akp,ap->", counts, aligned)
            values["attribute_accuracy"] = as_attribute / support.sum()
        values = {name: values[name] for name in METRICS if name in values}
    return {name: float(value) for name, value in values.items() if not np.isnan(value)}


def group_support(counts: np.ndarray, pairing: Pairing = IDENTITY) -> dict[str, int]:
    """Return the number of test samples behind each metric (for the group gaps: of the smallest group)."""
    support = np.asarray(counts).sum(2)
    total, smallest = int(support.sum()), int(support[support > 0].min())
    special = dict.fromkeys(("worst_group_accuracy", "deo_max", "deo_mean", "equalized_odds"), smallest)
    aligned = aligned_cells(pairing, *support.shape)
    if aligned is not None:
        special["aligned_accuracy"] = int(support[aligned].sum())
        special["conflicting_accuracy"] = int(support[~aligned].sum())
    return {name: special.get(name, total) for name in METRICS}
