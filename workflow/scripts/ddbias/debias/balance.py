"""Weights that give every group of a class the same say, and where the groups come from.

A group of a class (a cell) is named by the true attribute, by a cluster of the class in a surrogate's embedding
(`ddbias.debias.pseudo_groups`, `ddbias.debias.dbscan_groups`), or by what a biased classifier takes a sample for.

With cells of ``n_1 .. n_G`` samples in a class of ``n``, a sample of cell g weighs ``1 / (n_g + smoothing * n / G)``,
scaled to mean 1 in the class: each cell counts as if it had ``smoothing`` times an average cell's samples more. 0
balances the cells (each holds the total weight n / G), a large value weighs all samples alike, and no weight is more
than ``1 + G / smoothing`` times another. The shrinkage is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.base.errors import DdbiasError, unknown
from ddbias.base.groups import class_members
from ddbias.data.split import Split
from ddbias.debias.dbscan_groups import dbscan_groups
from ddbias.debias.estimates import Estimate, column
from ddbias.debias.evidence import MIN_EVIDENCE, clearest, evidence, excluded, shows_bias
from ddbias.debias.known_attributes import name_by_known
from ddbias.debias.pseudo_groups import cluster_groups, predicted_groups

PSEUDO = ("clusters", "dbscan", "predicted")
CLASSIFY = "one of kind cross_fitted, generalised_ce, cross_entropy or lff"


def balanced_weights(
    labels: np.ndarray, groups: np.ndarray, *, smoothing: float = 0.0, min_cell: int = 1
) -> np.ndarray:
    """Return weights (N,) float64 of mean 1 within each class, alike within a cell (see the module's text).

    Parameters
    ----------
    labels, groups : array of int, shape (N,)
        Groups are compared within a class only.
    smoothing : float
        At least 0.
    min_cell : int
        Cells with fewer samples are merged into the largest of their class first, see `merge_small`.

    Raises
    ------
    DdbiasError
        If the smoothing is negative or not finite, or there is not one group for each label.
    """
    labels, groups = np.asarray(labels), np.asarray(groups)
    if not 0 <= smoothing < np.inf:
        raise DdbiasError(f"the smoothing of groups must be a number of at least 0, not {smoothing}")
    groups = merge_small(labels, groups, min_cell)
    weights = np.empty(len(labels))
    for _, members in class_members(labels):
        _, cell, sizes = np.unique(groups[members], return_inverse=True, return_counts=True)
        inverse = 1 / (sizes + smoothing * len(members) / len(sizes))
        weights[members] = inverse[cell] * (len(members) / (sizes * inverse).sum())
    return weights


def merge_small(labels: np.ndarray, groups: np.ndarray, min_cell: int) -> np.ndarray:
    """Return groups (N,) int64 in which cells of fewer than `min_cell` samples belong to the largest of their class.

    Of several largest cells the one with the lowest number takes them; it stays even if it is small itself.

    Raises
    ------
    DdbiasError
        If there is not one group for each label.
    """
    labels, groups = np.asarray(labels), np.array(groups, np.int64)
    if labels.shape != groups.shape:
        raise DdbiasError(f"{groups.size} groups for {labels.size} samples")
    for _, members in class_members(labels):
        names, cell, sizes = np.unique(groups[members], return_inverse=True, return_counts=True)
        groups[members[sizes[cell] < min_cell]] = names[sizes.argmax()]
    return groups


def balanced_truth(split: Split, debias: str) -> np.ndarray:
    """Return weights (N,) float64 that balance the true attributes within each class; see `true_groups`."""
    return balanced_weights(split.labels, true_groups(split, debias))


def balanced_estimate(
    columns: Mapping[str, np.ndarray], debias: str, *, smoothing: float = 0.0, min_cell: int = 1, **options: object
) -> Estimate | list[Estimate]:
    """Return pseudo-groups, small ones merged, and weights that balance them; see `pseudo_groups`.

    Of predicted groups a list for a trial, see `readings`.
    """
    labels, (found, diagnostics) = columns["label"], pseudo_groups(columns, debias, **options)
    predicted, evident = options["groups"] == "predicted", diagnostics.get("evidence", 0) >= MIN_EVIDENCE
    estimates = [
        Estimate(balanced_weights(labels, groups, smoothing=smoothing), None, groups, diagnostics, evident, predicted)
        for groups in (merge_small(labels, groups, min_cell) for groups in found)
    ]
    return estimates if predicted else estimates[0]


def true_groups(split: Split, debias: str) -> np.ndarray:
    """Return the true attributes (N,) int64 of a split; where they are unknown, say what `debias` could use."""
    if split.attributes is None:
        raise DdbiasError(
            f"debias {debias} needs the true attribute, which this data set does not have; use kde, or groups: "
            f"{' or '.join(PSEUDO)} with a surrogate"
        )
    return np.asarray(split.attributes)


def pseudo_groups(
    columns: Mapping[str, np.ndarray], debias: str, *, known: float | None = None, **options: object
) -> tuple[list[np.ndarray], dict[str, float | list[float]]]:
    """Return pseudo-groups, each (N,) int64, from a surrogate's columns, and what is worth keeping about them.

    Parameters
    ----------
    columns : mapping of str to ndarray
        ``label`` (N,), with ``embedding`` (N, D) for clusters and dbscan or what `readings` needs for predicted groups,
        and where some attributes are known ``attribute_known`` (N,), -1 where not.
    debias : str
        Its kind, for messages.
    known : float, optional
        Share of the samples whose attribute is known, see `ddbias.debias.known_attributes`.
    **options
        ``groups`` ("clusters", "dbscan" or "predicted"). For clusters how many ``clusters`` in each class; by default
        the data say. For dbscan ``eps`` and ``min_samples``, see `ddbias.debias.dbscan_groups`. For predicted groups
        ``min_evidence``, 0..1: with less evidence of a bias (`ddbias.debias.evidence`) a class is one group, so that
        nothing is debiased. 0 always splits; by default .45.

    Raises
    ------
    DdbiasError
        If the columns lack what the groups are made of, or the groups are others.
    """
    found, diagnostics = _label_free(columns, debias, **options)
    if known is not None:
        found = [name_by_known(groups, columns["label"], columns["attribute_known"]) for groups in found]
    return found, diagnostics


def _label_free(
    columns: Mapping[str, np.ndarray],
    debias: str,
    *,
    groups: str,
    clusters: int | None = None,
    min_evidence: float | None = None,
    eps: float | None = None,
    min_samples: int | None = None,
) -> tuple[list[np.ndarray], dict[str, float | list[float]]]:
    """Return pseudo-groups that no attribute is looked at for; see `pseudo_groups`."""
    labels = np.asarray(columns["label"])
    if groups == "clusters":
        return [cluster_groups(column(columns, "embedding", debias, "another"), labels, clusters=clusters)], {}
    if groups == "dbscan":
        embeddings = column(columns, "embedding", debias, "another")
        found, distances = dbscan_groups(embeddings, labels, eps=eps, min_samples=min_samples)
        return [found], {"eps": distances}
    if groups != "predicted":
        raise unknown(f"groups of debias {debias} with a surrogate", groups, PSEUDO)
    taken_for, found = readings(columns, debias)
    if not shows_bias(found, MIN_EVIDENCE if min_evidence is None else min_evidence, debias):
        return [labels.astype(np.int64)], {"evidence": found}
    return taken_for, {"evidence": found}


def readings(columns: Mapping[str, np.ndarray], debias: str) -> tuple[list[np.ndarray], float]:
    """Return what a biased classifier may take the samples for, and the evidence that it has learnt a bias.

    Parameters
    ----------
    columns : mapping of str to ndarray
        ``label`` (N,), and ``predictions`` and ``excluded`` (N, L) of L moments, or ``logits`` (N, K) of one.
    debias : str
        Its kind, for messages.

    Returns
    -------
    taken_for : list of two ndarrays of int64, each of shape (N,)
        Of the clearest moment (`ddbias.debias.evidence.clearest`): the class predicted where the label is excluded,
        else the label (pure, but few are found), and the class predicted. A trial tells which is worth more.
    found : float
        0..1, see `ddbias.debias.evidence`.

    Raises
    ------
    DdbiasError
        If the surrogate stores none of these columns.
    """
    labels = np.asarray(columns["label"])
    if columns.get("predictions") is not None:
        predicted = np.asarray(columns["predictions"]).astype(np.int64)
        out = column(columns, "excluded", debias, CLASSIFY).astype(bool)
    else:
        logits = column(columns, "logits", debias, CLASSIFY)
        predicted, out = predicted_groups(logits, labels)[:, None], excluded(logits, labels)[:, None]
    found = evidence(predicted, out, labels)  # (L,)
    predicted, out = predicted[:, clearest(found)], out[:, clearest(found)]
    return [np.where(out, predicted, labels), predicted], float(found.max())
