"""Groups within a class by DBSCAN of its embeddings, without attribute labels.

Source: appendix M of FairDD (Zhou et al., arXiv 2411.19623), where DBSCAN (Ester et al., KDD 1996) of a batch replaces
the attribute. The features, eps and min_samples of the appendix were not available to us. Differs from it, as far as
we know: each whole class is clustered once, not each batch, in a surrogate's L2-normalised embedding.

A core sample has at least ``min_samples`` samples, itself included, within the distance ``eps``. Core samples within
eps of each other form one group, and every other sample joins the group of its nearest core sample. DBSCAN itself
assigns border samples by the order of the data and calls the rest noise. As a group of its own, noise would give
outliers the weight of a group: on CMNIST's training split with 5 % conflicting samples these would hold .86 and .83 of
the weight (embeddings of ``generalised_ce`` and ``supcon``) instead of .88 and .84. A class without any core sample is
one group.

Without a given eps, each class gets the smallest eps at which 95 % of its samples are core samples. Ester et al. read
this value off the sorted distances to the fourth neighbour, for a stated share of noise. The share was chosen on the
same split (with 98 % conflicting samples hold .87 and .84 of the weight, with 99 % .84 and .65).

Cost: O(n^2 D) time for a class of n samples in D dimensions (4 s for 6,000 in 512), and at worst 8 n^2 bytes. Of a
class of more than 8,000 samples a random 8,000 are clustered; the others join the group of their nearest core sample.
"""

from __future__ import annotations

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.base.groups import class_members
from ddbias.base.seeding import numpy_stream
from ddbias.debias.pseudo_groups import by_size, check_rows

MIN_SAMPLES = 5  # the sample and its four nearest neighbours (Ester et al.); scikit-learn's default
CORE_SHARE = 0.95  # of the samples of a class, where no eps is given
LARGEST = 8000  # samples of a class that are clustered at most
LEAST_EPS = 1e-6  # for equal samples, whose distances are rounding errors


def dbscan_groups(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    eps: float | None = None,
    min_samples: int | None = None,
    seed: int = 0,
) -> tuple[np.ndarray, list[float]]:
    """Return the group of every sample within its class, and the eps of each class.

    Parameters
    ----------
    embeddings : array of float, shape (N, D)
        This function L2-normalises the rows; a row of zeros stays zero.
    labels : array of int, shape (N,)
    eps : float, optional
        Euclidean distance between normalised rows, above 0, at most 2; by default one for each class, at which 95 % of
        its samples are core samples.
    min_samples : int, optional
        Samples within eps, itself included, that make a core sample; at least 1, by default 5.
    seed : int
        Selects the samples of a class of more than 8,000 that are clustered.

    Returns
    -------
    groups : ndarray of int64, shape (N,)
        0 is the largest group of a class, 1 the next; compared within a class only.
    eps : list of float
        One for each class, in ascending order of the labels.

    Raises
    ------
    DdbiasError
        If eps or min_samples is out of range, an embedding is not finite, or the lengths differ.
    """
    points, labels = np.asarray(embeddings), np.asarray(labels)
    if eps is not None and not 0 < eps <= 2:
        raise DdbiasError(f"the eps of dbscan must be above 0 and at most 2, not {eps}; leave it out to have it found")
    if min_samples is not None and min_samples < 1:
        raise DdbiasError(f"the min_samples of dbscan must be at least 1, not {min_samples}")
    check_rows("embeddings", points, labels)
    groups, distances = np.empty(len(labels), np.int64), []
    for label, members in class_members(labels):
        of_class = points[members].astype(np.float64)
        of_class /= np.maximum(np.linalg.norm(of_class, axis=1, keepdims=True), 1e-12)
        drawn = np.sort(numpy_stream(seed, "dbscan", label).permutation(len(members))[:LARGEST])
        groups[members], distance = _class_groups(of_class, drawn, eps, min_samples or MIN_SAMPLES)
        distances.append(distance)
    return groups, distances


def _class_groups(
    points: np.ndarray, drawn: np.ndarray, eps: float | None, min_samples: int
) -> tuple[np.ndarray, float]:
    """Return the groups (n,) of one class with embeddings (n, D), clustered by its drawn rows, and its eps."""
    from sklearn.cluster import DBSCAN
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    clustered = points[drawn]
    with threadpool_limits(limits=1):
        if eps is None:
            neighbours = NearestNeighbors(n_neighbors=min(min_samples, len(drawn))).fit(clustered)
            farthest = neighbours.kneighbors(clustered)[0][:, -1]  # (m,) distances, for m drawn rows
            eps = max(LEAST_EPS, float(np.quantile(farthest, CORE_SHARE, method="higher")))
        found = DBSCAN(eps=eps, min_samples=min_samples).fit(clustered)
        core = found.core_sample_indices_
        if not len(core):
            return np.zeros(len(points), np.int64), eps
        groups = np.empty(len(points), np.int64)
        groups[drawn[core]] = found.labels_[core]
        others = np.setdiff1d(np.arange(len(points)), drawn[core])
        if len(others):
            nearest = NearestNeighbors(n_neighbors=1).fit(clustered[core]).kneighbors(points[others])[1][:, 0]
            groups[others] = found.labels_[core][nearest]
    return by_size(groups), eps
