"""Coloured foreground or background: the attribute is the colour (CMNIST-DD, arXiv:2403.16028)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ddbias.base.errors import unknown
from ddbias.base.seeding import numpy_stream
from ddbias.datasets.bias.context import Context
from ddbias.datasets.bias.injected import Injected, check_assignment
from ddbias.datasets.bias.reference_noise import reference_noise
from ddbias.datasets.colorize import check_severity, colorize

PLUGIN = {
    "bias": {
        "foreground": {
            "description": (
                "The object takes the attribute's colour (CMNIST; LfF arXiv 2007.02561, Lu et al. arXiv 2403.16028)."
            ),
            "use": "ForegroundColour",
            "options": {
                "severity": {
                    "type": "integer",
                    "minimum": 1,
                    "maximum": 5,
                    "default": 1,
                    "description": (
                        "Colour noise of standard deviation .05, .02, .01, .005, .002; a higher severity has "
                        "less noise."
                    ),
                },
                "noise": {
                    "enum": ["per_index", "reference", "none"],
                    "default": "per_index",
                    "description": (
                        "per_index adds noise to the colour of each image, see `seed`; reference draws it as the "
                        "published generator of CMNIST-DD (with seed 42, on its grid of ratios and severities); none "
                        "uses the mean colours."
                    ),
                },
                "assignment": {"$ref": "#/$defs/assignment"},
            },
        },
        "background": {
            "description": (
                "What is black takes the attribute's colour (background Fashion-MNIST, Cui et al. arXiv 2406.06609)."
            ),
            "use": "BackgroundColour",
            "like": "foreground",
        },
    },
}

COLOUR_NAMES = ("red-orange", "yellow", "mauve", "sage", "sky blue", "green", "blue", "purple", "dark green", "crimson")
NOISES = ("per_index", "reference", "none")


@dataclass(frozen=True)
class ColourBias(Injected):
    """Colour the foreground or the background of grey images.

    Attributes
    ----------
    severity : int
        1..5; higher means less colour noise.
    noise : str
        ``"per_index"``: the noise of an image depends on (seed, split, index in the source) alone, so neither on
        the order nor on what else is generated, nor on ratio and severity. ``"reference"``: the draws of the
        published generator, see `ddbias.datasets.bias.reference_noise`. ``"none"``: the mean colours.
    assignment : str
        See `Injected`.
    """

    severity: int
    noise: str = "per_index"
    assignment: str = "published"

    where: ClassVar[str]
    names: ClassVar[tuple[str, ...]] = COLOUR_NAMES
    normalise: ClassVar[str] = "none"  # as the codes of LfF and of Lu et al.; that of Cui et al. is not available to us

    def __post_init__(self) -> None:
        check_severity(self.severity)
        if self.noise not in NOISES:
            raise unknown("colour noise", self.noise, NOISES)
        check_assignment(self.assignment)

    def apply(self, images: np.ndarray, attributes: np.ndarray, index: np.ndarray, context: Context) -> np.ndarray:
        """Return the coloured images, see `colorize`."""
        if self.noise == "none":
            draws = np.zeros((len(images), 3), np.float32)
        elif self.noise == "reference":
            draws = reference_noise(context, self.severity)[index]
        else:
            draws = colour_noise(context.seed, context.split, int(index.max(initial=-1)) + 1)[index]
        return colorize(images, attributes, severity=self.severity, noise=draws, where=self.where)


class ForegroundColour(ColourBias):
    """Colour the foreground; black pixels stay black."""

    where = "foreground"


class BackgroundColour(ColourBias):
    """Colour the background; white pixels stay white."""

    where = "background"


def colour_noise(seed: int, split: str, count: int) -> np.ndarray:
    """Return standard normal noise, float32 (count, 3), for the first `count` samples of a source's split.

    Row i does not depend on `count`: the rows are drawn one after the other from a stream of their own.
    """
    return numpy_stream(seed, "colour_noise", split).standard_normal((count, 3), dtype=np.float32)
