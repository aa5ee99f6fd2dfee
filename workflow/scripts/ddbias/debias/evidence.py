"""Whether a briefly trained classifier has learnt a bias at all, before a debias trusts its predictions. Ours.

A hard sample is one the classifier is undecided about; a conflicting one is one whose label it *excludes*. The evidence
is the share of contradicted samples whose label has less than 1/(2K) of the probability of the predicted class (K
classes). So does it exclude wrong labels: what the evidence tells from hard samples, `ddbias.debias.trial` tells from
wrong labels.

Asked of classifiers about samples that they were not trained on (``cross_fitted``, 320 steps): .66 to .80 on the biased
development sets of `ddbias.debias.trial` (aligned ratio .95), .76 and .74 on C-MNIST (FG, BG); .20 to .38 on the
unbiased ones without wrong labels (.71 and .77 with them), .21 on CMNIST where colour says nothing, .34 on Corrupted
CIFAR-10 and .26 on FairFace with 1 % conflicting samples. Of a classifier about its own samples it hangs on the length
of the training: with and without a bias it rises from 0 to .5 in 320 steps on 8,000 images. At an aligned ratio of .8
it is .39 after 160 steps and .15 after 320, as the label is learnt, too.
"""

from __future__ import annotations

import numpy as np

from ddbias.base.log import logger

MIN_EVIDENCE = 0.5


def evidence(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the share, 0..1, of contradicted samples whose label is excluded; 0 where none is contradicted.

    Excluded: the probability of the label is less than 1 / (2K) of that of the predicted class.

    Parameters
    ----------
    logits : ndarray of float, shape (N, K)
    labels : ndarray of int, shape (N,)
    """
    contradicted = np.asarray(logits).argmax(1) != labels
    return float(excluded(logits, labels)[contradicted].mean()) if contradicted.any() else 0.0


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
