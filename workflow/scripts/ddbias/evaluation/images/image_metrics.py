"""All metrics of a set of images, from its points (pixels or embeddings) and its predicted attributes.

Nothing here trains on the set. An undefined metric, such as the diversity of one image, is NaN, never zero.

Sources: coverage and density of Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models"
(arXiv 2002.09797, section 3.2), here within every class, so that they do not depend on how classes are mixed. The
others are ours, to test what Lu et al. (arXiv 2403.16028) report of sets distilled from biased data.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ddbias.base.groups import Pairing, counts, paired

METRICS = (
    "pixel_distance",
    "embedding_distance",
    "coverage",
    "density",
    "aligned_share",
    "attribute_entropy",
    "attribute_classifier_accuracy",
)
ABOVE_ONE = ("pixel_distance", "embedding_distance", "density")  # may be: relative to real images
NEIGHBOURS = 5  # as published
FEWEST = 4  # real images of a class, with which a ball around each reaches its second neighbour


def mean_distance(points: np.ndarray) -> float:
    """Return the mean Euclidean distance over all pairs of points (N, D); NaN for fewer than two."""
    from scipy.spatial.distance import pdist

    return float(pdist(np.asarray(points, np.float64)).mean()) if len(points) > 1 else np.nan


def relative_distance(classes: Sequence[tuple[np.ndarray, np.ndarray]]) -> float:
    """Return how far apart the images of a class are, relative to real ones.

    The mean over classes of `mean_distance` of the set, divided by that of real images: a quotient of means, so
    that no class with little diversity dominates.

    Parameters
    ----------
    classes : sequence of (ndarray, ndarray)
        Points of the set (M, D) and of real images (N, D), class by class.

    Returns
    -------
    float
        At least 0; 1 when as diverse as real images. NaN where a class has a single image, or no two real ones differ.
    """
    ours, real = (np.mean([mean_distance(pair[side]) for pair in classes]) for side in (0, 1))
    return float(ours / real) if real > 0 else np.nan


def coverage_and_density(points: np.ndarray, real: np.ndarray) -> tuple[float, float]:
    """Return coverage and density of points with respect to real ones.

    Around every real point lies a ball that ends at its k-th nearest real neighbour, with k = `NEIGHBOURS`, or half the
    number of real points where that is less. Coverage is the share of balls that hold at least one of the points;
    density is the mean number of balls that a point lies in, divided by k. A point on the surface of a ball is outside,
    as in the authors' code.

    Parameters
    ----------
    points : ndarray, shape (M, D)
    real : ndarray, shape (N, D)

    Returns
    -------
    coverage : float
        0..1. For points of the distribution of the real ones
        ``1 - (N-1)...(N-k) / ((M+N-1)...(M+N-k))`` on average, as published.
    density : float
        At least 0; 1 on average for points of the distribution of the real ones.

    Both are NaN without points, or with fewer than `FEWEST` real ones.
    """
    from scipy.spatial.distance import cdist

    if len(real) < FEWEST or not len(points):
        return np.nan, np.nan
    points, real = np.asarray(points, np.float64), np.asarray(real, np.float64)
    k = min(NEIGHBOURS, len(real) // 2)
    among = cdist(real, real)
    np.fill_diagonal(among, np.inf)  # no point is its own neighbour
    radii = np.partition(among, k - 1, axis=1)[:, k - 1]
    inside = cdist(real, points) < radii[:, None]
    return float(inside.any(1).mean()), float(inside.sum() / (k * len(points)))


def aligned_share(attributes: np.ndarray, labels: np.ndarray, pairing: Pairing) -> float:
    """Return the share of images whose attribute is the one paired with their label; NaN without a pairing.

    `attributes` and `labels` are int (N,). The aligned ratio of the training split for images drawn from it, and
    1 / A for attributes that are all equally often.
    """
    partners = paired(pairing, labels)
    return np.nan if partners is None else float(np.mean(attributes == partners))


def attribute_entropy(attributes: np.ndarray, labels: np.ndarray, *, classes: int, groups: int) -> float:
    """Return how evenly the images of a class spread over the attributes.

    The mean over classes of ``H / log min(A, n)``, with H the entropy of the attributes of the n images of a class: 1
    is the most even spread that n images can have, 0 a single attribute. A few images drawn at random stay below 1
    although all attributes are equally likely.

    Parameters
    ----------
    attributes, labels : ndarray of int, shape (N,)
    classes, groups : int
        Number of labels K and of attributes A.

    Returns
    -------
    float
        0..1; NaN where a class has a single image, or there is a single attribute. Classes without images do not count.
    """
    table = counts(labels, attributes, classes, groups).astype(np.float64)
    table = table[table.sum(1) > 0]
    most = np.minimum(table.sum(1), groups)
    if not len(most) or most.min() < 2:
        return np.nan
    shares = table / table.sum(1, keepdims=True)
    entropy = -np.sum(shares * np.log(shares, where=shares > 0, out=np.zeros_like(shares)), axis=1)
    return float(np.clip(entropy / np.log(most), 0, 1).mean())
