"""MNIST and Fashion-MNIST: found, verified and unpacked here, read by torchvision.

torchvision verifies only what it downloads, unpacks beside the archives and does neither atomically. So the
archives are first brought, whole and verified, into ``<root>/<Name>/raw`` under a lock; torchvision then finds
them there. A mirror is only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ddbias.base import environment, lookup
from ddbias.data import store
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
    reader = _reader(name)
    root = lookup.root(data)
    provenance = {**CREDITS[name], "files": dict(reader.resources)}
    with locked(root / name):
        _prepare(reader, root / name / "raw", data)
        parts = {split: reader(str(root), train=split == "train", download=True) for split in ("train", "test")}
    return {
        split: RawImages(
            part.data.numpy()[:, None],
            part.targets.numpy().astype(np.int64),
            label_names or list(reader.classes),
            provenance=provenance,
        )
        for split, part in parts.items()
    }


def _reader(name: str) -> type:
    """Return torchvision's class, kept from reading the pickled ``processed/*.pt`` of its old versions."""
    from ddbias.datasets.sources.torchvision_compat import torchvision

    return type(name, (getattr(torchvision.datasets, name),), {"_check_legacy_exist": lambda self: False})


def _prepare(reader: type, raw: Path, data: Mapping[str, object]) -> None:
    """Leave in `raw` either all unpacked files, verified, or all archives, verified, and no bad unpacked file."""
    bad = [raw / name for name, md5 in UNPACKED[reader.__name__].items() if file_md5(raw / name) != md5]
    if not bad:
        return
    for path in bad:
        path.unlink(missing_ok=True)
    folders = [place / reader.__name__ / "raw" for place in lookup.places(data)]
    for file, md5 in reader.resources:
        found = next((folder / file for folder in folders if (folder / file).is_file()), None)
        if found is None:
            _download(reader, file, md5, raw, folders)
            continue
        content = read_verified(found, md5)
        if found.parent != raw:
            store.write_bytes(raw / file, content)


def _download(reader: type, file: str, md5: str, raw: Path, folders: list[Path]) -> None:
    """Download one archive from torchvision's addresses, whole and verified."""
    download(
        [f"{mirror}{file}" for mirror in reader.mirrors],
        raw / file,
        md5,
        missing=f"no {file} of {reader.__name__} in {lookup.listing(folders)}",
        remedy=f"put the four .gz files into {raw}, or name a folder that holds {reader.__name__}/raw/*.gz under "
        f"data.mirrors or in {environment.DATA}",
    )
