"""C-MNIST and C-FMNIST of FairDD (arXiv:2411.19623), which COBRA (arXiv:2605.00185) uses unchanged.

Ten saturated colours without noise; attributes assigned by shuffling instead of in order. ``variant: published`` keeps
the arithmetic of the public code where it has a quirk: 28x28 images are padded by four rows at the top and four
columns at the left only, and the ramp from white to the colour behind the garments of C-FMNIST (BG) wraps around
modulo 256, because it starts at 255 and ends at a colour in 0..1. ``variant: corrected`` pads evenly and ramps as
intended. The counts are the published ones, the draw is our own: the order in which the public code uses its generators
is part of its data loading.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ddbias.base.errors import DdbiasError, unknown
from ddbias.base.seeding import numpy_stream
from ddbias.datasets.bias.context import Assignment, Context
from ddbias.datasets.bias.injected import Injected
from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "bias": {
        "c_mnist": {
            "description": (
                "C-MNIST of FairDD (arXiv 2411.19623); binarised digits in ten pure colours, or before them."
            ),
            "use": "CMnist",
            "options": {
                "where": {
                    "enum": ["foreground", "background"],
                    "default": "foreground",
                    "description": "What is coloured.",
                },
                "variant": {
                    "enum": ["published", "corrected"],
                    "default": "published",
                    "description": (
                        "published keeps the quirks of the public code (28x28 images padded at the top and left only; "
                        "the background of C-FMNIST wraps around modulo 256); corrected pads evenly and ramps to white."
                    ),
                },
                "others": {
                    "enum": ["equal", "graded"],
                    "default": "equal",
                    "description": (
                        "How frequent the attributes that are not paired with a class are in it: equal, as published, "
                        "but for rounding; graded, in the training split, as 1 : 2 : ... : 9 in random order (FairDD's "
                        "Table 21)."
                    ),
                },
            },
        },
        "c_fmnist": {
            "description": (
                "C-FMNIST of FairDD (arXiv 2411.19623); garments in shades of ten pure colours, or before them."
            ),
            "use": "CFmnist",
            "like": "c_mnist",
        },
    }
}

PALETTE = np.array(
    [
        (255, 0, 0),
        (255, 128, 0),
        (255, 255, 0),
        (255, 255, 128),
        (0, 255, 0),
        (0, 255, 255),
        (0, 0, 255),
        (128, 0, 255),
        (255, 0, 255),
        (255, 255, 255),
    ],
    np.uint8,
)
NAMES = ("red", "orange", "yellow", "light yellow", "green", "cyan", "blue", "violet", "magenta", "white")
PLACES = ("foreground", "background")
VARIANTS = ("published", "corrected")
OTHERS = ("equal", "graded")
THRESHOLD = 128  # C-MNIST is binarised: a pixel is digit from here on
TOP_LEFT = (4, 0, 0, 4)


def assign_shuffled(
    labels: np.ndarray,
    aligned_ratio: float,
    num_attributes: int,
    generator: np.random.Generator,
    *,
    graded: bool = False,
) -> np.ndarray:
    """Give attributes at random: within a class the first ``int(n r)`` shuffled samples are aligned.

    The rest is cut into chunks of ``ceil(rest / (A - 1))``, the last one shorter, which the other attributes take
    in random order; `graded`, into chunks that are to each other as 1 : 2 : ... : A - 1, as FairDD's Table 21 has them.

    Parameters
    ----------
    labels : ndarray of int, shape (N,)
    aligned_ratio : float
        0..1.
    num_attributes : int
        A, at least 2 and at least the number of classes.
    generator : numpy Generator
    graded : bool
        Whether the attributes not paired with a class differ in number.

    Returns
    -------
    ndarray of int64, shape (N,)

    Raises
    ------
    DdbiasError
        If a class has no attribute paired with it.
    """
    classes = int(labels.max(initial=0)) + 1
    if classes > num_attributes:
        raise DdbiasError(
            f"{classes} classes but only {num_attributes} attributes: class {num_attributes} has none paired with it; "
            "use a source with fewer classes"
        )
    attributes = np.empty(len(labels), np.int64)
    parts = np.cumsum(np.arange(1, num_attributes))
    for label in range(classes):
        members = generator.permutation(np.flatnonzero(labels == label))
        aligned = int(len(members) * aligned_ratio)
        rest = len(members) - aligned
        chunk = max(1, -(-rest // (num_attributes - 1)))
        ends = np.rint(rest * parts / parts[-1]) if graded else chunk * np.arange(1, num_attributes)
        others = generator.permutation(np.delete(np.arange(num_attributes), label))
        attributes[members[:aligned]] = label
        attributes[members[aligned:]] = others[np.searchsorted(ends, np.arange(rest), side="right")]
    return attributes


def binary_colours(where: str) -> np.ndarray:
    """Return C-MNIST's table uint8 (10, 3, 256): the colour of each grey value, digit or background coloured."""
    digit = np.arange(256) >= THRESHOLD
    coloured = digit if where == "foreground" else ~digit
    return PALETTE[:, :, None] * coloured.astype(np.uint8)


def graded_colours(where: str, variant: str) -> np.ndarray:
    """Return C-FMNIST's table uint8 (10, 3, 256) of the colour that each grey value g becomes.

    With ``e = colour / 255``: the foreground ``trunc(255 (g / 255) e)``; the background as published, in float32 with
    ``d = (255 - g) / 255``, ``trunc(255 (255 + (e - 255) d)) mod 256``; corrected,
    ``g + floor((255 - g) colour / 255)``.
    """
    grey, colour = np.arange(256), PALETTE.astype(np.int64)[:, :, None]
    if where == "foreground":
        return (grey * colour // 255).astype(np.uint8)
    if variant == "corrected":
        return (grey + (255 - grey) * colour // 255).astype(np.uint8)
    white, end = np.float32(255), colour.astype(np.float32) / np.float32(255)
    distance = (white - grey.astype(np.float32)) / white
    ramp = white * (white + (end - white) * distance)
    return (np.trunc(ramp).astype(np.int64) % 256).astype(np.uint8)


@dataclass(frozen=True)
class _Coloured(Injected):
    """Replace grey values by those of a table; `where` is foreground or background."""

    where: str = "foreground"
    variant: str = "published"
    others: str = "equal"

    names: ClassVar[tuple[str, ...]] = NAMES
    normalise: ClassVar[tuple[float, float]] = (0.5, 0.5)  # FairDD, COBRA

    def __post_init__(self) -> None:
        if self.where not in PLACES:
            raise unknown("place of a colour", self.where, PLACES)
        if self.variant not in VARIANTS:
            raise unknown("variant", self.variant, VARIANTS)
        if self.others not in OTHERS:
            raise unknown("others", self.others, OTHERS)

    @property
    def pad(self) -> tuple[int, int, int, int] | None:
        """Return the published padding of 28x28 images at the top and left, or None."""
        return TOP_LEFT if self.variant == "published" else None

    def assign(self, part: RawImages, context: Context) -> Assignment:
        """Give every image an attribute, see `assign_shuffled`; graded only where the split follows the ratio."""
        generator = numpy_stream(context.seed, "shuffled_assignment", context.split)
        share = context.share(len(NAMES))
        graded = self.others == "graded" and context.natural
        attributes = assign_shuffled(part.labels, share, len(NAMES), generator, graded=graded)
        return Assignment(np.arange(len(part)), attributes)

    def apply(self, images: np.ndarray, attributes: np.ndarray, index: np.ndarray, context: Context) -> np.ndarray:
        """Colour grey uint8 images (N, 1, H, W); returns (N, 3, H, W)."""
        if images.shape[1] != 1:
            raise DdbiasError("a colour bias needs grey images; use a grey source, set channels: 1, or another bias")
        out = np.empty((len(images), 3, *images.shape[2:]), np.uint8)
        for attribute, table in enumerate(self._table()):
            rows = np.flatnonzero(attributes == attribute)
            grey = images[rows, 0]
            for channel in range(3):
                out[rows, channel] = table[channel][grey]
        return out


@dataclass(frozen=True)
class CMnist(_Coloured):
    """C-MNIST: binarised digits, digit or background coloured, the rest black."""

    def _table(self) -> np.ndarray:
        return binary_colours(self.where)


@dataclass(frozen=True)
class CFmnist(_Coloured):
    """C-FMNIST: garments in shades of the colour, or before a coloured background."""

    def _table(self) -> np.ndarray:
        return graded_colours(self.where, self.variant)
