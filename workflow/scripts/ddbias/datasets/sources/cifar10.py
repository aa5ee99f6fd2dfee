"""CIFAR-10: the original files as torchvision keeps them, else JPEG copies, else a download."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from ddbias.base import environment, lookup
from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger
from ddbias.datasets.sources.archive import download, locked, read_verified
from ddbias.datasets.sources.parquet import load_parquet
from ddbias.datasets.sources.plain_pickle import read_plain_pickle
from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "source": {
        "cifar10": {
            "description": (
                "CIFAR-10, 50,000 train and 10,000 test images of 32x32 pixels: torchvision's "
                "cifar-10-batches-py/ or cifar-10-python.tar.gz, else the JPEG copies "
                "cifar10/{train,test}.parquet (not bit-exact), else a download."
            ),
            "use": "load_cifar10",
            "facts": {
                "train": 50_000,
                "test": 10_000,
                "classes": 10,
                "channels": 3,
                "side": 32,
                "smallest_class": 5000,
            },
        },
    },
}
NORMALISE = {"cifar10": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))}  # DC, LfF

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
SHAPE = (3, 32, 32)
COPIES = "cifar10"  # folder of the JPEG copies
CREDITS = {
    "source": "cifar10",
    "citation": "A. Krizhevsky, Learning multiple layers of features from tiny images, 2009",
    "licence": "no separate terms stated",
}


def load_cifar10(*, data: Mapping[str, object]) -> dict[str, RawImages]:
    """Return CIFAR-10: 50,000 training and 10,000 test images, RGB, 32x32.

    In this order: torchvision's ``cifar-10-batches-py/`` or ``cifar-10-python.tar.gz`` in any of the data folders
    (original pixels and order); ``cifar10/{train,test}.parquet``, JPEG copies, which are neither; the original
    archive, downloaded into ``data.root``.

    Parameters
    ----------
    data : mapping
        ``root`` and ``mirrors``, see `ddbias.base.lookup.places`.

    Raises
    ------
    DdbiasError
        If a file is damaged, or nothing is found and the archive cannot be downloaded.
    """
    from ddbias.datasets.sources.torchvision_compat import torchvision

    published = torchvision.datasets.CIFAR10
    places = lookup.places(data)
    place = _place(published, places)
    if place is not None:
        found = _originals(published, place)
    elif (copies := _copies(places)) is not None:
        return _from_copies(copies, data)
    else:
        found = _downloaded(published, places)
    files = {"train": published.train_list, "test": published.test_list}
    provenance = {**CREDITS, "files": {name: md5 for part in files.values() for name, md5 in part}}
    parts = {split: _join([found(name, md5) for name, md5 in part]) for split, part in files.items()}
    return {split: RawImages(images, labels, NAMES, provenance=provenance) for split, (images, labels) in parts.items()}


Reader = Callable[[str, str], tuple[np.ndarray, np.ndarray]]  # from name and MD5 of a batch to images and labels


def _place(published: type, places: list[Path]) -> Path | None:
    """Return the first folder that has the original batches, unpacked or not."""
    return next((p for p in places if _unpacked(published, p) or (p / published.filename).is_file()), None)


def _unpacked(published: type, place: Path) -> bool:
    names = [name for name, _ in (*published.train_list, *published.test_list)]
    return all((place / published.base_folder / name).is_file() for name in names)


def _originals(published: type, place: Path) -> Reader:
    """Return what reads the original batches in a folder that has them."""
    if not _unpacked(published, place):
        return _from_archive(published, place / published.filename)
    folder = place / published.base_folder
    return lambda name, md5: _batch(read_verified(folder / name, md5), folder / name)


def _from_archive(published: type, path: Path) -> Reader:
    """Read the batches from the verified archive; nothing is unpacked to the disk."""
    content = read_verified(path, published.tgz_md5)
    batches = {}
    wanted = {f"{published.base_folder}/{name}": name for name, _ in (*published.train_list, *published.test_list)}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            for member in archive:
                if member.name in wanted and member.isfile():
                    batches[wanted[member.name]] = archive.extractfile(member).read()
    except (tarfile.TarError, OSError, EOFError) as error:
        raise DdbiasError(f"{path} is not a readable archive ({error}); take an intact copy") from error
    lacking = next((name for name in wanted.values() if name not in batches), None)
    if lacking:
        raise DdbiasError(f"{path} holds no {lacking}; take an intact copy")
    return lambda name, md5: _batch(batches[name], path / published.base_folder / name)


def _batch(content: bytes, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return images uint8 (N, 3, 32, 32) and labels int64 (N,) of one verified batch."""
    batch = read_plain_pickle(content, path)
    images, labels = (batch.get("data"), batch.get("labels")) if isinstance(batch, dict) else (None, None)
    good = isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 2
    good = good and images.shape[1] == np.prod(SHAPE) and isinstance(labels, list) and len(labels) == len(images)
    if not good or not all(type(label) is int and 0 <= label < len(NAMES) for label in labels):
        raise DdbiasError(f"{path} does not hold images (N, 3072) with labels 0 to 9; take an intact copy")
    return images.reshape(-1, *SHAPE), np.array(labels, np.int64)


def _join(batches: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))


def _copies(places: list[Path]) -> Path | None:
    """Return the first folder that holds JPEG copies of both splits."""
    folders = (place / COPIES for place in places)
    return next((f for f in folders if all((f / f"{split}.parquet").is_file() for split in ("train", "test"))), None)


def _from_copies(folder: Path, data: Mapping[str, object]) -> dict[str, RawImages]:
    """Read JPEG copies, and say so."""
    logger.warning(
        "CIFAR-10 from the JPEG copies in %s: the pixels are not bit-exact and the order is not the original; "
        "for the original, put cifar-10-python.tar.gz into the data folder",
        folder,
    )
    # Absolute, so that it is found where it was seen.
    paths = {split: str((folder / f"{split}.parquet").absolute()) for split in ("train", "test")}
    parts = load_parquet(**paths, data=data)
    for split, part in parts.items():
        if part.images.shape[1:] != SHAPE:
            shape = "x".join(map(str, part.images.shape[1:]))
            raise DdbiasError(f"{paths[split]} holds images of shape {shape}, not 3x32x32; take copies of CIFAR-10")
        if part.label_names not in (NAMES, [str(number) for number in range(len(NAMES))]):
            raise DdbiasError(
                f"{paths[split]} has the classes {', '.join(part.label_names)}; they must be {', '.join(NAMES)}"
            )
    provenance = {
        **CREDITS,
        "files": parts["train"].provenance["files"],
        "note": "JPEG copies, not bit-exact CIFAR-10; original order unknown",
    }
    return {
        split: replace(part, label_names=NAMES, attributes=None, attribute_names=None, provenance=provenance)
        for split, part in parts.items()
    }


def _downloaded(published: type, places: list[Path]) -> Reader:
    """Download the archive into the first of the places, unless another job has just done so."""
    root = places[0]
    target = root / published.filename
    with locked(root):
        if not target.is_file():
            download(
                [published.url],
                target,
                published.tgz_md5,
                missing=f"neither {published.base_folder}/ nor {published.filename} nor {COPIES}/*.parquet in "
                f"{lookup.listing(places)}",
                remedy=f"put {published.filename} into {root}, or name a folder that holds one of these under "
                f"data.mirrors or in {environment.DATA}",
            )
    return _from_archive(published, target)
