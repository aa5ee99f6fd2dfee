"""Groups where the attribute is known for only a share of the images, and pseudo-groups stand in for the rest. Ours.

An image whose attribute is known belongs to the group of that attribute. The other images of a pseudo-group get the
most frequent attribute among the known images of the same class and pseudo-group (of equally frequent ones the lowest).
So several pseudo-groups may become one group. A pseudo-group without any known image stays a group of its own. A group
that no pseudo-group maps to consists of its known images only; even if they are few, they hold its whole weight.

This uses the attribute, so the result is not label-free.

Cost: counting.
"""

from __future__ import annotations

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.base.groups import class_members
from ddbias.base.seeding import numpy_stream


def known_attributes(attributes: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Return the attributes (N,) int64 of a share of the samples, -1 for the others.

    The draw depends on the seed only, not on the debias. The samples of a smaller share are also in every larger one.

    Parameters
    ----------
    attributes : array of int, shape (N,)
    share : float
        Above 0, at most 1; share of the samples, whose number is rounded.
    seed : int

    Raises
    ------
    DdbiasError
        If the share is out of range.

    Examples
    --------
    >>> known_attributes([3, 1, 2, 2], 0.5, seed=0).tolist()
    [3, -1, 2, -1]
    """
    if not 0 < share <= 1:
        raise DdbiasError(f"the share of known attributes must be above 0 and at most 1, not {share}; null knows none")
    attributes = np.asarray(attributes, np.int64)
    drawn = numpy_stream(seed, "known_attributes").permutation(len(attributes))[: round(share * len(attributes))]
    known = np.full(len(attributes), -1)
    known[drawn] = attributes[drawn]
    return known


def name_by_known(groups: np.ndarray, labels: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return groups (N,) int64: the attribute where known, else the most frequent known one of the pseudo-group.

    Parameters
    ----------
    groups, labels : array of int, shape (N,)
        Pseudo-groups, numbered from 0 and compared within a class only, and class labels.
    known : array of int, shape (N,)
        Attributes, -1 where unknown.

    Examples
    --------
    Pseudo-group 0 has a known image, of attribute 2; pseudo-group 1 has none:

    >>> import numpy as np
    >>> name_by_known(np.array([0, 0, 1, 1]), np.zeros(4, int), np.array([2, -1, -1, -1])).tolist()
    [2, 2, 4, 4]
    """
    named, free = known.copy(), known.max() + 1  # numbers from here on are no attribute
    for _, members in class_members(labels):
        for group in np.unique(groups[members]):
            rows = members[groups[members] == group]
            told = known[rows][known[rows] >= 0]
            named[rows[known[rows] < 0]] = np.bincount(told).argmax() if len(told) else free + group
    return named
