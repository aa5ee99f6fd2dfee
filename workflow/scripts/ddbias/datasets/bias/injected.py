"""What every bias has in common that gives an attribute to images without one."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ddbias.datasets.assignment import assign_attributes
from ddbias.datasets.bias.context import Assignment, Context
from ddbias.datasets.normalisation import Normalisation
from ddbias.datasets.sources.record import RawImages


class Injected:
    """Assign as many attributes as classes by exact counts; the attribute paired with class c is c.

    A subclass says `names` and how an attribute shows.
    """

    takes_ratio: ClassVar[bool] = True
    pad: ClassVar[tuple[int, int, int, int] | None] = None
    normalise: ClassVar[Normalisation | None] = None
    names: ClassVar[tuple[str, ...]]

    def attribute_names(self, part: RawImages) -> list[str]:
        """Return the names of the attributes."""
        return list(self.names)

    def pairing(self, part: RawImages) -> list[int]:
        """Return the attribute paired with each class."""
        return list(range(len(part.label_names)))

    def assign(self, part: RawImages, context: Context) -> Assignment:
        """Give every image an attribute, see `assign_attributes`."""
        share = context.share(len(self.names))
        return Assignment(np.arange(len(part)), assign_attributes(part.labels, share, len(self.names)))
