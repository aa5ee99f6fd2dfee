"""Which samples belong together: those of a class, those of an attribute, the aligned and the conflicting ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

# How the attributes of a test split relate to its labels, in words that tables and reports print.
CONVENTIONS = {
    "balanced": "every attribute equally often in every class",
    "anti": "conflicting samples only",
    "natural": "as the training split, or as the source has them",
}
IDENTITY = "identity"  # the attribute paired with label c is c
Pairing = Sequence[int] | str | None


def paired(pairing: Pairing, labels: np.ndarray) -> np.ndarray | None:
    """Return the attribute paired with each label.

    Parameters
    ----------
    pairing : sequence of int, ``"identity"`` or None
        The attribute paired with label 0, 1, ...; None when no attribute is paired with any.
    labels : ndarray of int

    Returns
    -------
    ndarray of int, like `labels`, or None
    """
    if pairing is None:
        return None
    return labels if isinstance(pairing, str) else np.asarray(pairing, np.int64)[labels]


def conflicting(labels: np.ndarray, attributes: np.ndarray | None, pairing: Pairing) -> np.ndarray | None:
    """Return True (N,) where a sample's attribute is not the one paired with its label; None when that is unknown."""
    partners = paired(pairing, labels)
    return None if attributes is None or partners is None else attributes != partners


def aligned_cells(pairing: Pairing, attributes: int, labels: int) -> np.ndarray | None:
    """Return True in the cells (attribute, label), shape (A, K), of aligned samples; None without a pairing."""
    partners = paired(pairing, np.arange(labels))
    return None if partners is None else np.arange(attributes)[:, None] == partners


def counts(labels: np.ndarray, attributes: np.ndarray, classes: int, groups: int) -> np.ndarray:
    """Count samples by label (row) and attribute (column): int64 (K, A)."""
    flat = np.ravel_multi_index((labels, attributes), (classes, groups))
    return np.bincount(flat, minlength=classes * groups).reshape(classes, groups)


def class_members(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield every label that occurs, ascending, with the rows that have it, ascending.

    Parameters
    ----------
    labels : array of int, shape (N,)
    """
    labels = np.asarray(labels)
    order = np.argsort(labels, kind="stable")
    names, starts = np.unique(labels[order], return_index=True)
    for name, rows in zip(names, np.split(order, starts[1:]), strict=True):
        yield name.item(), rows
