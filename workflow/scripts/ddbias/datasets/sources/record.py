"""What every source returns for one split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class RawImages:
    """Images of one split before a bias is injected.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, C, H, W)
        Pixels 0..255; C is 1 for grey and 3 for RGB images.
    labels : ndarray of int64, shape (N,)
        Class to predict, 0..K-1.
    label_names : list of str
        K names.
    attributes : ndarray of int64, shape (N,), or None
        Bias attribute 0..A-1 when the source knows one.
    attribute_names : list of str or None
        A names.
    provenance : mapping
        JSON-able: where the images come from, their checksums, licence and citation. The same on every machine.
    """

    images: np.ndarray
    labels: np.ndarray
    label_names: list[str]
    attributes: np.ndarray | None = None
    attribute_names: list[str] | None = None
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.labels)
