"""Whether a briefly trained classifier has learnt a bias at all, before a debias trusts its predictions. Ours.

A hard sample is one the classifier is undecided about; a conflicting one is one whose label it *excludes*. The evidence
is the share of contradicted samples whose label has less than 1/(2K) of the probability of the predicted class (K
classes). So does it exclude wrong labels: what the evidence tells from hard samples, `ddbias.debias.trial` tells from
wrong labels.

Asked of classifiers about samples that they were not trained on, at three moments of which the clearest counts
(``cross_fitted``, after 80, 160 and 320 steps): .51 to .79 on the biased development sets of `ddbias.debias.trial`, and
.17 to .37 on those without a bias and without wrong labels, of 1,200 to 60,000 images (.72 and .81 with wrong labels).
The bound is halfway. One moment is not enough: where 20 % of the samples conflict it is .51 after 80 steps and .15
after 320, as the label is learnt, too; with 6 % wrong labels .39 and .59. Of a classifier about its own samples the
evidence hangs on the length of the training: with and without a bias it rises from 0 to .5 in 320 steps on 8,000
images.
"""

from __future__ import annotations

import numpy as np

from ddbias.base.log import logger

MIN_EVIDENCE = 0.45
NEARLY = 0.05  # moments whose evidence differs by no more are alike


def evidence(predictions: np.ndarray, out: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the evidence (L,) float64 of each moment, 0..1; the largest counts.

    Parameters
    ----------
    predictions : ndarray of int, shape (N, L)
        The class predicted at each of L moments.
    out : ndarray of bool, shape (N, L)
        Where the label is excluded, see `excluded`.
    labels : ndarray of int, shape (N,)

    Returns
    -------
    ndarray of float64, shape (L,)
        Share of the contradicted samples whose label is excluded; 0 where no label is contradicted.
    """
    contradicted = (np.asarray(predictions) != np.asarray(labels)[:, None]).sum(0)  # (L,)
    return np.asarray(out, bool).sum(0) / np.maximum(contradicted, 1)


def clearest(found: np.ndarray) -> int:
    """Return the last moment whose evidence, of (L,), is within .05 of the largest.

    The longer a classifier is trained the better it tells attributes apart, until it learns the labels, too.
    """
    return int(np.flatnonzero(found >= found.max() - NEARLY)[-1])


def excluded(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Tell of each sample (N,) whether its label has less than 1 / (2K) of the probability of the predicted class."""
    logits = np.asarray(logits, np.float64)
    margin = logits[np.arange(len(labels)), labels] - logits.max(1)  # log of the ratio of probabilities
    return margin < -np.log(2 * logits.shape[1])


def shows_bias(found: float, min_evidence: float, debias: str) -> bool:
    """Tell whether evidence suffices; if not, a warning names the kind of debias, which then changes nothing."""
    if found >= min_evidence:
        return True
    logger.warning(
        "debias %s: the classifier excludes the label of only %.0f %% of the samples that it contradicts (min_evidence "
        "%.0f %%): it has learnt no bias first, or was trained too briefly or too long; all samples count alike",
        debias,
        100 * found,
        100 * min_evidence,
    )
    return False
