"""Groups within a class without attribute labels: clusters of its embeddings, or predictions of a biased classifier.

Clustering the embeddings of each class to balance it is the idea of GEORGE (Sohoni et al., arXiv 2011.12945).
GEORGE fits a Gaussian mixture and chooses the number of clusters by silhouettes. Taking the prediction of a biased
model as the group is common to JTT, EIIL and related methods (arXiv 2107.09044, 2010.07249).

Differs from GEORGE in how clusters are found. In a class that is 95 % aligned, the inertia of k-means, the likelihood
(and BIC) of a mixture and the silhouette are dominated by the one large group. It is not normal, so these methods cut
it into pieces and leave the small groups together. Here k-means on the leading principal components finds many small
clusters, and clusters that no gap separates are merged again (`ddbias.debias.merging`). What remains are the groups.

Fails for groups of fewer than five samples or of less than 0.3 % of the class: they are treated as outliers and join
the nearest group.

Cost: O(n D^2) for the principal components of a class of n samples in D dimensions, O(n) for the rest.
"""

from __future__ import annotations

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import derive
from ddbias.debias.merging import Component, merge

MOST = 12  # groups of a class at most, where no number is given
DIMENSIONS = 12  # principal components in which clusters are found
SMALL_CLUSTERS = 100  # of k-means, before merging
SEPARATION = 2.3  # of two groups at least, see `ddbias.debias.merging`
SMALLEST, SMALLEST_SHARE = 5, 0.003  # size of a group at least: in samples, and as a share of its class
THRESHOLDS = (SEPARATION, 2.0, 1.7, 1.4, 1.1, 0.8, 0.0)  # tried in this order until there are as many groups as asked


def cluster_groups(
    embeddings: np.ndarray, labels: np.ndarray, *, clusters: int | None = None, seed: int = 0
) -> np.ndarray:
    """Return the group of every sample within its class, by clustering the embeddings of the class.

    Parameters
    ----------
    embeddings : array of float, shape (N, D)
        This function L2-normalises the rows; a row of zeros stays zero.
    labels : array of int, shape (N,)
    clusters : int, optional
        Number of groups of each class, at least 1; a class with fewer different embeddings has one group for each of
        them. By default the number of groups, 1..12, that gaps separate.
    seed : int
        Of k-means.

    Returns
    -------
    ndarray of int64, shape (N,)
        0 is the largest group of a class, 1 the next; compared within a class only.

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
    """Return the class that a biased classifier predicts for every sample, as its group within its class.

    Samples predicted as their own class form its aligned group; samples predicted as class k form the group that looks
    like k.

    Parameters
    ----------
    logits : array of float, shape (N, K)
    labels : array of int, shape (N,)

    Returns
    -------
    ndarray of int64, shape (N,)
        0..K-1; of equally likely classes the lowest.

    Raises
    ------
    DdbiasError
        If a logit is not finite or the lengths differ.
    """
    logits, labels = np.asarray(logits), np.asarray(labels)
    check_rows("logits", logits, labels)
    return logits.argmax(1).astype(np.int64)


def check_rows(what: str, values: np.ndarray, labels: np.ndarray) -> None:
    """Raise `DdbiasError` unless `values` are finite and have one row for each label; `what` names them."""
    if values.ndim != 2 or len(values) != len(labels):
        raise DdbiasError(f"{what} of shape {values.shape} do not fit {len(labels)} labels")
    if not np.isfinite(values).all():
        raise DdbiasError(
            f"the {what} have values that are not finite: the surrogate diverged, lower its learning rate"
        )


def k_means(points: np.ndarray, count: int, *, seed: int, starts: int = 1, iterations: int = 300) -> np.ndarray:
    """Return the k-means cluster of every point.

    Parameters
    ----------
    points : ndarray of float, shape (n, d)
    count : int
        Number of clusters; fewer if there are fewer different points.
    seed : int
    starts : int
        Runs from different initial centres; the one with the lowest inertia is kept.
    iterations : int
        Of each run at most.

    Returns
    -------
    ndarray of int64, shape (n,)
        Numbers from 0 without gaps.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # Rounded, so that the embeddings of equal images, which may differ by rounding errors, are one point.
    count = min(count, len(np.unique(points.round(9), axis=0)))
    with threadpool_limits(limits=1):  # the order in which several threads finish would change sums
        found = KMeans(count, n_init=starts, max_iter=iterations, random_state=seed % 2**32).fit_predict(points)
    return np.unique(found, return_inverse=True)[1]


def by_size(groups: np.ndarray) -> np.ndarray:
    """Return groups (n,) renumbered by size: 0 is the largest; of equally large ones the lower number comes first."""
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
    """Return points (n, D) projected on their leading principal components: (n, `DIMENSIONS`) at most."""
    points = points - points.mean(0)
    if points.shape[1] <= DIMENSIONS:
        return points
    _, directions = np.linalg.eigh(points.T @ points)
    return points @ directions[:, -DIMENSIONS:]


def _found(components: list[Component]) -> list[Component]:
    """Return the groups that gaps separate, `MOST` at most."""
    size = sum(component.size for component in components)
    smallest = max(SMALLEST, round(SMALLEST_SHARE * size))
    return merge(components, threshold=SEPARATION, smallest=smallest, at_most=MOST)


def _asked_for(components: list[Component], clusters: int) -> list[Component]:
    """Return the given number of groups, which the largest gaps separate; fewer if there are fewer components."""
    for smallest in (SMALLEST, 1):
        for threshold in THRESHOLDS:
            found = merge(components, threshold=threshold, smallest=smallest, at_most=clusters)
            if len(found) >= clusters:
                return found
    return found
