"""Groups within a class without attribute labels: clusters of its embedding, or what a biased classifier sees in it.

Clustering the embedding of each class for later balancing is the idea of Sohoni et al. (GEORGE, arXiv 2011.12945),
who fit a Gaussian mixture and choose the number of clusters by silhouettes; taking a biased model's prediction for the
group is common to JTT, EIIL and their kin (arXiv 2107.09044, 2010.07249). What differs here, and why: of a class that
is 95 % aligned the inertia of k-means, the likelihood (and BIC) of a mixture and the silhouette are all about the one
big group. It is not normal, so they cut it into pieces and leave the small groups together. Instead, k-means on the
leading principal components finds many small clusters, and those that no gap separates are merged again
(`ddbias.debias.merging`); the number of groups is what remains.

Cost: O(n D^2) for the components of a class of n samples in D dimensions, O(n) for the rest. Groups of fewer than
five samples, or 0.3 % of the class, are not told from outliers: they go to the nearest group.
"""

from __future__ import annotations

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import derive
from ddbias.debias.merging import Component, merge

MOST = 12  # groups of a class, when the data say how many
DIMENSIONS = 12  # principal components that the clusters are found in
SMALL_CLUSTERS = 100  # that k-means starts from
SEPARATION = 2.3  # of two groups, in standard deviations along the line between them, see `merging`
SMALLEST, SMALLEST_SHARE = 5, 0.003  # of a group: in samples, and as a share of its class
THRESHOLDS = (SEPARATION, 2.0, 1.7, 1.4, 1.1, 0.8, 0.0)  # that are tried until there are as many groups as asked for


def cluster_groups(
    embeddings: np.ndarray, labels: np.ndarray, *, clusters: int | None = None, seed: int = 0
) -> np.ndarray:
    """Return the group of every sample within its class, from its embedding alone.

    Parameters
    ----------
    embeddings : array of float, shape (N, D)
        L2-normalised here; a row of zeros stays.
    labels : array of int, shape (N,)
    clusters : int, optional
        Groups of each class, at least 1; a class of fewer different samples has as many groups as those. By default
        as many, 1..12, as gaps separate.
    seed : int
        Of k-means.

    Returns
    -------
    ndarray of int64, shape (N,)
        0 is the largest group of a class, 1 the next.

    Raises
    ------
    DdbiasError
        If the number of clusters is below 1, an embedding is not finite, or the lengths differ.
    """
    points, labels = np.asarray(embeddings), np.asarray(labels)
    if clusters is not None and clusters < 1:
        raise DdbiasError(f"the number of clusters must be at least 1, not {clusters}; leave it out to have it found")
    check_rows("embeddings", points, labels)
    groups = np.empty(len(labels), np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        groups[members] = _class_groups(points[members].astype(np.float64), clusters, derive(seed, "clusters", label))
    return groups


def predicted_groups(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return what a biased classifier takes every sample for, as its group within its class.

    A sample that is taken for its own class belongs to the aligned group of it; one taken for class k to the group
    that looks like k.

    Parameters
    ----------
    logits : array of float, shape (N, K)
    labels : array of int, shape (N,)

    Returns
    -------
    ndarray of int64, shape (N,)
        0..K-1, the lowest of equally likely ones.

    Raises
    ------
    DdbiasError
        If a logit is not finite or the lengths differ.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    check_rows("logits", logits, labels)
    return logits.argmax(1).astype(np.int64)


def check_rows(what: str, values: np.ndarray, labels: np.ndarray) -> None:
    """Refuse values that are not finite rows, one for each label."""
    if values.ndim != 2 or len(values) != len(labels):
        raise DdbiasError(f"{what} of shape {values.shape} do not fit {len(labels)} labels")
    if not np.isfinite(values).all():
        raise DdbiasError(f"the {what} have values that are not finite: the surrogate diverged, lower its rate")


def k_means(points: np.ndarray, count: int, *, seed: int, starts: int = 1, iterations: int = 300) -> np.ndarray:
    """Return which of at most `count` clusters points (n, d) are in: int64 (n,), 0 upwards without gaps.

    The best of `starts` is kept; there are never more clusters than different points.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # Rounded, so that equal images whose sums came out differently in the last place are one point.
    count = min(count, len(np.unique(points.round(9), axis=0)))
    with threadpool_limits(limits=1):  # several threads add up in the order in which they end
        found = KMeans(count, n_init=starts, max_iter=iterations, random_state=seed % 2**32).fit_predict(points)
    return np.unique(found, return_inverse=True)[1]


def by_size(groups: np.ndarray) -> np.ndarray:
    """Return groups (n,) numbered anew: 0 is the largest, 1 the next; of equal ones the lower number comes first."""
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    return np.argsort(np.argsort(-sizes, kind="stable"))[group]


def _class_groups(points: np.ndarray, clusters: int | None, seed: int) -> np.ndarray:
    """Return the groups (n,) of one class with embeddings (n, D)."""
    points = _principal(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12))
    small = k_means(points, max(SMALL_CLUSTERS, 4 * (clusters or 0)), seed=seed, iterations=50)
    components = [Component.of(cluster, points[small == cluster]) for cluster in range(small.max() + 1)]
    found = _found(components) if clusters is None else _asked_for(components, clusters)
    group = np.empty(len(components), np.int64)
    for number, component in enumerate(found):
        group[list(component.parts)] = number
    return group[small]


def _principal(points: np.ndarray) -> np.ndarray:
    """Return points (n, D) in their leading principal components (n, at most `DIMENSIONS`)."""
    points = points - points.mean(0)
    if points.shape[1] <= DIMENSIONS:
        return points
    _, directions = np.linalg.eigh(points.T @ points)
    return points @ directions[:, -DIMENSIONS:]


def _found(components: list[Component]) -> list[Component]:
    """Return as many groups as gaps separate."""
    size = sum(component.size for component in components)
    smallest = max(SMALLEST, round(SMALLEST_SHARE * size))
    return merge(components, threshold=SEPARATION, smallest=smallest, at_most=MOST)


def _asked_for(components: list[Component], clusters: int) -> list[Component]:
    """Return a number of groups, or one for each component if those are fewer: those that the largest gaps separate."""
    for smallest in (SMALLEST, 1):
        for threshold in THRESHOLDS:
            found = merge(components, threshold=threshold, smallest=smallest, at_most=clusters)
            if len(found) >= clusters:
                return found
    return found
