"""A distilled set in memory: load one, train on it, or write it as a folder of PNG files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch.utils.data import DataLoader, TensorDataset

from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import stream
from ddbias.data import formation, soft_labels, store
from ddbias.data.png import png
from ddbias.data.soft_labels import SoftLabels
from ddbias.data.split import denormalize
from ddbias.data.training_set import FILE_NAME, read_set


class IndicesOnlyError(DdbiasError):
    """A distilled set names training samples instead of holding images."""


@dataclass(frozen=True)
class DistilledSet:
    """A distilled set in memory.

    Attributes
    ----------
    images : Tensor of float32, shape (N, C, H, W)
        As stored: normalised per channel with ``meta["mean"]`` and ``meta["std"]``. Where ``meta`` has ``whitened``
        (``normalise: zca``), networks see ``split.whitened(images)`` of either split (`ddbias.load_split`).
    labels : Tensor of int64, shape (N,)
    meta : dict
        How the set was made: study, scale, dataset, ratio, distiller, debias, ipc, seed, names, provenance; perhaps
        ``formation``.
    soft_labels : SoftLabels or None
        Probabilities of the classes beside `labels`, where the set has them, see `ddbias.data.soft_labels`.

    Notes
    -----
    Some distillers (IDC) store ``formation ** 2`` training images in each image, see `ddbias.data.formation`.
    Everything but the attributes `images`, `labels` and `soft_labels` is about the M images to train on,
    ``M = N * formation ** 2``.
    """

    images: torch.Tensor
    labels: torch.Tensor
    meta: Mapping = field(default_factory=dict)
    soft_labels: SoftLabels | None = None

    def __len__(self) -> int:
        return len(self.labels) * self.formation**2

    @property
    def formation(self) -> int:
        """Tiles per side of a stored image, each of which is a training image; 1 for most distillers."""
        return self.meta.get("formation", 1)

    def tensors(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the normalised images (M, C, H, W) and the labels (M,) to train on: copies, to do with as you like."""
        if self.formation == 1:
            return self.images.clone(), self.labels.clone()
        images = formation.decode(self.images, self.formation, mean=self.meta["mean"], std=self.meta["std"])
        return images, formation.decode_labels(self.labels, self.formation)

    def soft_targets(self) -> SoftLabels | None:
        """Return the soft labels of the images to train on, None if the set has none.

        Examples
        --------
        >>> soft = load_distilled("results/soft_labels/fast/distilled/.../seed0").soft_targets()  # doctest: +SKIP
        >>> loss = soft.loss(network(images), soft.probabilities)  # doctest: +SKIP
        """
        return self.soft_labels and self.soft_labels.decoded(self.formation)

    def pixels(self) -> torch.Tensor:
        """Return the images to train on as uint8 (M, C, H, W), 0..255; what lies outside is clipped."""
        return denormalize(self.tensors()[0], self.meta["mean"], self.meta["std"])

    def png_images(self) -> list[bytes]:
        """Return the images to train on, `pixels`, each as the content of a PNG file.

        Raises
        ------
        DdbiasError
            If the images have neither one nor three channels.
        """
        return [png(image.numpy()) for image in self.pixels()]

    def dataloader(self, batch_size: int = 256, shuffle: bool = True, seed: int = 0) -> DataLoader:
        """Return a loader of (images, labels) batches whose order depends on `seed` alone."""
        generator = stream(seed, "export", "loader")
        return DataLoader(TensorDataset(*self.tensors()), batch_size=batch_size, shuffle=shuffle, generator=generator)

    def to_image_folder(self, folder: str | Path) -> Path:
        """Write the images to train on as ``<label name>/<index>.png``, the layout of torchvision's ``ImageFolder``.

        ``index`` is the image's position in the set. Characters that a file name cannot hold become ``_``.
        ImageFolder numbers classes in alphabetical order, which need not be the order of the labels here.

        Parameters
        ----------
        folder : path
            Must not exist, or be empty. It appears only when all images are written.

        Raises
        ------
        DdbiasError
            If the folder holds something, or the images have neither one nor three channels.
        """
        images = self.png_images()
        names = folder_names(self.meta["label_names"])
        with store.new_folder(folder, "the images") as part:
            for name in names:
                (part / name).mkdir()
            digits = len(str(max(len(self) - 1, 0)))
            for index, (image, label) in enumerate(zip(images, self.tensors()[1].tolist(), strict=True)):
                (part / names[label] / f"{index:0{digits}d}.png").write_bytes(image)
        return Path(folder)


def folder_names(label_names: list[str]) -> list[str]:
    """Return a safe and unique folder name per class; names that would coincide get the label's number."""
    names, taken = [], set()
    for label, label_name in enumerate(label_names):
        name = re.sub(r"[^\w.-]", "_", str(label_name)).strip(".") or f"class_{label}"
        while name.casefold() in taken:  # some file systems ignore case
            name = f"{name}_{label}"
        taken.add(name.casefold())
        names.append(name)
    return names


def load_distilled(path: str | Path) -> DistilledSet:
    """Load a distilled set; opening it runs none of its content.

    Parameters
    ----------
    path : path
        The folder that the stage `distill` writes, or the ``.safetensors`` file in it.

    Raises
    ------
    DdbiasError
        If there is no such file, it is damaged, is no distilled set, or holds indices instead of images
        (`IndicesOnlyError`).

    Examples
    --------
    >>> from ddbias import load_distilled
    >>> chosen = load_distilled("results/digits/quick/distilled/digits_fg/0.95/random/uniform/ipc10/seed0")
    >>> images, labels = chosen.tensors()
    >>> images.shape, labels[:3]
    (torch.Size([100, 3, 16, 16]), tensor([0, 0, 0]))
    """
    path = Path(path)
    if path.is_dir():
        path = path / FILE_NAME
    tensors, meta = read_set(path)
    if "images" not in tensors:
        raise IndicesOnlyError(
            f"{path} (distiller {meta.get('distiller')}) holds only indices of training samples; open its train.arrow "
            "with ddbias.load_split instead"
        )
    return DistilledSet(tensors["images"], tensors["labels"], meta, soft_labels.of_tensors(tensors, meta))
