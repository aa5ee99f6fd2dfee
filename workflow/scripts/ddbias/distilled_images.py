"""The images of a distilled set as networks train on them, whatever its file holds: images, mosaics or rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ddbias import formation, store
from ddbias.data import load_split


def training_set(path: str | Path, train: str | Path | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images and labels (N,) int64 to train on.

    Images are normalised float32 (N, C, H, W), decoded where a stored image holds several (`ddbias.formation`), or raw
    uint8 taken from the training split at `train` when the distilled set holds rows only.
    """
    tensors, meta = store.read_tensors(path)
    if "images" in tensors:
        factor = meta.get("formation", 1)
        images = formation.decode(tensors["images"], factor, mean=meta["mean"], std=meta["std"])
        return images, formation.decode_labels(tensors["labels"], factor)
    images = np.array(load_split(train).images[tensors["rows"].numpy()])
    return torch.from_numpy(images), tensors["labels"]
