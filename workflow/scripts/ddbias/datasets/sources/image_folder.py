"""Your own image files in folders, with a label and, where it is known, an attribute each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ddbias.base import lookup
from ddbias.base.errors import DdbiasError, nearest
from ddbias.base.names import composed
from ddbias.data import store
from ddbias.datasets.sources.codes import check_few, shown
from ddbias.datasets.sources.file_attributes import ATTRIBUTE, LABEL, Fields, Splits, divide, read_fields
from ddbias.datasets.sources.image_files import decode_splits, fingerprint, list_images
from ddbias.datasets.sources.images import check_size
from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "source": {
        "image_folder": {
            "description": (
                "Your own image files, <label>/<file> in a folder for each split, in the order of their paths."
            ),
            "use": "load_image_folder",
            "required": ["train", "test"],
            "options": {
                "train": {
                    "type": "string",
                    "description": "Training folder; searched in the working directory and the folders of `data`.",
                },
                "test": {"type": "string", "description": "Test folder."},
                "attribute": {
                    "type": ["object", "null"],
                    "required": ["from"],
                    "additionalProperties": False,
                    "properties": {
                        "from": {"enum": ["folder", "csv", "name"]},
                        "file": {"type": "string"},
                        "path": {"type": "string"},
                        "attribute": {"type": "string"},
                        "label": {"type": "string"},
                        "split": {"type": "string"},
                        "pattern": {"type": "string"},
                    },
                    "default": None,
                    "description": (
                        "{from: folder} reads it from <label>/<attribute>/<file>. {from: csv, file:, path:, "
                        "attribute:, label:, split:} names a CSV file and its columns; a path is any end of the "
                        "image's own, or its name alone, with or without file ending; label: and split: may be left "
                        "out. split: tells the images of one folder that is named for train and test apart (0 or "
                        "train, 2 or test; 1 or val is left out). {from: name, pattern:} is a regular expression "
                        "that the whole file name matches, with groups (?P<attribute>...) and perhaps "
                        "(?P<label>...). null: the attribute is unknown."
                    ),
                },
                "label_names": {"$ref": "#/$defs/file_names"},
                "attribute_names": {"$ref": "#/$defs/file_names"},
            },
            "seconds": 2e-3,
            "files": ["train", "test", "attribute.file"],
        },
    },
}


def load_image_folder(
    *,
    train: str,
    test: str,
    attribute: Mapping[str, str] | None = None,
    label_names: list[str] | None = None,
    attribute_names: list[str] | None = None,
    size: int | None = None,
    data: Mapping[str, object],
) -> dict[str, RawImages]:
    """Return the images of two folders, in the order of their relative paths.

    Parameters
    ----------
    train, test : str
        Folders, the same one where a CSV file tells the splits apart; relative ones are looked for in the working
        directory, then as `ddbias.base.lookup.places` says. Layout
        ``<label>/<file>``, or ``<label>/<attribute>/<file>``; any when a CSV file or a pattern tells the label.
    attribute : mapping or None
        Where the bias attribute is found, see `ddbias.datasets.sources.file_attributes.read_fields`; None if it is
        unknown.
    label_names, attribute_names : list of str or None
        Labels and attributes as the files state them, in the order of their numbers; None sorts those that there are.
    size : int or None
        Side in pixels to resize to while decoding; needed when the images differ in size.
    data : mapping
        ``root`` and ``mirrors``.

    Raises
    ------
    DdbiasError
        For a missing or empty folder, an image that cannot be decoded or has no label or attribute, a label that only
        one of the splits has, and wrong settings.
    """
    check_size(size)
    folders = {"train": lookup.find_folder(train, data), "test": lookup.find_folder(test, data)}
    listed = {folder: list_images(folder) for folder in dict.fromkeys(folders.values())}
    splits = divide(attribute, {split: (folder, listed[folder]) for split, folder in folders.items()}, data)
    fields = read_fields(attribute, splits, data)
    labels, label_names = _encode(LABEL, fields, splits, label_names)
    _check_same_labels(labels, label_names, folders)
    tags, tag_names = ({}, None)
    if attribute is not None:
        tags, tag_names = _encode(ATTRIBUTE, fields, splits, attribute_names)
    images = decode_splits({s: [folder / name for name in names] for s, (folder, names) in splits.items()}, size=size)
    provenance = {
        "source": "image_folder",
        "files": {split: fingerprint(*part) for split, part in splits.items()},
        "licence": "as stated by the provider of the files",
    }
    if attribute is not None and "file" in attribute:
        table = lookup.find(attribute["file"], data)
        provenance["files"]["attribute"] = {"name": table.name, "sha256": store.file_sha256(table)}
    return {
        split: RawImages(images[split], labels[split], label_names, tags.get(split), tag_names, provenance)
        for split in folders
    }


def _encode(
    what: str, fields: Mapping[str, Fields], splits: Splits, names: Sequence[str] | None
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Number the labels or the attributes of all splits."""
    if names is None:
        names = sorted({field[what] for part in fields.values() for field in part})
        where = f"the {what} of the images in {next(iter(splits.values()))[0]}"
        mend = f"take it from another part of the path, or set {what}_names"
        check_few(what, len(names), sum(map(len, fields.values())), where, mend)
    position = {composed(name): number for number, name in enumerate(names)}
    codes = {}
    for split, part in fields.items():
        folder, files = splits[split]
        for file, field in zip(files, part, strict=True):
            if field[what] not in position:
                raise DdbiasError(
                    f"the {what} of {folder / file} is '{field[what]}', which is not among the {what} names "
                    f"({shown(list(position))}).{nearest(field[what], position)}"
                )
        codes[split] = np.array([position[field[what]] for field in part], np.int64)
    return codes, list(position)


def _check_same_labels(labels: Mapping[str, np.ndarray], names: Sequence[str], folders: Mapping[str, Path]) -> None:
    """Raise `DdbiasError` unless every label has an image in every split."""
    present = {split: {names[code] for code in set(codes.tolist())} for split, codes in labels.items()}
    for name in names:
        for split, folder in folders.items():
            if name not in present[split]:
                hint = nearest(name, sorted(present[split] - {name}))
                raise DdbiasError(
                    f"{folder} has no image of the label '{name}'; both splits need some of every label.{hint}"
                )
