"""Whether a network's confidence is its accuracy: the expected calibration error.

Source: Guo et al., "On Calibration of Modern Neural Networks" (arXiv 1706.04599, equation 3), 15 bins of equal width.
A network trained on a biased set is confident in what the attribute predicts, also when that is wrong.
"""

from __future__ import annotations

import numpy as np

BINS = 15
METRIC = "calibration_error"


def bin_confidences(confidences: np.ndarray, correct: np.ndarray) -> np.ndarray | None:
    """Sum up confidences bin by bin.

    Parameters
    ----------
    confidences : ndarray of float, shape (N,)
        Probability of the predicted label, 0..1.
    correct : ndarray of bool, shape (N,)

    Returns
    -------
    ndarray of float64, shape (15, 3), or None
        Number of samples, of correct ones, and sum of the confidences of every bin ((i - 1) / 15, i / 15]. None if a
        confidence is not a number, as those of a network that diverged.
    """
    confidences = np.asarray(confidences, np.float64)
    if not np.isfinite(confidences).all():
        return None
    index = np.clip(np.ceil(confidences * BINS).astype(np.int64) - 1, 0, BINS - 1)
    columns = (None, np.asarray(correct, np.float64), confidences)
    return np.stack([np.bincount(index, column, minlength=BINS) for column in columns], axis=1).astype(np.float64)


def calibration_error(bins: np.ndarray) -> float:
    """Return the mean gap between confidence and accuracy over the samples, 0..1, from what `bin_confidences` gave."""
    samples, correct, confidence = np.asarray(bins).T
    return float(np.abs(correct - confidence).sum() / samples.sum())
