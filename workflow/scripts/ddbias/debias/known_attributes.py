"""Groups where the attribute is known of a share of the images only, and pseudo-groups tell the rest. Ours.

An image whose attribute is known belongs to the group of that attribute. The others of a pseudo-group take the
attribute that most known images of the same class and pseudo-group have, the lowest of equally frequent ones; so
several pseudo-groups may become one. A pseudo-group without any known image stays a group of its own. A group that no
pseudo-group stands for has its known images only; few as they are, they hold its whole weight.

This uses the attribute: what comes of it is not label-free.

Cost: counting.
"""

from __future__ import annotations

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.base.groups import class_members
from ddbias.base.seeding import numpy_stream


def known_attributes(attributes: np.ndarray, share: float, *, seed: int) -> np.ndarray:
    """Return the attributes (N,) int64 of a share of the samples, -1 for the others.

    The samples are drawn with one stream of the seed, whatever the debias, and those of a smaller share are among those
    of a larger one.

    Parameters
    ----------
    attributes : array of int, shape (N,)
    share : float
        Above 0, at most 1; of the samples, rounded to whole ones.
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
    """Return groups (N,) int64: the attribute where it is known, else what it is in most of the pseudo-group.

    Parameters
    ----------
    groups, labels : array of int, shape (N,)
        Pseudo-groups, 0 and more, compared within a class only.
    known : array of int, shape (N,)
        Attributes, -1 where unknown.
    """
    named, free = known.copy(), known.max() + 1  # names from here on are no attribute's
    for _, members in class_members(labels):
        for group in np.unique(groups[members]):
            rows = members[groups[members] == group]
            told = known[rows][known[rows] >= 0]
            named[rows[known[rows] < 0]] = np.bincount(told).argmax() if len(told) else free + group
    return named
