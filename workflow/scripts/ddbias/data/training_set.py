"""What an evaluation needs of a distilled set: images to train on, the learning rate learnt with them, the record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ddbias.data import store
from ddbias.data.distilled import IndicesOnlyError, load_distilled
from ddbias.data.split import load_split


def training_set(path: str | Path, train: str | Path | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images and labels (N,) int64 to train on.

    Images are normalised float32 (N, C, H, W), decoded where a stored image holds several (`ddbias.data.formation`), or
    raw uint8 taken from the training split at `train` when the distilled set holds rows only.
    """
    try:
        return load_distilled(path).tensors()
    except IndicesOnlyError:
        tensors, _ = store.read_tensors(path)
    store.require(path, "a distilled set", tensors, ("rows", "labels"))
    split, rows = load_split(train, "train"), tensors["rows"].numpy()
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(split):
        raise store.damaged(path, f"it names rows that {train} has not")
    return torch.from_numpy(np.array(split.images[rows])), tensors["labels"]


def learned_rate(path: str | Path) -> float | None:
    """Return the learning rate that the distiller learnt together with its images, None if it did not."""
    _, meta = store.read_tensors(path, prefix=None)
    return meta.get("learning_rate")


def record(path: str | Path) -> dict | None:
    """Return what became of the run that made a distilled set (`ddbias.distill.engine.Distilled`), None if unknown."""
    _, meta = store.read_tensors(path, prefix=None)
    return meta.get("distillation")
