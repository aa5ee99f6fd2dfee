"""Finished sets in the forms in which they are published, read without running code of their authors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ddbias.base import lookup
from ddbias.base.errors import DdbiasError, nearest
from ddbias.base.names import composed
from ddbias.data import store
from ddbias.data.distilled import folder_names
from ddbias.data.split import Split
from ddbias.datasets.sources import parquet
from ddbias.datasets.sources.file_attributes import ATTRIBUTE, read_fields
from ddbias.datasets.sources.image_files import decode_splits, fingerprint, list_images
from ddbias.datasets.sources.pth import read_plain

TENSORS = (".pt", ".pth", ".safetensors")
ORDER = "order"
SETS = "data"  # of the files of DC and DM: [[images, labels], ...]


@dataclass(frozen=True)
class Given:
    """What files hold.

    Attributes
    ----------
    images : Tensor, shape (N, C, H, W) unless the file is wrong
    labels : Tensor, list of str, or None
        None: in the order of the classes.
    files : list of dict
        Name and SHA-256 of what was read.
    """

    images: torch.Tensor
    labels: torch.Tensor | Sequence[str] | None
    files: list[dict]


def read(settings: Mapping, split: Split, data: Mapping[str, object]) -> Given:
    """Return what the file of a distiller `external` holds; its options are described there.

    Raises `DdbiasError` for what is missing, damaged or of no form that is known.
    """
    file, suffix = settings["file"], Path(settings["file"]).suffix.lower()
    if suffix == parquet.ENDING:
        return _parquet(settings, split, lookup.find_files(file, data, parquet.ENDING))
    if suffix not in TENSORS:
        places = [folder / file for folder in (Path(), *lookup.places(data))]
        if any(map(Path.is_file, places)):
            raise DdbiasError(f"{file} is none of {', '.join(TENSORS)}, {parquet.ENDING}; export it as one")
        return _folder(settings, split, lookup.find_folder(file, data), data)
    path, labels = lookup.find(file, data), settings["labels"]
    images, inside = _tensors(path, settings)
    if labels in (None, ORDER):
        if labels is None and inside is None:
            raise DdbiasError(f"{path} holds no labels; set labels: to their file, or to order")
        return Given(images, None if labels == ORDER else _by_name(inside, path, split), [_named(path)])
    if Path(labels).suffix.lower() not in TENSORS:
        raise DdbiasError(
            f"labels: {labels} is neither order nor a file {', '.join(TENSORS)}; give the labels of {path} as one"
        )
    other = lookup.find(labels, data)
    theirs, _ = _tensors(other, {**settings, "image": settings["label"]}, of_all=True)
    return Given(images, theirs, [_named(path), _named(other)])


def class_numbers(given: Given, names: Sequence[str], ipc: int, name: str) -> torch.Tensor:
    """Return the labels (N,) int64 as numbers of the classes with some names.

    Text is the name of a class, or of its folder in an export, or else its number.

    Raises
    ------
    DdbiasError
        For labels that are soft, no whole numbers, of another number than the images, outside the classes, or numbers
        where the names of the classes are numbers in another order.
    """
    labels = given.labels
    if labels is None:
        labels = torch.arange(len(names)).repeat_interleave(ipc)
        _refuse_two_orders(labels, names, name)
        return labels
    if not isinstance(labels, torch.Tensor):
        labels, names = [composed(label) for label in labels], [composed(known) for known in names]
        known = [dict(zip(part, range(len(names)), strict=True)) for part in (names, folder_names(list(names)))]
        numbers = {str(number): number for number in range(len(names))}
        by_name = max((*known, numbers), key=lambda part: sum(label in part for label in labels))
        strange = next((label for label in labels if label not in by_name), None)
        if strange is not None:
            raise DdbiasError(
                f"{name} has the label '{strange}', which is no class of the data set ({', '.join(names)}); rename it, "
                f"or set labels: order if its images are class after class.{nearest(strange, names)}"
            )
        return torch.tensor([by_name[label] for label in labels])
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise DdbiasError(f"{name} has soft labels ({labels.shape[0]}x{labels.shape[1]}); give hard ones")
    if labels.numel() != len(given.images):
        raise DdbiasError(f"{name} has {labels.numel():,} labels for {len(given.images):,} images; give one for each")
    labels = labels.reshape(-1)
    whole = labels.to(torch.int64)
    wrong = (whole.to(labels.dtype) != labels) | (whole < 0) | (whole >= len(names))
    if bool(wrong.any()):
        raise DdbiasError(
            f"{name} has the label {labels.tolist()[int(wrong.nonzero()[0])]}; the classes are 0 to {len(names) - 1}"
        )
    _refuse_two_orders(whole, names, name)
    return whole


def _refuse_two_orders(labels: torch.Tensor, names: Sequence[str], name: str) -> None:
    """Refuse numbers for classes whose names are numbers in another order: folders 0, 1, 10, 2, sorted as text."""
    if not all(class_name.isdecimal() for class_name in names):
        return
    by_number = sorted(names, key=int)
    for label in labels.unique().tolist():
        if names[label] != by_number[label]:
            raise DdbiasError(
                f"the label {label} of {name} may be the class '{names[label]}', the data set's number {label}, or "
                f"'{by_number[label]}'; give a folder <class>/<file>, which says the class, or, if numbers are names, "
                "set label_names: of the data set to them in their order"
            )


def _mode(split: Split) -> str:
    return "L" if split.shape[0] == 1 else "RGB"


def _named(path: Path) -> dict:
    return {"name": path.name, "sha256": store.file_sha256(path)}


def _folder(settings: Mapping, split: Split, folder: Path, data: Mapping[str, object]) -> Given:
    names, labels, table = list_images(folder), settings["labels"], None
    if labels == ORDER:
        raise DdbiasError(f"labels: order is for tensors and Parquet; use folders <label>/<file> in {folder}")
    if labels:
        table = {"from": "csv", "file": labels, "path": settings["image"], "attribute": settings["label"]}
        table["label"] = table["attribute"]
        texts = [field[ATTRIBUTE] for field in read_fields(table, {"set": (folder, names)}, data)["set"]]
    else:
        texts = [field["label"] for field in read_fields(None, {"set": (folder, names)}, data)["set"]]
    files = [fingerprint(folder, names)] + ([_named(lookup.find(labels, data))] if labels else [])
    images = decode_splits({"set": [folder / name for name in names]}, size=None, mode=_mode(split))["set"]
    return Given(torch.from_numpy(images), texts, files)


def _parquet(settings: Mapping, split: Split, paths: list[Path]) -> Given:
    image, label, order = settings["image"], settings["label"], settings["labels"] == ORDER
    if settings["labels"] not in (None, ORDER):
        raise DdbiasError("labels: of a Parquet file are a column of it (label:), or order")
    table, path = parquet.read_parts(paths, (image,) if order else (image, label), parquet.ATTRIBUTE), paths[0]
    labels = None
    if not order:
        column = parquet.column_of(table, path, label)
        values, names = column.values.to_pylist(), column.names
        if None in values or not all(isinstance(value, int | str) for value in values):
            raise DdbiasError(f"column '{label}' of {path} must hold whole numbers or names")
        names = _as_in(split.meta["label_names"], names or [])
        labels = [names[value] if value in range(len(names)) else str(value) for value in values]
    pixels = parquet.encoded_images(table, path, image, None, _mode(split))
    return Given(torch.from_numpy(pixels), labels, [_named(each) for each in paths])


def _as_in(known: Sequence[str], names: Sequence[str]) -> list[str]:
    """Return names as a data set spells them where nothing but letters' case, blanks and signs differs."""

    def plain(name: str) -> str:
        return "".join(filter(str.isalnum, name.casefold()))

    spelt = {plain(name): name for name in known}
    return [spelt.get(plain(name), name) for name in names] if len(spelt) == len(known) else list(names)


def _by_name(labels: torch.Tensor | None, path: Path, split: Split) -> torch.Tensor | list[str] | None:
    """Return the names of labels that are numbers in a file of ours, which says the names; else the labels."""
    names = _stated(path).get("label_names")
    numbers = isinstance(names, list) and labels is not None and labels.ndim == 1 and labels.dtype == torch.int64
    if not numbers or sorted(map(str, names)) != sorted(split.meta["label_names"]):
        return labels
    inside = ((labels >= 0) & (labels < len(names))).all()
    return [str(names[label]) for label in labels.tolist()] if inside else labels


def _tensors(path: Path, settings: Mapping, *, of_all: bool = False) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the images of a file of tensors and, if it has some, their labels.

    `of_all`: what is not several sets is that of every experiment, as labels may be.
    """
    if path.suffix.lower() == ".safetensors":
        content = safetensors(path)
        if _stated(path).get("formation", 1) != 1:
            raise DdbiasError(
                f"{path} stores several training images in one; write them with "
                "ddbias.load_distilled(...).to_image_folder and give that folder"
            )
    else:
        content = read_plain(path)
    images, labels = _parts(content, settings, path, of_all)
    return images.detach(), labels


def _stated(path: Path) -> dict:
    """Return what the metadata of a set of ours say; nothing of another file."""
    from safetensors import safe_open

    if path.suffix.lower() != ".safetensors":
        return {}
    with safe_open(str(path), framework="np") as file:
        text = (file.metadata() or {}).get(store.META_KEY, "{}")
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file by name; raises `DdbiasError` for another file."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise DdbiasError(f"{path} is damaged or no safetensors file ({str(error).splitlines()[0]})") from error


def _parts(content: object, settings: Mapping, path: Path, of_all: bool) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Find images and labels in what a file holds: a tensor, [images, labels], several of these, or a dictionary."""
    if isinstance(content, Mapping):
        names = [next((n for n in (settings[what], f"{settings[what]}s") if n in content), None) for what in PARTS]
        if names[0] is not None:
            content = [content[name] for name in names if name is not None]
        elif SETS in content:
            content = content[SETS]
        else:
            known = sorted(map(str, content))
            raise DdbiasError(
                f"{path} has no '{settings['image']}'; it has: {', '.join(known) or 'nothing'}; set image:"
            )
    if isinstance(content, list | tuple) and content and all(isinstance(part, list | tuple) for part in content):
        if settings["experiment"] >= len(content):
            raise DdbiasError(f"{path} holds the sets 0 to {len(content) - 1}; set experiment: to one of them")
        content = content[settings["experiment"]]
    elif settings["experiment"] and not of_all:
        raise DdbiasError(f"{path} holds one set, which is experiment: 0; correct it")
    parts = list(content) if isinstance(content, list | tuple) else [content]
    tensors = [isinstance(part, torch.Tensor) and part.layout == torch.strided and not part.is_meta for part in parts]
    if len(parts) == 2 and tensors == [True, False]:
        raise DdbiasError(f"the labels in {path} are no tensor; store them as one of whole numbers")
    if len(parts) not in (1, 2) or not all(tensors):
        raise DdbiasError(f"{path} holds no tensor of images, perhaps with one of labels; see docs/own-set.md")
    return parts[0], parts[1] if len(parts) == 2 else None


PARTS = ("image", "label")
