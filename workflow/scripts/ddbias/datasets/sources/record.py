"""The images of one split as every source returns them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ddbias.base.errors import Misuse
from ddbias.base.names import composed
from ddbias.base.plugins.given import need


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

    def __post_init__(self) -> None:
        for what in ("label_names", "attribute_names"):
            names = getattr(self, what)
            if isinstance(names, list | tuple):
                names = [composed(name) if isinstance(name, str) else name for name in names]
                object.__setattr__(self, what, names)

    def __len__(self) -> int:
        return len(self.labels)

    def check(self, split: str) -> None:
        """Raise `ddbias.base.errors.Misuse` if an array is not as described above; `split` is for the message."""
        count = len(self.labels)
        need(self.images, f"the images of '{split}'", None, shape=[count, None, None, None], types=["uint8"])
        whole = {"labels": (self.labels, self.label_names)}
        if self.attributes is not None:
            whole["attributes"] = self.attributes, self.attribute_names
        for what, (values, names) in whole.items():
            need(values, f"the {what} of '{split}'", None, shape=[count], types=["int64"])
            if names is None or (count and not 0 <= values.min() <= values.max() < len(names)):
                raise Misuse(f"gives {what} of '{split}' beyond the {len(names or ())} names that it gives for them")
