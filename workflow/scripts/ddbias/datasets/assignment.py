"""Which sample gets which attribute, in exact counts from the aligned ratio, and which is recorded wrongly."""

from __future__ import annotations

import numpy as np

from ddbias.base.errors import DdbiasError, unknown

NOISE_DRAWS = ("uniform", "shuffled")


def assign_attributes(labels: np.ndarray, aligned_ratio: float, num_attributes: int) -> np.ndarray:
    """Give every sample an attribute so that a share `aligned_ratio` of each class has the one paired with it.

    Within a class the attributes ascend with the position in the data set: the shares ``s_cj`` (the ratio for
    ``j = c``, the rest spread evenly over the others) are cumulated, ``m_cj = round(n_c sum_{i<=j} s_ci)`` with
    halves to even, and the t-th sample of class c gets the first j with ``m_cj > t``. So a prefix of the data
    set is biased differently from the whole, and a group is consecutive: if the difficulty of images depends on the
    position, as in MNIST's test set, groups differ by more than the attribute (`shuffle_within_classes`).

    Parameters
    ----------
    labels : array of int, shape (N,)
        Classes 0..K-1 in data set order, ``K <= num_attributes``.
    aligned_ratio : float
        Share of aligned samples, 0..1. ``1 / num_attributes`` makes the attributes uniform, 0 leaves none aligned.
    num_attributes : int
        Number of attributes A, at least 2.

    Returns
    -------
    ndarray of int64, shape (N,)
        Attributes 0..A-1; class c is aligned with attribute c.

    Raises
    ------
    DdbiasError
        If the ratio is outside 0..1, or a class has no attribute paired with it.

    References
    ----------
    Nam et al., Learning from Failure (NeurIPS 2020); Lu et al., arXiv:2403.16028, keep it.

    Examples
    --------
    Four samples of each of two classes, three quarters of them aligned:

    >>> from ddbias import assign_attributes
    >>> assign_attributes([0, 0, 0, 0, 1, 1, 1, 1], aligned_ratio=0.75, num_attributes=2)
    array([0, 0, 0, 1, 0, 1, 1, 1])
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or (len(labels) and labels.dtype.kind not in "iu"):
        raise DdbiasError(f"labels are {labels.dtype} of shape {labels.shape}; give whole numbers 0, 1, 2, ...")
    if not 0 <= aligned_ratio <= 1:
        raise DdbiasError(f"aligned ratio is {aligned_ratio}; it must be between 0 and 1 (0.95 means 95 % aligned)")
    if num_attributes < 2:
        raise DdbiasError(f"{num_attributes} attribute cannot be correlated with a label; at least 2 are needed")
    if not len(labels):
        return np.empty(0, np.int64)
    if labels.min() < 0:
        raise DdbiasError(f"label {labels.min()} is negative; labels must be 0, 1, 2, ...")
    counts = np.bincount(labels, minlength=1)
    classes = len(counts)
    if classes > num_attributes:
        raise DdbiasError(
            f"{classes} classes but only {num_attributes} attributes: class {num_attributes} has none paired with it; "
            "use a source with fewer classes or a bias with more attributes"
        )
    aligned = np.eye(classes, num_attributes, dtype=bool)
    shares = np.where(aligned, aligned_ratio, (1 - aligned_ratio) / (num_attributes - 1))
    milestones = np.rint(counts[:, None] * np.cumsum(shares, axis=1))
    attributes = np.empty(len(labels), np.int64)
    for label, count in enumerate(counts):
        attributes[labels == label] = np.searchsorted(milestones[label], np.arange(count), side="right")
    return attributes


def shuffle_within_classes(labels: np.ndarray, attributes: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Give the attributes of each class to its samples in random order; as many of every (label, attribute) as before.

    Parameters
    ----------
    labels, attributes : ndarray of int, shape (N,)
    generator : numpy Generator
        The same state gives the samples of a class the same order, whatever the attributes.

    Returns
    -------
    ndarray of int64, shape (N,)
    """
    shuffled = np.empty(len(labels), np.int64)
    for label in range(int(labels.max(initial=-1)) + 1):
        members = np.flatnonzero(labels == label)
        shuffled[generator.permutation(members)] = attributes[members]
    return shuffled


def replace_at_random(
    labels: np.ndarray,
    attributes: np.ndarray,
    share: float,
    draw: str,
    num_attributes: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Replace the attributes of a share of the samples, drawn from all, by random ones.

    ``uniform`` draws an attribute: one sample in `num_attributes` keeps its own on average, and a rare group gets many
    samples of the frequent one. ``shuffled`` gives the samples of a class each other's attributes
    (`shuffle_within_classes`): groups are as large as before. The samples of a smaller share are among those of a
    larger one of the same generator state, with the same attributes if they are uniform.

    Source: group label noise of Zhou et al., arXiv 2411.19623, Table 17. How it is drawn there is not known to us.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
        Classes, from 0.
    attributes : ndarray of int, shape (N,)
        0..A-1.
    share : float
        0..1; the number of samples is rounded, halves to even.
    draw : {"uniform", "shuffled"}
    num_attributes : int
        A, at least 1.
    generator : numpy Generator

    Returns
    -------
    ndarray of int64, shape (N,)

    Raises
    ------
    DdbiasError
        If the share is out of range, or the draw unknown.

    Examples
    --------
    >>> import numpy as np
    >>> labels, attributes = np.zeros(4, int), np.array([0, 0, 0, 1])
    >>> replace_at_random(labels, attributes, 1, "shuffled", 2, np.random.default_rng(0))
    array([0, 0, 1, 0])
    """
    if not 0 <= share <= 1:
        raise DdbiasError(f"attribute_noise.share is {share}; it must be between 0 and 1 (0.1 replaces a tenth)")
    if draw not in NOISE_DRAWS:
        raise unknown("attribute_noise.draw", draw, NOISE_DRAWS)
    chosen = generator.permutation(len(attributes))[: round(share * len(attributes))]
    replaced = np.array(attributes, np.int64)
    if draw == "uniform":
        replaced[chosen] = generator.integers(num_attributes, size=len(attributes))[chosen]
    else:
        replaced[chosen] = shuffle_within_classes(labels[chosen], replaced[chosen], generator)
    return replaced
