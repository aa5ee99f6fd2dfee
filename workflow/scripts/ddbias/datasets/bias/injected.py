"""Base class of biases that give an attribute to images without one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ddbias.base.errors import unknown
from ddbias.base.seeding import numpy_stream
from ddbias.datasets.assignment import assign_attributes, shuffle_within_classes
from ddbias.datasets.bias.base import Bias
from ddbias.datasets.bias.context import Assignment, Context
from ddbias.datasets.sources.record import RawImages

ASSIGNMENTS = ("published", "shuffled")


def check_assignment(assignment: str) -> None:
    """Raise `DdbiasError` unless `assignment` is one of `ASSIGNMENTS`."""
    if assignment not in ASSIGNMENTS:
        raise unknown("assignment", assignment, ASSIGNMENTS)


class Injected(Bias):
    """Assign as many attributes as classes by exact counts; the attribute paired with class c is c.

    A subclass defines `names` and how an attribute changes an image.

    Attributes
    ----------
    assignment : str
        ``"published"``: within a class the attributes ascend with the position in the data set; ``"shuffled"``: as
        many of each, in an order of a stream of its own, which neither the ratio nor the severity changes.
    """

    assignment: str = ASSIGNMENTS[0]

    names: ClassVar[tuple[str, ...]]

    def attribute_names(self, part: RawImages) -> list[str]:
        """Return the names of the attributes."""
        return list(self.names)

    def pairing(self, part: RawImages) -> list[int]:
        """Return the attribute paired with each class."""
        return list(range(len(part.label_names)))

    def assign(self, part: RawImages, context: Context) -> Assignment:
        """Give every image an attribute, see `assign_attributes` and `shuffle_within_classes`."""
        attributes = assign_attributes(part.labels, context.share(len(self.names)), len(self.names))
        if self.assignment == "shuffled":
            generator = numpy_stream(context.seed, "shuffled_within_classes", context.split)
            attributes = shuffle_within_classes(part.labels, attributes, generator)
        return Assignment(np.arange(len(part)), attributes)
