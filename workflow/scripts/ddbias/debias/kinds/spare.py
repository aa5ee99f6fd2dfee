"""SPARE: clusters, in each class, of the outputs of a briefly trained network; weights fall with a cluster's size.

Source: Yang et al., "Identifying Spurious Biases Early in Training through the Lens of Simplicity Bias" (arXiv
2305.18761), as in its authors' code (SpuCo). K-means with ten starts clusters the softmax outputs of each class; of 2
to ``max_clusters`` clusters the number with the highest silhouette is taken. A sample of a cluster of n samples weighs
``1 / n^p``, scaled so that every class has the same weight. With p = 1 all clusters of a class hold the same weight. If
the silhouette is below .9, SPARE regards the clusters as not clean, and p is ``power`` (2): small clusters then hold
more weight than large ones. Needs no attribute labels.

Differs from the paper in two points. The surrogate's settings say how long the network is trained; SPARE trains with
the cross-entropy (``cross_entropy`` here) and chooses the epoch on a validation set with group labels. The silhouette
takes all pairs, so for a class of more than 2,000 samples it is computed on a random 2,000.

Cost: k-means and silhouettes of up to nine numbers of clusters, some 2 s for a class of 6,000.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.base.groups import class_members
from ddbias.base.seeding import derive, numpy_stream
from ddbias.debias.balance import CLASSIFY
from ddbias.debias.estimates import Estimate, column
from ddbias.debias.pseudo_groups import by_size, check_rows, k_means

PLUGIN = {
    "debias": {
        "spare": {
            "description": (
                "Weights inverse to the size of clusters, in each class, of the outputs of a briefly trained network "
                "(SPARE, arXiv 2305.18761)."
            ),
            "required": ["surrogate"],
            "options": {
                "surrogate": {
                    "type": "string",
                    "description": "Name under `surrogates`, of a kind that classifies; the paper's is cross_entropy.",
                },
                "clusters": {
                    "type": ["integer", "null"],
                    "minimum": 2,
                    "default": None,
                    "description": "Clusters of each class; null takes the number with the highest silhouette (SPARE).",
                },
                "max_clusters": {
                    "type": "integer",
                    "minimum": 2,
                    "default": 10,
                    "description": (
                        "Largest number of clusters that is tried if `clusters` is null "
                        "(ours; SpuCo's scripts for coloured digits have 5)."
                    ),
                },
                "silhouette_threshold": {
                    "type": "number",
                    "minimum": -1,
                    "maximum": 1,
                    "default": 0.9,
                    "description": "If the silhouette of a class is below this, `power` applies to it (SPARE).",
                },
                "power": {
                    "type": "number",
                    "minimum": 0,
                    "default": 2,
                    "description": "Exponent of the cluster size below the silhouette threshold; else it is 1 (SPARE).",
                },
                "draw": {"$ref": "#/$defs/draw"},
                "trial": {"$ref": "#/$defs/trial"},
            },
            "reads": ["logits"],
            "seconds": "max_clusters * (0.15 * classes + 1e-5 * train)",
            "megabytes": "150",
        },
    },
}

STARTS = 10  # runs of k-means, of which the best is kept; SpuCo
PAIRS_OF = 2000  # samples of a class in a silhouette; on CMNIST within .004 of the value for twice as many


def estimate(
    columns: Mapping[str, np.ndarray],
    *,
    clusters: int | None = None,
    max_clusters: int = 10,
    silhouette_threshold: float = 0.9,
    power: float = 2.0,
    seed: int = 0,
) -> Estimate:
    """Return weights that fall with the size of a sample's cluster; the clusters are the groups, 0 the largest.

    Parameters
    ----------
    columns : mapping of str to ndarray
        ``logits`` (N, K) of a briefly trained classifier, ``label`` (N,).
    clusters : int, optional
        In each class, at least 2; by default the number in 2..`max_clusters` with the highest silhouette. A class with
        fewer different outputs has one cluster for each of them.
    max_clusters : int
        At least 2.
    silhouette_threshold : float
        -1..1.
    power : float
        At least 0; exponent of the cluster size in classes whose silhouette is below the threshold.
    seed : int
        Of k-means, and of the draw of samples for the silhouette.

    Returns
    -------
    Estimate
        Its diagnostics are ``silhouettes`` and ``clusters``, one number for each class in ascending order of labels.

    Raises
    ------
    DdbiasError
        If the surrogate stores no logits, a logit is not finite, a number of clusters is below 2, or the power is
        negative.
    """
    from scipy.special import softmax

    logits, labels = column(columns, "logits", "spare", CLASSIFY), np.asarray(columns["label"])
    check_rows("logits", logits, labels)
    numbers = range(2, max_clusters + 1) if clusters is None else [clusters]
    if not numbers or min(numbers) < 2:
        raise DdbiasError(f"the clusters of spare must be at least 2, not {min(numbers, default=max_clusters)}")
    if not 0 <= power < np.inf:
        raise DdbiasError(f"the power of spare must be a number of at least 0, not {power}")
    outputs = softmax(logits.astype(np.float64), axis=1)
    groups, weights, found = np.empty(len(labels), np.int64), np.empty(len(labels)), []
    for label, members in class_members(labels):
        groups[members], silhouette = best_clusters(outputs[members], numbers, seed=derive(seed, "spare", label))
        sizes = np.bincount(groups[members])
        shares = (sizes.min() / sizes) ** (power if silhouette < silhouette_threshold else 1)
        weights[members] = shares[groups[members]] * (len(members) / (shares * sizes).sum())
        found.append((silhouette, len(sizes)))
    silhouettes, counts = map(list, zip(*found, strict=True))
    return Estimate(weights, groups=groups, diagnostics={"silhouettes": silhouettes, "clusters": counts})


def best_clusters(points: np.ndarray, numbers: list[int] | range, *, seed: int) -> tuple[np.ndarray, float]:
    """Cluster points (n, D) into each of the given numbers of clusters; keep the one with the highest silhouette.

    Parameters
    ----------
    points : ndarray of float, shape (n, D)
    numbers : list of int or range
        Of clusters, ascending; of equally high silhouettes the first is kept.
    seed : int

    Returns
    -------
    clusters : ndarray of int64, shape (n,)
        0 is the largest, 1 the next.
    silhouette : float
        -1..1; 0 where it is undefined, with one cluster or with as many as there are points.
    """
    from sklearn.metrics import silhouette_score

    drawn = numpy_stream(seed, "silhouette").permutation(len(points))[:PAIRS_OF]
    best, highest = None, -np.inf
    for number in numbers:
        found = k_means(points, number, seed=seed, starts=STARTS)
        told_apart = len(np.unique(found[drawn]))
        silhouette = silhouette_score(points[drawn], found[drawn]) if 1 < told_apart < len(drawn) else 0.0
        if silhouette > highest:
            best, highest = found, float(silhouette)
        if found.max() + 1 < number:
            break  # there are no more different points than these
    return by_size(best), highest
