"""Distances between what real and synthetic images of a class are under an embedding, as ``dm`` minimises them.

Each compares means over images, and weights and groups are in these means. ``squared`` (DM, arXiv 2110.04181) and
``absolute`` (the code of COBRA, arXiv 2605.00185) compare mean embeddings. ``characteristic`` (NCFM, arXiv 2502.20653)
compares empirical characteristic functions, which are means too: of ``exp(i t.f)`` at frequencies t, where f is the
embedding of an image at length 1. Its distance of T from S is the mean over frequencies of ::

    sqrt(alpha (|T| - |S|)^2 + 2 beta (|T| |S| - Re T Re S - Im T Im S))

times 300. The first term compares amplitudes, the second phases. For a weighted mean or a barycentre T is the
characteristic function of the mixture in which each image has its share.

Frequencies are standard normal, and drawn for each step. NCFM's code draws them for each class, and its option of a
network that learns them is not here, nor its optimiser (AdamW): ``dm`` moves pixels by SGD. Its other parts are options
elsewhere: pre-trained networks and a cross-entropy of them are guidance, ``clom`` with ``loss: ce``.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn.functional import normalize

from ddbias.base.errors import unknown

FACTOR = 300  # of the published loss
LEAST = 1e-12  # of the phases (published) and of the squared amplitudes, whose roots have no slope at 0
DISTANCES = ("squared", "absolute", "characteristic")


class MeanDistance:
    """Sum of the squared or absolute differences of mean embeddings."""

    def __init__(self, *, absolute: bool) -> None:
        self.absolute = absolute

    def draw(self, size: int, generator: torch.Generator, device: torch.device) -> None:
        """Draw what is random in a step, for embeddings of `size` values: nothing."""

    def lift(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return the values (B, L) of each image whose means are compared, from its embedding (B, D)."""
        return embedding

    def between(self, targets: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
        """Return the distance (R,) of each target (R, L) from the mean (R, L) that it is matched with."""
        gap = targets - means
        return gap.abs().sum(1) if self.absolute else gap.square().sum(1)


class CharacteristicDistance:
    """Difference of characteristic functions (see the module's text); its methods are those of `MeanDistance`."""

    def __init__(self, *, frequencies: int, alpha: float, beta: float) -> None:
        self.count, self.alpha, self.beta = frequencies, alpha, beta

    def draw(self, size: int, generator: torch.Generator, device: torch.device) -> None:
        """Draw the frequencies of a step, (size, F)."""
        self.frequencies = torch.randn(size, self.count, generator=generator).to(device)

    def lift(self, embedding: torch.Tensor) -> torch.Tensor:
        """Return real and imaginary parts (B, 2 F) of ``exp(i t.f)``."""
        angle = normalize(embedding) @ self.frequencies
        return torch.cat([angle.cos(), angle.sin()], 1)

    def between(self, targets: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
        """Return the distance (R,) of characteristic functions (R, 2 F)."""
        given, wanted = means.unflatten(1, (2, -1)), targets.unflatten(1, (2, -1))
        size, wanted_size = _amplitude(given), _amplitude(wanted)
        phases = (size * wanted_size - (given * wanted).sum(1)).clamp(min=LEAST / 2)
        return FACTOR * (self.alpha * (wanted_size - size).square() + 2 * self.beta * phases + LEAST**2).sqrt().mean(1)


def _amplitude(values: torch.Tensor) -> torch.Tensor:
    """Return the absolute values (R, F) of complex numbers (R, 2, F)."""
    return values.square().sum(1).clamp(min=LEAST).sqrt()


def embedding_distance(settings: Mapping) -> MeanDistance | CharacteristicDistance:
    """Return the distance that the options of a distiller name."""
    name = settings.get("distance", "squared")
    if name not in DISTANCES:
        raise unknown("embedding distance", name, DISTANCES)
    if name == "characteristic":
        return CharacteristicDistance(**{key: settings[key] for key in ("frequencies", "alpha", "beta")})
    return MeanDistance(absolute=name == "absolute")
