"""Groups within a class by DBSCAN of its embedding, without attribute labels.

Source: in appendix M of FairDD (Zhou et al., arXiv 2411.19623) DBSCAN (Ester et al., KDD 1996) of a batch stands in for
the attribute; its features, eps and min_samples were not available to us. Differs from it, as far as we know, in: the
groups are those of the whole class in a surrogate's embedding, L2-normalised, and are made once, not in each batch.

A core sample has ``min_samples`` samples, itself among them, within ``eps``; core samples within eps of each other are
one group. Every other sample belongs to the group of its nearest core sample: DBSCAN leaves those of a border to the
order of the data and the rest as noise, but noise as a group of its own would give outliers the weight of a group.
Measured on CMNIST's training split, 5 % conflicting: with the nearest group conflicting samples hold .88 and .84 of the
weight in the embeddings of ``generalised_ce`` and ``supcon``, with a group of its own .86 and .83. Without any core
sample a class is one group.

Where no eps is given, it is for each class such that 95 % of its samples are core samples: the value that Ester et al.
read off the sorted distances to the fourth neighbour, for a stated share of noise. The share was set on the same split
(with 98 % conflicting samples hold .87 and .84 of the weight, with 99 % .84 and .65).

Cost: O(n^2 D) for a class of n samples in D dimensions, 4 s of 6,000 in 512, and at worst 8 n^2 bytes. Of a class of
more than 8,000 samples as many drawn ones are clustered; the others belong to their nearest core sample's group, too.
"""

from __future__ import annotations

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.base.groups import class_members
from ddbias.base.seeding import numpy_stream
from ddbias.debias.pseudo_groups import by_size, check_rows

MIN_SAMPLES = 5  # itself among them; the fourth neighbour of Ester et al., the default of scikit-learn
CORE_SHARE = 0.95
LARGEST = 8000  # samples of a class that are clustered
LEAST_EPS = 1e-6  # of samples that are one point, whose distances rounding makes


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
        L2-normalised here; a row of zeros stays.
    labels : array of int, shape (N,)
    eps : float, optional
        Distance on the unit sphere, above 0, at most 2; by default for each class such that 95 % are core samples.
    min_samples : int, optional
        At least 1; by default 5.
    seed : int
        Of the samples that stand for a large class.

    Returns
    -------
    groups : ndarray of int64, shape (N,)
        0 is the largest group of a class, 1 the next.
    eps : list of float
        One for each class in ascending order of labels.

    Raises
    ------
    DdbiasError
        If eps or min_samples are out of range, an embedding is not finite, or the lengths differ.
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
    """Return the groups (n,) of one class with embeddings (n, D), clustered by the drawn rows, and its eps."""
    from sklearn.cluster import DBSCAN
    from sklearn.neighbors import NearestNeighbors
    from threadpoolctl import threadpool_limits

    clustered = points[drawn]
    with threadpool_limits(limits=1):
        if eps is None:
            neighbours = NearestNeighbors(n_neighbors=min(min_samples, len(drawn))).fit(clustered)
            farthest = neighbours.kneighbors(clustered)[0][:, -1]
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
