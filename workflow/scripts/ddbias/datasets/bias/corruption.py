"""The attribute is the corruption of the image (Learning from Failure, arXiv:2007.02561).

The first family makes Corrupted CIFAR-10 type 0 and CCIFAR10-DD (arXiv:2403.16028), the second type 1. What differs
from the published files: every image has random numbers of its own, snow is blurred without ImageMagick, and the
pictures of frost are a substitute with the same statistics unless the user has the originals.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ddbias.base import lookup
from ddbias.base.errors import DdbiasError, unknown
from ddbias.datasets.bias.context import Context
from ddbias.datasets.bias.injected import Injected, check_assignment
from ddbias.datasets.corruptions import FAMILIES, SEVERITIES, check, corrupt
from ddbias.datasets.corruptions.frost_textures import read_textures

PLUGIN = {
    "bias": {
        "corruption": {
            "seconds": 3e-4,
            "description": (
                "Ten corruptions of 32x32 RGB images (Corrupted CIFAR-10 of LfF arXiv 2007.02561, CCIFAR10-DD)."
            ),
            "use": "CorruptionBias",
            "options": {
                "family": {
                    "enum": ["type0", "type1"],
                    "default": "type0",
                    "description": (
                        "type0 = snow, frost, fog, brightness, contrast, spatter, elastic, jpeg, pixelate, "
                        "saturate (also CCIFAR10-DD); type1 = Gaussian, shot, impulse and speckle noise, "
                        "Gaussian, defocus, glass, motion and zoom blur, original (LfF)."
                    ),
                },
                "severity": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 4,
                    "default": 1,
                    "description": "As published, column severity + 1 of the tables of CIFAR-10-C.",
                },
                "frost": {
                    "type": ["string", "null"],
                    "default": None,
                    "description": (
                        "Folder with frost1.png, frost2.png, frost3.png, frost4.jpg and frost5.jpg of "
                        "CIFAR-10-C, searched as the files of sources; null draws seeded textures "
                        "with the same mean, deviation and correlation."
                    ),
                },
                "assignment": {"$ref": "#/$defs/assignment"},
            },
            "files": ["frost"],
        },
    },
}


def corrupt_by_attribute(
    images: np.ndarray,
    attributes: np.ndarray,
    *,
    family: str,
    severity: int,
    seed: int,
    split: str,
    index: np.ndarray,
    textures: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Give each image the corruption that its attribute stands for.

    Besides the result, the images of one attribute are in memory twice more.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 3, 32, 32)
    attributes : ndarray of int, shape (N,)
        Position of the corruption in its family, 0..9.
    family : str
        ``"type0"`` or ``"type1"``, see `ddbias.datasets.corruptions.FAMILIES`.
    severity, seed, split, index, textures
        See `ddbias.datasets.corruptions.corrupt`.

    Returns
    -------
    ndarray of uint8, shape (N, 3, 32, 32)

    Raises
    ------
    DdbiasError
        For an unknown family, an attribute without a corruption, and what `corrupt` refuses.
    """
    if family not in FAMILIES:
        raise unknown("family of corruptions", family, FAMILIES)
    names, attributes, index = FAMILIES[family], np.asarray(attributes), np.asarray(index)
    check(images, severity, index)
    if attributes.shape != (len(images),):
        raise DdbiasError(f"{len(images)} images need as many attributes, not {attributes.shape}")
    if len(attributes) and not (attributes.min() >= 0 and attributes.max() < len(names)):
        raise DdbiasError(
            f"attributes must be 0 to {len(names) - 1}, one per corruption of {family}, "
            f"not {attributes.min()} to {attributes.max()}"
        )
    out = np.empty(images.shape, np.uint8)
    for attribute, name in enumerate(names):
        rows = np.flatnonzero(attributes == attribute)
        out[rows] = corrupt(
            images[rows], name, severity=severity, seed=seed, split=split, index=index[rows], textures=textures
        )
    return out


@dataclass(frozen=True)
class CorruptionBias(Injected):
    """Corrupt 32x32 RGB images, each attribute in its own way.

    Attributes
    ----------
    severity : int
        1..4; as published, column ``severity + 1`` of CIFAR-10-C's tables.
    family : str
        ``"type0"`` or ``"type1"``, the published names of the two families.
    frost : str or None
        Folder with the pictures of frost that CIFAR-10-C uses; None takes the substitute, and the attribute is then
        called ``frost-substitute``.
    assignment : str
        See `Injected`.
    """

    severity: int
    family: str = "type0"
    frost: str | None = None
    assignment: str = "published"

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise unknown("family of corruptions", self.family, FAMILIES)
        if self.severity not in SEVERITIES or isinstance(self.severity, bool):
            known = ", ".join(map(str, SEVERITIES))
            raise DdbiasError(f"corruption severity is {self.severity!r}; it must be one of {known}")
        check_assignment(self.assignment)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the ten corruptions."""
        substitute = self.frost is None
        return tuple("frost-substitute" if substitute and n == "frost" else n for n in FAMILIES[self.family])

    def apply(self, images: np.ndarray, attributes: np.ndarray, index: np.ndarray, context: Context) -> np.ndarray:
        """Return the corrupted images, see `corrupt_by_attribute`."""
        textures = None if self.frost is None else read_textures(lookup.find_folder(self.frost, context.data))
        return corrupt_by_attribute(
            images,
            attributes,
            family=self.family,
            severity=self.severity,
            seed=context.seed,
            split=context.split,
            index=index,
            textures=textures,
        )
