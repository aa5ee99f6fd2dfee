"""What a bias knows of the split to which it is applied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ddbias.base.errors import Misuse, unknown
from ddbias.base.groups import CONVENTIONS
from ddbias.base.plugins.given import need, need_kind


@dataclass(frozen=True)
class Context:
    """One split of one data set.

    Attributes
    ----------
    split : str
        ``"train"`` or ``"test"``.
    ratio : float or None
        Aligned ratio of the training split.
    test : str
        Convention of the test split, a key of `ddbias.base.groups.CONVENTIONS`.
    seed : int
        Seed of the data set.
    sizes : mapping of str to int
        Images of the source's splits.
    data : mapping
        ``root`` and ``mirrors``: where files are looked for.
    """

    split: str
    ratio: float | None
    test: str = "natural"
    seed: int = 0
    sizes: Mapping[str, int] = field(default_factory=dict)
    data: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.test not in CONVENTIONS:
            raise unknown("test convention", self.test, CONVENTIONS)

    @property
    def natural(self) -> bool:
        """Whether the split follows the ratio: the training split always does."""
        return self.split == "train" or self.test == "natural"

    def share(self, groups: int) -> float:
        """Return the aligned ratio of this split when an attribute with `groups` values is injected."""
        if self.natural:
            return self.ratio
        return 0.0 if self.test == "anti" else 1 / groups


@dataclass(frozen=True)
class Assignment:
    """Which images a split has, and their attributes.

    Attributes
    ----------
    rows : ndarray of int64, shape (M,)
        Positions in the source's split; one may be missing, or occur more than once.
    attributes : ndarray of int64, shape (M,), or None
        None when they are unknown.
    wanted : ndarray of int64, shape (K, A), or None
        Requested samples by label and attribute, if the source may lack some.
    """

    rows: np.ndarray
    attributes: np.ndarray | None
    wanted: np.ndarray | None = None

    def check(self, count: int, names: list[str] | None) -> None:
        """Raise `ddbias.base.errors.Misuse` where an array is none of a source of `count` images and these names."""
        need(self.rows, "the rows", "assign", shape=[None], types=["int64"])
        if len(self.rows) and not 0 <= self.rows.min() <= self.rows.max() < count:
            raise Misuse(f"gives rows beyond the {count} images of the source", "assign")
        if self.attributes is not None:
            need(self.attributes, "the attributes", "assign", shape=[len(self.rows)], types=["int64"])
            need_kind(names, list, "the names of the attributes", "attribute_names")
            if len(self.rows) and not 0 <= self.attributes.min() <= self.attributes.max() < len(names):
                raise Misuse(f"gives attributes beyond the {len(names)} names of them", "assign")
