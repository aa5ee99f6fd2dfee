"""What an evaluation needs of a distilled set: images to train on, the learning rate learnt with them, the record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ddbias.data import formation, store
from ddbias.data.split import load_split


def training_set(path: str | Path, train: str | Path | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images and labels (N,) int64 to train on.

    Images are normalised float32 (N, C, H, W), decoded where a stored image holds several (`ddbias.data.formation`), or
    raw uint8 taken from the training split at `train` when the distilled set holds rows only.
    """
    tensors, meta = store.read_tensors(path)
    if "images" in tensors:
        factor = meta.get("formation", 1)
        images = formation.decode(tensors["images"], factor, mean=meta["mean"], std=meta["std"])
        return images, formation.decode_labels(tensors["labels"], factor)
    images = np.array(load_split(train).images[tensors["rows"].numpy()])
    return torch.from_numpy(images), tensors["labels"]


def learned_rate(path: str | Path) -> float | None:
    """Return the learning rate that the distiller learnt together with its images, None if it did not."""
    _, meta = store.read_tensors(path, prefix=None)
    return meta.get("learning_rate")


def record(path: str | Path) -> dict | None:
    """Return what became of the run that made a distilled set (`ddbias.distill.engine.Distilled`), None if unknown."""
    _, meta = store.read_tensors(path, prefix=None)
    return meta.get("distillation")
