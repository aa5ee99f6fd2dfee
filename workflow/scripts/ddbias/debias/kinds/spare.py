"""SPARE: clusters of what a briefly trained network puts out for a class, weighted inversely to their size.

Source: Yang et al., "Identifying Spurious Biases Early in Training through the Lens of Simplicity Bias" (arXiv
2305.18761), as the code of its authors (SpuCo) has it: k-means, started ten times, on the softmax outputs of each
class; of 2 to ``max_clusters`` clusters the number with the highest silhouette. A sample of a cluster of n weighs
``1 / n^p``, scaled so that every class has the same weight. With p = 1 the clusters of a class hold the same weight;
where the silhouette is below .9, so that clusters are not clean, p is ``power``, and small ones hold more than large
ones. Needs no attribute labels.

Differs from the paper in: how long the network is trained is the surrogate's setting (SPARE trains with the plain
cross-entropy, ``cross_entropy`` here, and chooses the epoch on a validation set with group labels); the silhouette of a
class of more than 2,000 samples is that of 2,000 drawn ones, since it takes all pairs.

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
                "Weights inverse to the size of clusters of a brief network's outputs in each class (SPARE, arXiv "
                "2305.18761)."
            ),
            "required": ["surrogate"],
            "options": {
                "surrogate": {
                    "type": "string",
                    "description": "Name under `surrogates`, of one that classifies; the paper's is a cross_entropy.",
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
                    "description": "Most clusters that are tried, without `clusters` (SpuCo).",
                },
                "silhouette_threshold": {
                    "type": "number",
                    "minimum": -1,
                    "maximum": 1,
                    "default": 0.9,
                    "description": "Silhouette of a class below which its weights have the `power` (SPARE).",
                },
                "power": {
                    "type": "number",
                    "minimum": 0,
                    "default": 2,
                    "description": "Of a cluster's size where the silhouette is below the threshold; else 1 (SPARE).",
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

STARTS = 10  # of k-means, of which the best is kept; SpuCo
PAIRS_OF = 2000  # samples of a class; silhouettes of CMNIST are within .004 of those of twice as many


def estimate(
    columns: Mapping[str, np.ndarray],
    *,
    clusters: int | None = None,
    max_clusters: int = 10,
    silhouette_threshold: float = 0.9,
    power: float = 2.0,
    seed: int = 0,
) -> Estimate:
    """Return the weights, and as groups the clusters, 0 the largest of a class.

    Parameters
    ----------
    columns : mapping of str to ndarray
        ``logits`` (N, K) of a briefly trained classifier, ``label`` (N,).
    clusters : int, optional
        At least 2; by default 2..`max_clusters`, as the silhouette says. A class of fewer different outputs has as
        many clusters as those.
    max_clusters : int
    silhouette_threshold : float
        -1..1.
    power : float
        At least 0; of the size of a cluster, in classes whose silhouette is below the threshold.
    seed : int
        Of k-means and of the samples that stand for a class in its silhouette.

    Returns
    -------
    Estimate
        Its diagnostics are ``silhouettes`` and ``clusters``, one number for each class in ascending order of labels.

    Raises
    ------
    DdbiasError
        If the surrogate stores no logits, they are not finite, a number of clusters is below 2, or the power negative.
    """
    from scipy.special import softmax

    logits, labels = column(columns, "logits", "spare", CLASSIFY), np.asarray(columns["label"])
    check_rows("logits", logits, labels)
    numbers = range(2, max_clusters + 1) if clusters is None else [clusters]
    if not numbers or min(numbers) < 2:
        raise DdbiasError(f"the clusters of spare must be at least 2, not {clusters or max_clusters}")
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
    """Return clusters (n,) int64 of points (n, D), of the number with the highest silhouette, and that silhouette.

    Of equally high ones the first number is taken. The silhouette is 0 where none is defined: of one cluster, or of as
    many as there are points.
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
            break  # more clusters than different points
    return by_size(best), highest
