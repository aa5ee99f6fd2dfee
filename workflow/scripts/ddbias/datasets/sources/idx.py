"""MNIST and Fashion-MNIST: read, with verification, from the published archives or from unpacked files.

Nothing is unpacked to the disk and no file is changed; an archive that is found nowhere is downloaded to
``<root>/<Name>/raw`` (torchvision's addresses and checksums). A file of the same name with other content belongs to the
user and is ignored.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ddbias.base import environment, lookup
from ddbias.base.log import logger
from ddbias.datasets.sources.archive import download, file_md5, locked, read_verified
from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "source": {
        "mnist": {
            "description": "MNIST, 60,000 train and 10,000 test digits of 28x28 pixels.",
            "use": "load_mnist",
            "facts": {
                "train": 60_000,
                "test": 10_000,
                "classes": 10,
                "channels": 1,
                "side": 28,
                "smallest_class": 5421,
            },
        },
        "fashion_mnist": {
            "description": "Fashion-MNIST, 60,000 train and 10,000 test garments of 28x28 pixels.",
            "use": "load_fashion_mnist",
            "facts": {
                "train": 60_000,
                "test": 10_000,
                "classes": 10,
                "channels": 1,
                "side": 28,
                "smallest_class": 6000,
            },
        },
    },
}
NORMALISE = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2861, 0.3530)}  # DC

# MD5 of the unpacked files; those of the archives are in torchvision's classes.
UNPACKED = {
    "MNIST": {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    },
    "FashionMNIST": {
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
}
CREDITS = {
    "MNIST": {
        "source": "mnist",
        "citation": "Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, Gradient-based learning applied to document "
        "recognition, 1998",
        "licence": "no separate terms stated",
    },
    "FashionMNIST": {
        "source": "fashion_mnist",
        "citation": "H. Xiao, K. Rasul, R. Vollgraf, Fashion-MNIST, arXiv:1708.07747",
        "licence": "MIT, (c) 2017 Zalando SE",
    },
}


def load_mnist(*, data: Mapping[str, object]) -> dict[str, RawImages]:
    """Return MNIST: 60,000 training and 10,000 test digits, grey, 28x28, in the original order.

    Parameters
    ----------
    data : mapping
        ``root`` and ``mirrors``, see `ddbias.base.lookup.places`.

    Raises
    ------
    DdbiasError
        If an archive is damaged, or is found nowhere and cannot be downloaded.
    """
    return _load("MNIST", [str(digit) for digit in range(10)], data)


def load_fashion_mnist(*, data: Mapping[str, object]) -> dict[str, RawImages]:
    """Return Fashion-MNIST: 60,000 training and 10,000 test garments; as `load_mnist` otherwise."""
    return _load("FashionMNIST", None, data)


def _load(name: str, label_names: list[str] | None, data: Mapping[str, object]) -> dict[str, RawImages]:
    from ddbias.datasets.sources.torchvision_compat import torchvision

    published = getattr(torchvision.datasets, name)
    arrays = {file.split("-idx")[0]: _read(published, file, md5, data) for file, md5 in published.resources}
    provenance = {**CREDITS[name], "files": dict(published.resources)}
    return {
        split: RawImages(
            arrays[f"{prefix}-images"][:, None],
            arrays[f"{prefix}-labels"].astype(np.int64),
            label_names or list(published.classes),
            provenance=provenance,
        )
        for split, prefix in (("train", "train"), ("test", "t10k"))
    }


def _read(published: type, file: str, md5: str, data: Mapping[str, object]) -> np.ndarray:
    """Return the bytes of an idx file as an array of its shape."""
    content = _content(published, file, md5, data)
    dimensions = content[3]  # of the magic number: two zeros, the type (bytes), the number of dimensions
    shape = np.frombuffer(content, ">i4", dimensions, 4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _content(published: type, file: str, md5: str, data: Mapping[str, object]) -> bytes:
    name, plain = published.__name__, file.removesuffix(".gz")
    folders = [place / name / "raw" for place in lookup.places(data)]
    for folder in folders:
        if file_md5(folder / plain) == UNPACKED[name][plain]:
            return (folder / plain).read_bytes()
        if (folder / file).is_file():
            return gzip.decompress(read_verified(folder / file, md5))
        if (folder / plain).is_file():
            logger.info("passed over %s, which is not the published file", folder / plain)
    raw = folders[0]
    with locked(raw.parent):
        if not (raw / file).is_file():  # another job may have brought it meanwhile
            _download(published, file, md5, raw, folders)
    return gzip.decompress(read_verified(raw / file, md5))


def _download(published: type, file: str, md5: str, raw: Path, folders: list[Path]) -> None:
    """Download one archive from torchvision's addresses, whole and verified."""
    download(
        [f"{mirror}{file}" for mirror in published.mirrors],
        raw / file,
        md5,
        missing=f"no {file} of {published.__name__} in {lookup.listing(folders)}",
        remedy=f"put the four .gz files into {raw}, or name a folder that holds {published.__name__}/raw/*.gz under "
        f"data.mirrors or in {environment.DATA}",
    )
