"""The published .pth files of CMNIST-DD and CCIFAR10-DD: images with their bias, both splits in one file."""

from __future__ import annotations

import errno
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from ddbias.base import lookup
from ddbias.base.errors import DdbiasError, nearest
from ddbias.data import store
from ddbias.datasets.sources.codes import Column, check_no_gap, encode
from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "source": {
        "pth": {
            "description": (
                "A published .pth file of CMNIST-DD or CCIFAR10-DD (Lu et al. arXiv 2403.16028), both splits in one."
            ),
            "use": "load_pth",
            "required": ["file"],
            "options": {
                "file": {
                    "type": "string",
                    "description": "Searched in the working directory and the folders of `data`.",
                },
                "label_names": {"$ref": "#/$defs/class_names"},
                "attribute_names": {"$ref": "#/$defs/class_names"},
            },
            "files": ["file"],
        },
    },
}
NORMALISE = {"pth": "none"}  # Lu et al.

SPLITS = {"train": "training", "test": "testing"}
IMAGES, LABELS, ATTRIBUTES = "imgs", "labs", "attrs"
WRAPPERS = ("data", "save_data")  # published usage has both, and neither
TOLERANCE = 1e-3  # of a grey level; float32 rounding is below 1e-4
_AT_ONCE = 256  # images
# NumPy's numbers, which published files hold beside their tensors (accuracies), under the names of both its versions.
_SCALAR = np.float64(0).__reduce__()[0]
NUMBERS = [(_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
NUMBERS += [np.dtype, *(type(np.dtype(kind)) for kind in ("f4", "f8", "i4", "i8"))]


def load_pth(
    *,
    file: str,
    label_names: list[str] | None = None,
    attribute_names: list[str] | None = None,
    data: Mapping[str, object],
) -> dict[str, RawImages]:
    """Return the images of a file as published by Lu et al. (arXiv:2403.16028), restored to the exact uint8 pixels.

    The file holds ``training_imgs``, ``training_labs``, ``training_attrs`` and the same three with ``testing_``,
    perhaps in a dictionary under ``data`` or ``save_data``. Images are (N, C, H, W): floats uint8 / 255, or uint8.

    Parameters
    ----------
    file : str
        Looked for in the working directory, then as `ddbias.base.lookup.places` says. Read with ``weights_only``:
        opening it never runs its code.
    label_names, attribute_names : list of str or None
        Names in the order of the numbers; None takes the numbers.
    data : mapping
        ``root`` and ``mirrors``.

    Raises
    ------
    DdbiasError
        For a file that is missing, damaged, more than tensors, or lacks a field; labels that are negative or have
        gaps; images that are normalised or of another shape.
    """
    path = lookup.find(file, data)
    fields = _fields(path)
    images = {split: _pixels(fields, f"{prefix}_{IMAGES}", path) for split, prefix in SPLITS.items()}
    if images["train"].shape[1:] != images["test"].shape[1:]:
        shapes = " and ".join("x".join(map(str, part.shape[1:])) for part in images.values())
        raise DdbiasError(f"the training and testing images of {path} differ in shape ({shapes}); take an intact copy")
    labels, names = _codes("label", LABELS, fields, path, images, label_names)
    check_no_gap(labels[0], names, f"training_{LABELS} of {path}")
    tags, tag_names = _codes("attribute", ATTRIBUTES, fields, path, images, attribute_names)
    provenance = {
        "source": "pth",
        "files": {"name": path.name, "sha256": store.file_sha256(path)},
        "citation": "Y. Lu et al., Exploring the impact of dataset bias on dataset distillation, arXiv:2403.16028",
        "licence": "as stated by the provider of the file",
    }
    return {
        split: RawImages(images[split], labels[i], names, tags[i], tag_names, provenance)
        for i, split in enumerate(SPLITS)
    }


def read_plain(path: Path) -> object:
    """Return the tensors, numbers and containers of a file of ``torch.save``; code in it does not run.

    Raises `DdbiasError` for a file that is damaged or holds anything else.
    """
    try:
        with torch.serialization.safe_globals(NUMBERS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        raise DdbiasError(
            f"{path} is damaged, or holds more than tensors, which could run code of its author; convert it to tensors "
            "where you trust it"
        ) from error
    except Exception as error:  # a damaged file may raise anything
        if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):  # torch says EINVAL for a cut file
            raise
        raise DdbiasError(f"{path} is damaged or not a file of torch.save; take an intact copy") from error


def _fields(path: Path) -> Mapping[str, object]:
    """Return the six fields, mapped from the file where its format allows."""
    content = read_plain(path)
    inner = next((content[key] for key in WRAPPERS if isinstance(content, Mapping) and key in content), content)
    if not isinstance(inner, Mapping):
        raise DdbiasError(
            f"{path} holds a {type(inner).__name__}, not a dictionary of tensors; take the published file"
        )
    for prefix in SPLITS.values():
        for suffix in (IMAGES, LABELS, ATTRIBUTES):
            name = f"{prefix}_{suffix}"
            if name not in inner:
                known = [str(key) for key in inner]
                raise DdbiasError(
                    f"{path} has no field '{name}'; it has: {', '.join(known) or 'none'}.{nearest(name, known)}"
                )
    return inner


def _pixels(fields: Mapping[str, object], name: str, path: Path) -> np.ndarray:
    """Return uint8 images (N, C, H, W) from uint8 ones or from floats uint8 / 255, and from nothing else."""
    images = fields[name]
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or images.shape[1] not in (1, 3) or not len(images):
        shape = "x".join(map(str, images.shape)) if isinstance(images, torch.Tensor) else type(images).__name__
        raise DdbiasError(
            f"{name} of {path} is {shape}; it must be a tensor: images x channels (1 or 3) x rows x columns"
        )
    if images.numel() * images.element_size() > images.untyped_storage().nbytes():
        raise DdbiasError(f"{name} of {path} claims more images than the file holds; take an intact copy")
    if images.dtype == torch.uint8:
        return images.contiguous().numpy().copy()
    if not images.dtype.is_floating_point:
        raise DdbiasError(f"{name} of {path} is {images.dtype}; it must be uint8, or floating point from 0 to 1")
    pixels = np.empty(tuple(images.shape), np.uint8)
    for start in range(0, len(images), _AT_ONCE):
        levels = images[start : start + _AT_ONCE].to(torch.float64) * 255
        whole = levels.round()
        wrong = ~((levels - whole).abs() <= TOLERANCE) | (whole < 0) | (whole > 255)  # NaN is wrong, too
        if wrong.any():
            value = levels[wrong][0].item() / 255
            raise DdbiasError(
                f"{name} of {path} holds {value:.6g}, which is no whole number 0 to 255 divided by 255; "
                "take images that are not normalised"
            )
        pixels[start : start + _AT_ONCE] = whole.to(torch.uint8).numpy()
    return pixels


def _codes(
    what: str,
    suffix: str,
    fields: Mapping[str, object],
    path: Path,
    images: Mapping[str, np.ndarray],
    names: list[str] | None,
) -> tuple[list[np.ndarray], list[str]]:
    """Return the labels or the attributes of both splits, checked against the number of images, and their names."""
    columns = []
    for split, prefix in SPLITS.items():
        name, values = f"{prefix}_{suffix}", fields[f"{prefix}_{suffix}"]
        if isinstance(values, list | tuple) and all(type(value) is int for value in values):
            values = torch.tensor(values)
        whole = isinstance(values, torch.Tensor) and not (values.is_floating_point() or values.is_complex())
        if not whole or tuple(values.shape) != (len(images[split]),):
            raise DdbiasError(f"{name} of {path} must be {len(images[split]):,} whole numbers, one for each image")
        columns.append(Column(pa.array(values.to(torch.int64).numpy()), path, name, None))
    return encode(what, columns, names)
