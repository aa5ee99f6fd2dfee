"""What an evaluation needs of a distilled set: images to train on and their labels, the learning rate, the record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ddbias.base.errors import DdbiasError
from ddbias.data import formation, soft_labels, store
from ddbias.data.soft_labels import SoftLabels
from ddbias.data.split import load_split

FILE_NAME = "distilled.safetensors"


def read_set(path: str | Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Return the tensors and the metadata of a distilled set, checked to fit together.

    Raises
    ------
    DdbiasError
        If there is no such file, it is damaged, or is no distilled set.
    """
    tensors, meta = store.read_tensors(path)
    if meta.get("kind") != "distilled":
        raise DdbiasError(f"{path} is not a distilled set; choose a {FILE_NAME} that the stage distill has written")
    if "images" in tensors or "index" not in tensors:
        _check(path, tensors, meta)
    return tensors, meta


def training_set(path: str | Path, train: str | Path | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the images and labels (N,) int64 to train on.

    Images are normalised float32 (N, C, H, W), decoded where a stored image holds several (`ddbias.data.formation`), or
    raw uint8 taken from the training split at `train` when the distilled set holds rows only.
    """
    tensors, meta = read_set(path)
    if "images" in tensors:
        factor = meta.get("formation", 1)
        images = formation.decode(tensors["images"], factor, mean=meta["mean"], std=meta["std"])
        return images, formation.decode_labels(tensors["labels"], factor)
    store.require(path, "a distilled set", tensors, ("rows", "labels"))
    split, rows = load_split(train, "train"), tensors["rows"].numpy()
    if rows.shape != tuple(tensors["labels"].shape):
        raise store.damaged(path, f"it names {len(rows)} rows and {len(tensors['labels'])} labels")
    if len(rows) and not 0 <= rows.min() <= rows.max() < len(split):
        raise store.damaged(path, f"it names rows that {train} has not")
    return torch.from_numpy(np.array(split.images[rows])), tensors["labels"]


def training_soft_labels(path: str | Path) -> SoftLabels | None:
    """Return the soft labels of the images to train on, None if the distilled set has none."""
    tensors, meta = store.read_tensors(path, prefix=soft_labels.TENSOR)
    found = soft_labels.of_tensors(tensors, meta)
    return found and found.decoded(meta.get("formation", 1))


def learned_rate(path: str | Path) -> float | None:
    """Return the learning rate that the distiller learnt together with its images, None if it did not."""
    _, meta = store.read_tensors(path, prefix=None)
    return meta.get("learning_rate")


def record(path: str | Path) -> dict | None:
    """Return the record of the run that made a distilled set (`ddbias.distill.engine.Distilled`), None if unknown."""
    _, meta = store.read_tensors(path, prefix=None)
    return meta.get("distillation")


def _check(path: Path, tensors: dict[str, torch.Tensor], meta: dict) -> None:
    """Raise `DdbiasError` unless images, labels and metadata fit together."""
    images, labels, soft = tensors.get("images"), tensors.get("labels"), soft_labels.of_tensors(tensors, meta)
    store.require(path, "a distilled set", [*tensors, *meta], ("images", "labels", "mean", "std", "label_names"))
    store.require_finite(path, "images", images.numpy())
    fits = (
        images.ndim == 4
        and images.dtype == torch.float32
        and labels.dtype == torch.int64
        and labels.shape == images.shape[:1]
        and len(meta["mean"]) == len(meta["std"]) == images.shape[1]
        and _is_formation(meta.get("formation", 1), images)
        and (len(labels) == 0 or 0 <= int(labels.min()) <= int(labels.max()) < len(meta["label_names"]))
    )
    if fits and soft and not soft.is_valid(len(labels), len(meta["label_names"])):
        raise store.damaged(path, "its soft labels are no probabilities of its classes for each image")
    if not fits:
        raise DdbiasError(
            f"{path} is damaged: {images.dtype} images {tuple(images.shape)}, {labels.dtype} labels "
            f"{tuple(labels.shape)} and its metadata do not fit together; delete it and distill again"
        )


def _is_formation(factor: object, images: torch.Tensor) -> bool:
    """Tell whether stored images (N, C, H, W) can be cut into tiles as the metadata says."""
    return type(factor) is int and 1 <= factor <= min(images.shape[2:])
