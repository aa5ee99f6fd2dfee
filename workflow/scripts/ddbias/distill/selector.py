"""What distillers that need no steps have in common: what they choose from, and what becomes of the choice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import torch

from ddbias.data.soft_labels import SoftLabels
from ddbias.data.split import Split
from ddbias.debias.real_side import RealSide


class Chooser:
    """What a method of one step knows; everything random in it comes from streams named by ``self.seed``.

    Parameters
    ----------
    split : Split
        Training images.
    side : RealSide
        The rows of every class and their weights, as the debias says.
    settings : mapping
        ``kind`` and options.
    network : mapping or None
        ``kind`` and options of the network that the settings name, if they name one.
    seed : int
    device : device
    models : mapping of str to sequence of path
        Files of the members of every pool that the settings name.
    """

    def __init__(
        self,
        split: Split,
        side: RealSide,
        *,
        settings: Mapping,
        network: Mapping | None,
        seed: int,
        device: torch.device,
        models: Mapping[str, Sequence[str | Path]] = MappingProxyType({}),
    ) -> None:
        self.split, self.side, self.seed, self.models = split, side, seed, models
        self.settings, self.network, self.device = settings, network, device


class Selector(Chooser, ABC):
    """What every distiller that selects real images is: it names rows of the training split.

    A method is a subclass called ``Selection``; parameters are those of `Chooser`.

    Attributes
    ----------
    stores_images : bool
        Of the class: whether the distilled set holds the images; if not, only their rows.
    """

    stores_images = True

    @abstractmethod
    def select(self, ipc: int | str) -> torch.Tensor:
        """Return the rows (K * ipc,) int64 of the chosen images, class after class; all of them for ``all``."""


class Assembler(Chooser, ABC):
    """What every distiller that makes images out of real ones at once is.

    A method is a subclass called ``Assembly``; parameters are those of `Chooser`.
    """

    @abstractmethod
    def assemble(self, ipc: int) -> tuple[torch.Tensor, SoftLabels | None]:
        """Return images like those of `Split.scaled` (K * ipc, C, H, W), class after class, perhaps with soft labels.

        The probabilities of soft labels have the shape (K * ipc, K).
        """
