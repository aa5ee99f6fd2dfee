"""No bias is injected: the attribute is already in the source, or there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np


@dataclass(frozen=True)
class Unchanged:
    """Leave images and attributes as the source has them."""

    assigns: ClassVar[bool] = False
    attribute_names: ClassVar[None] = None

    def apply(
        self, images: np.ndarray, attributes: np.ndarray | None, *, index: np.ndarray, split: str, seed: int
    ) -> np.ndarray:
        """Return `images`."""
        return images
