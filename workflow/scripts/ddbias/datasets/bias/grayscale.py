"""CIFAR10-S (Wang et al., arXiv:1911.11834, as in FairDD, arXiv:2411.19623): grey images in one half of the classes.

Two attributes, gray and colour; the lower half of the classes is paired with gray, the upper half with colour. With
``ratio: 0.9``, ``seed: 0`` and CIFAR-10 in its published order this is the published draw: 4,500 gray and 500 colour
images in each of the classes 0-4, the reverse in 5-9. Its test set, ``balanced``, holds every image twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.datasets.bias.base import Bias
from ddbias.datasets.bias.context import Assignment, Context
from ddbias.datasets.normalisation import Normalisation
from ddbias.datasets.sources.channels import luminance
from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "bias": {
        "grayscale": {
            "description": (
                "CIFAR10-S (FairDD, after arXiv 1911.11834); grey images in the lower half of the classes, "
                "colour in the upper. Its balanced test set holds every image twice. Published with ratio 0.9 "
                "and seed 0."
            ),
            "use": "Grayscale",
        },
    },
}

GRAY, COLOUR = 0, 1


@dataclass(frozen=True)
class Grayscale(Bias):
    """Take the colour out of the images of one group."""

    normalise: ClassVar[Mapping[str, Normalisation]] = {
        "cifar10": ((0.48905, 0.48451, 0.46715), (0.24278, 0.24082, 0.25098))  # FairDD
    }

    def attribute_names(self, part: RawImages) -> list[str]:
        """Return ``["gray", "colour"]``."""
        return ["gray", "colour"]

    def pairing(self, part: RawImages) -> list[int]:
        """Return gray for the lower half of the classes, colour for the upper half."""
        classes = len(part.label_names)
        return [GRAY if 2 * label < classes else COLOUR for label in range(classes)]

    def assign(self, part: RawImages, context: Context) -> Assignment:
        """Give `round(n ratio)` images of each class the attribute paired with it; in a balanced test split, both.

        Within a class the gray images come first in a permutation of the data set.
        """
        rows = np.arange(len(part))
        if not context.natural and context.test == "balanced":
            both = np.repeat([GRAY, COLOUR], len(part))
            return Assignment(np.concatenate([rows, rows]), both)
        # The generator and its legacy seeding are the published ones.
        order = np.random.RandomState(context.seed).permutation(len(part))
        attributes = np.full(len(part), COLOUR)
        for label, partner in enumerate(self.pairing(part)):
            members = order[part.labels[order] == label]
            aligned = round(len(members) * context.share(2))
            gray = aligned if partner == GRAY else len(members) - aligned
            attributes[members[:gray]] = GRAY
        return Assignment(rows, attributes)

    def apply(self, images: np.ndarray, attributes: np.ndarray, index: np.ndarray, context: Context) -> np.ndarray:
        """Return RGB uint8 images (N, 3, H, W), those of the group gray without colour."""
        if images.shape[1] != 3:
            raise DdbiasError("bias 'grayscale' needs RGB images; use a colour source or another bias")
        out = np.array(images)
        gray = attributes == GRAY
        out[gray] = luminance(images[gray])[:, None]
        return out
