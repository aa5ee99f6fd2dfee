"""The attribute that the images already have: kept as it is, or drawn to an aligned ratio.

No image is changed. For the test split, ``natural`` keeps every image, ``anti`` the conflicting ones, and
``balanced`` as many of every (label, attribute) cell as the smallest cell has (as FairDD's CelebA, arXiv:2411.19623).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ddbias.base import groups
from ddbias.base.errors import DdbiasError, nearest
from ddbias.base.log import logger
from ddbias.base.names import composed
from ddbias.base.seeding import numpy_stream
from ddbias.datasets.bias.base import Bias
from ddbias.datasets.bias.context import Assignment, Context
from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "bias": {
        "subsample": {
            "description": "Draws training images of a source with its own attribute to an aligned ratio. Ours.",
            "use": "Subsample",
            "options": {
                "pairs": {"$ref": "#/$defs/pairs"},
                "pair_positions": {"$ref": "#/$defs/pair_positions"},
                "per_class": {
                    "type": ["integer", "null"],
                    "minimum": 1,
                    "default": None,
                    "description": "Training images of each class; null takes as many as the ratio allows.",
                },
            },
            "own_attribute": True,
        },
        "none": {
            "description": (
                "Nothing is injected; the source has its own attribute, or none is known. The ratio is natural."
            ),
            "use": "Unchanged",
            "options": {"pairs": {"$ref": "#/$defs/pairs"}, "pair_positions": {"$ref": "#/$defs/pair_positions"}},
            "natural": True,
            "own_attribute": True,
        },
    }
}


@dataclass(frozen=True)
class OwnAttribute(Bias):
    """What `Unchanged` and `Subsample` share.

    Attributes
    ----------
    pairs : sequence of str or int, or None
        The value of the attribute paired with label 0, 1, ..., as the source states it.
    pair_positions : sequence of int, or None
        The same by the positions of the values among the attribute's names.

    Without both, label and attribute are paired where they have the same names (refused where most training images have
    others); else each label with the attribute that most of its training images have, if these are different ones;
    else nothing is paired.
    """

    pairs: Sequence[str | int] | None = None
    pair_positions: Sequence[int] | None = None

    def attribute_names(self, part: RawImages) -> list[str] | None:
        """Return the source's names."""
        return None if part.attributes is None else list(part.attribute_names)

    def fitted(self, train: RawImages) -> OwnAttribute:
        """Return the same with the pairing that the training split decides."""
        return replace(self, pairs=None, pair_positions=tuple(self.pairing(train) or ()))

    def pairing(self, part: RawImages) -> list[int] | None:
        """Return the attribute paired with each label, or None; `part` is the training split unless it is `fitted`.

        Raises
        ------
        DdbiasError
            If `pairs` or `pair_positions` does not name one known attribute for every label, or without them names say
            another pairing than most images.
        """
        labels, names = part.label_names, self.attribute_names(part)
        if names is None and (self.pairs or self.pair_positions):
            raise DdbiasError("pairs are given, but the source has no attribute; name its attribute, or remove them")
        if names is None or self.pair_positions == ():
            return None
        if self.pairs is not None and self.pair_positions is not None:
            raise DdbiasError("pairs and pair_positions exclude each other; remove one of them")
        given = self.pairs if self.pair_positions is None else self.pair_positions
        if given is None:
            majority = _majority(part)
            if set(names) != set(labels):
                return majority
            by_name = [names.index(name) for name in labels]
            if majority not in (None, by_name):
                label = next(i for i, partner in enumerate(majority) if partner != by_name[i])
                raise DdbiasError(
                    f"label '{labels[label]}' has an attribute of the same name, but most of its images have the "
                    f"attribute '{names[majority[label]]}'; set pairs: to [{', '.join(labels)}] if the names count, to "
                    f"[{', '.join(names[partner] for partner in majority)}] if the images do"
                )
            return by_name
        if len(given) != len(labels):
            raise DdbiasError(
                f"pairs names {len(given)} attributes for {len(labels)} labels; "
                f"name one for each of {', '.join(labels)}"
            )
        if self.pairs is not None:
            return [_value(partner, names) for partner in self.pairs]
        for position in self.pair_positions:
            if not 0 <= position < len(names):
                raise DdbiasError(
                    f"pair_positions holds {position}; the source has the attributes 0 to {len(names) - 1} "
                    f"({', '.join(names)})"
                )
        return list(self.pair_positions)

    def apply(self, images: np.ndarray, attributes: np.ndarray | None, index: np.ndarray, context: Context):
        """Return `images`."""
        return images

    def _test(self, part: RawImages, context: Context) -> Assignment:
        """Choose the images of a test split by its convention."""
        everything = np.arange(len(part))
        if context.natural:
            return Assignment(everything, part.attributes)
        if part.attributes is None:
            raise DdbiasError(f"test is '{context.test}', but the source has no attribute; set test: natural")
        if context.test == "anti":
            conflicting = groups.conflicting(part.labels, part.attributes, self.pairing(part))
            if conflicting is None or not conflicting.any():
                reason = "no attribute is paired with a label" if conflicting is None else "no test image conflicts"
                raise DdbiasError(f"test is 'anti', but {reason}; set pairs: in the bias, or another test")
            rows = everything[conflicting]
            return Assignment(rows, part.attributes[rows])
        cells = _cells(part)
        smallest = int(cells.min())
        if not smallest:
            label, attribute = np.argwhere(cells == 0)[0]
            raise DdbiasError(
                f"test is 'balanced', but no test image has label '{part.label_names[label]}' and attribute "
                f"'{part.attribute_names[attribute]}'; set test: natural"
            )
        rows = _draw(part, np.full_like(cells, smallest), context)
        return Assignment(rows, part.attributes[rows])


@dataclass(frozen=True)
class Unchanged(OwnAttribute):
    """Leave the training images and their attributes as the source has them."""

    takes_ratio: ClassVar[bool] = False

    def assign(self, part: RawImages, context: Context) -> Assignment:
        """Keep every training image; choose test images by the convention."""
        return self._test(part, context)


@dataclass(frozen=True)
class Subsample(OwnAttribute):
    """Draw training images so that a share of each class, the aligned ratio, has the attribute paired with it.

    Conflicting images are spread evenly over the other attributes. Within a cell the images are drawn at random, the
    same ones first for every ratio.

    Attributes
    ----------
    per_class : int or None
        Training images of each class; None takes as many as the ratio allows. Fewer are taken where the source lacks
        them; ``wanted`` in the data set's metadata says what was asked for.
    """

    per_class: int | None = None

    def assign(self, part: RawImages, context: Context) -> Assignment:
        """Draw the training images, or choose test images by the convention.

        Raises
        ------
        DdbiasError
            If the source has no attributes, an attribute is constant within a class, or the ratio is out of reach.
        """
        if part.attributes is None:
            raise DdbiasError("bias 'subsample' needs a source with an attribute, which this one does not have")
        if context.split == "test":
            return self._test(part, context)
        partners = self.pairing(part)
        if partners is None:
            raise DdbiasError("bias 'subsample' does not know which attribute is paired with which label; set pairs:")
        cells = _cells(part)
        taken, wanted = np.zeros_like(cells), np.zeros_like(cells)
        for label, available in enumerate(cells):
            asked = int(available.sum()) if self.per_class is None else self.per_class
            wanted[label] = _exact(asked, _shares(context.ratio, partners[label], len(available)))
            taken[label] = reachable(available, context.ratio, partners[label], asked, part.label_names[label])
        rows = _draw(part, taken, context)
        return Assignment(rows, part.attributes[rows], wanted)


def _value(partner: str | int, names: Sequence[str]) -> int:
    """Return the position of a value among the names of the attributes; one that could mean both is told."""
    text = composed(partner)
    if text not in names:
        position = isinstance(partner, int) and 0 <= partner < len(names)
        hint = f" For the position {partner}, the value {names[partner]}, write pair_positions." if position else ""
        raise DdbiasError(
            f"pairs holds {partner!r}, which is no attribute of the source; known: {', '.join(names)}."
            f"{nearest(text, names)}{hint}"
        )
    found = list(names).index(text)
    if isinstance(partner, int) and partner != found and 0 <= partner < len(names):
        logger.info(
            "pairs: %s is the attribute value %s; the one at position %s, %s, would be pair_positions: %s",
            *(partner, text, partner, names[partner], partner),
        )
    return found


def _majority(part: RawImages) -> list[int] | None:
    """Return the attribute that more than half of the images of each label have, None unless all are different."""
    cells = _cells(part)
    found = cells.argmax(1)
    clear = cells.max(1) > cells.sum(1) / 2
    return found.tolist() if clear.all() and len(set(found.tolist())) == len(found) else None


def reachable(available: np.ndarray, ratio: float, partner: int, asked: int, name: str = "") -> np.ndarray:
    """Return how many images of each attribute a class gives: at most `asked` in total, and exactly in the ratio.

    Parameters
    ----------
    available : ndarray of int, shape (A,)
    ratio : float
        Aligned ratio 0..1.
    partner : int
        The attribute paired with the class.
    asked : int
        Images wanted in total.
    name : str
        Of the class, for messages.

    Returns
    -------
    ndarray of int64, shape (A,)
        Halves are rounded as in `ddbias.datasets.assignment.assign_attributes`.

    Raises
    ------
    DdbiasError
        If no number of images has this ratio.
    """
    shares = _shares(ratio, partner, len(available))
    needed = shares > 0
    # An upper bound; a cell may hold up to one image more than its share.
    total = int(min(asked, ((available[needed] + 1) / shares[needed]).min()))
    while total and (_exact(total, shares) > available).any():
        total -= 1
    taken = _exact(total, shares)
    others = np.arange(len(available)) != partner
    if not total or (ratio < 1 and not taken[others].any()) or (ratio > 0 and not taken[partner]):
        have = int(available[partner]), int(available[others].sum())
        raise DdbiasError(
            f"class '{name}' has {have[0]} aligned and {have[1]} conflicting images, from which the aligned ratio "
            f"{ratio:g} cannot be drawn; choose a ratio nearer to {have[0] / max(sum(have), 1):.3g}, or other pairs"
        )
    return taken


def _shares(ratio: float, partner: int, attributes: int) -> np.ndarray:
    if attributes < 2:
        raise DdbiasError("the source has a single attribute, so no sample can conflict; bias 'subsample' needs two")
    return np.where(np.arange(attributes) == partner, ratio, (1 - ratio) / (attributes - 1))


def _exact(total: int, shares: np.ndarray) -> np.ndarray:
    """Split a total by shares: differences of the rounded cumulative sum."""
    return np.diff(np.rint(total * np.cumsum(shares)), prepend=0).astype(np.int64)


def _cells(part: RawImages) -> np.ndarray:
    return groups.counts(part.labels, part.attributes, len(part.label_names), len(part.attribute_names))


def _draw(part: RawImages, taken: np.ndarray, context: Context) -> np.ndarray:
    """Return ascending rows, ``taken[label, attribute]`` of each cell."""
    rows = []
    for (label, attribute), count in np.ndenumerate(taken):
        members = np.flatnonzero((part.labels == label) & (part.attributes == attribute))
        order = numpy_stream(context.seed, "subsample", context.split, label, attribute).permutation(len(members))
        rows.append(members[order[:count]])
    return np.sort(np.concatenate(rows))
