"""The record that every later stage reads: images, labels and attributes of one split, memory-mapped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from ddbias.base import groups
from ddbias.data import store
from ddbias.data.whitening import Whitening

WHITENING = "whitening"  # in the metadata of a file


@dataclass(frozen=True)
class Split:
    """Images of one split of a data set.

    Attributes
    ----------
    images : ndarray of uint8, shape (N, C, H, W)
        Raw pixels 0..255; read-only when the split was loaded from a file.
    labels : ndarray of int64, shape (N,)
        Class to predict, 0..K-1.
    attributes : ndarray of int64, shape (N,), or None
        Bias attribute, 0..A-1; None when it is not known.
    index : ndarray of int64, shape (N,)
        Position of the sample in its source.
    meta : dict
        ``label_names``, ``attribute_names`` (or None), ``pairing`` (the attribute paired with each label, see
        `ddbias.base.groups`), ``mean`` and ``std`` (per channel, for pixels in 0..1: what
        networks see pixels normalised with), ``own_mean`` and ``own_std`` (those of the training split),
        ``convention`` of a test split, and the provenance.
    whitening : Whitening or None
        What networks see the normalised images through (``normalise: zca``), that of the training split.
    """

    images: np.ndarray
    labels: np.ndarray
    attributes: np.ndarray | None
    index: np.ndarray
    meta: Mapping = field(default_factory=dict)
    whitening: Whitening | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.meta["label_names"])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        return tuple(self.images.shape[1:])

    @property
    def conflicting(self) -> np.ndarray | None:
        """Boolean mask (N,) of the samples whose attribute is not the one paired with their label, None if unknown."""
        return groups.conflicting(self.labels, self.attributes, self.meta.get("pairing", groups.IDENTITY))

    def tensors(self, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
        """Return copies of the images (uint8, as stored) and the labels (int64) on `device`."""
        return torch.tensor(self.images, device=device), torch.tensor(self.labels, device=device)

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """Return uint8 images (B, C, H, W) as networks see them: `scaled`, and `whitened` if the data set is."""
        return self.whitened(self.scaled(images))

    def scaled(self, images: torch.Tensor) -> torch.Tensor:
        """Return uint8 images (B, C, H, W) as distilled sets hold them: float32, minus the mean, divided by the std."""
        return normalize(images, self.meta["mean"], self.meta["std"])

    def whitened(self, images: torch.Tensor) -> torch.Tensor:
        """Return `scaled` images, such as those of a distilled set, as networks see them; the same without ZCA."""
        return images if self.whitening is None else self.whitening.apply(images)

    def unwhitened(self, images: torch.Tensor) -> torch.Tensor:
        """Invert `whitened`."""
        return images if self.whitening is None else self.whitening.undo(images)


def normalize(images: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    """Return ``(images / 255 - mean) / std`` as float32; `mean` and `std` are per channel, for pixels in 0..1."""
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), images.device)
    return images.float() * scale - shift


@lru_cache
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what images are multiplied by and what is subtracted then, (C, 1, 1); kept, as a step asks for them."""
    scale = torch.tensor([1 / (255 * s) for s in std], dtype=torch.float32, device=device)
    shift = torch.tensor([m / s for m, s in zip(mean, std, strict=True)], device=device)
    return scale.view(-1, 1, 1), shift.view(-1, 1, 1)


def denormalize(images: torch.Tensor, mean: list[float], std: list[float]) -> torch.Tensor:
    """Invert `normalize` and round to uint8, clipping what lies outside 0..255."""
    mean_, std_ = (torch.tensor(v, dtype=torch.float32).view(-1, 1, 1) for v in (mean, std))
    return ((images.cpu() * std_ + mean_) * 255).round().clamp(0, 255).to(torch.uint8)


def channel_statistics(images: np.ndarray) -> tuple[list[float], list[float]]:
    """Return the per-channel mean and standard deviation of uint8 images (N, C, H, W), for pixels in 0..1.

    Exact and independent of summation order: computed from the histogram of each channel. A constant channel
    gets a standard deviation of 1, so that it stays finite after normalisation.
    """
    values = np.arange(256, dtype=np.float64) / 255
    mean, std = [], []
    for channel in range(images.shape[1]):
        counts = np.bincount(images[:, channel].reshape(-1), minlength=256).astype(np.float64)
        counts /= counts.sum()
        centre = float(counts @ values)
        spread = float(np.sqrt(counts @ (values - centre) ** 2))
        mean.append(centre)
        std.append(spread if spread > 0 else 1.0)
    return mean, std


def save_split(path: str | Path, split: Split) -> None:
    """Write a split as an Arrow IPC file (columns image, label, attribute, index; metadata)."""
    columns = {
        "image": store.fixed_size_binary(split.images),
        "label": np.asarray(split.labels, np.int64),
        "index": np.asarray(split.index, np.int64),
    }
    if split.attributes is not None:
        columns["attribute"] = np.asarray(split.attributes, np.int64)
    meta = {**split.meta, "shape": list(split.shape)}
    if split.whitening is not None:
        meta[WHITENING] = split.whitening.encoded()
    store.write_arrow(path, columns, meta)


def load_split(path: str | Path, part: str | None = None, *, verify: bool = False) -> Split:
    """Memory-map a split that `save_split` wrote: milliseconds for any size, nothing is copied.

    Parameters
    ----------
    path : path
    part : {"train", "test"}, optional
        The split that is meant: another one is refused.
    verify : bool
        Whether to compare the images with their checksum, too, which reads all of them.

    Raises
    ------
    DdbiasError
        If the file is missing, damaged, not a split, or another one.

    Examples
    --------
    >>> from ddbias import load_split
    >>> split = load_split("results/digits/quick/data/digits_fg/0.95/train.arrow")
    >>> split.images.shape, split.labels[:3], round(float(split.conflicting.mean()), 2)
    ((1200, 3, 16, 16), array([0, 2, 3]), 0.05)
    """
    columns, meta = store.read_arrow(path, unverified=() if verify else ("image",))
    store.require(path, "a split", [*columns, *meta], ("image", "label", "index", "shape", "label_names"))
    if part and meta.get("split", part) != part:
        raise store.damaged(path, f"it holds the split {meta['split']} instead of {part}")
    try:
        images = columns["image"].reshape(-1, *meta["shape"])
    except (TypeError, ValueError):
        raise store.damaged(path, f"its images are no {meta['shape']}") from None
    whitening = meta.pop(WHITENING, None)
    try:
        whitening = whitening and Whitening.decoded(whitening, int(np.prod(meta["shape"])))
    except (TypeError, ValueError):
        raise store.damaged(path, f"its whitening is not one of images {meta['shape']}") from None
    for name, names in (("label", meta["label_names"]), ("attribute", meta.get("attribute_names"))):
        values = columns.get(name)
        if values is not None and names is not None and not _within(values, len(names)):
            raise store.damaged(path, f"it has {len(names)} {name}s and others among those of its images")
    return Split(
        images=images,
        labels=columns["label"],
        attributes=columns.get("attribute"),
        index=columns["index"],
        meta=meta,
        whitening=whitening,
    )


def _within(numbers: np.ndarray, count: int) -> bool:
    """Tell whether all are whole numbers from 0 to `count` - 1."""
    return numbers.dtype == np.int64 and (not len(numbers) or 0 <= numbers.min() <= numbers.max() < count)
