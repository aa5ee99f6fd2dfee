"""What all distillers that select real images have in common: what they choose from, and what becomes of the choice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch

from ddbias.data.split import Split
from ddbias.debias.real_side import RealSide


class Selector(ABC):
    """What every distiller that selects real images is: it names rows of the training split.

    A method is a subclass called ``Selection``. Everything random comes from streams named by ``self.seed``.

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

    Attributes
    ----------
    stores_images : bool
        Of the class: whether the distilled set holds the images; if not, only their rows.
    """

    stores_images = True

    def __init__(
        self,
        split: Split,
        side: RealSide,
        *,
        settings: Mapping,
        network: Mapping | None,
        seed: int,
        device: torch.device,
    ) -> None:
        self.split, self.side, self.seed = split, side, seed
        self.settings, self.network, self.device = settings, network, device

    @abstractmethod
    def select(self, ipc: int | str) -> torch.Tensor:
        """Return the rows (K * ipc,) int64 of the chosen images, class after class; all of them for ``all``."""
