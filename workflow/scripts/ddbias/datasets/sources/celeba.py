"""CelebA: 202,599 faces with 40 yes-or-no attributes, two of which are label and bias, from a local copy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ddbias.base import lookup
from ddbias.base.errors import DdbiasError, unknown
from ddbias.data import store
from ddbias.datasets.sources.image_files import decode_splits, fingerprint
from ddbias.datasets.sources.images import check_size
from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "source": {
        "celeba": {
            "description": (
                "CelebA (Liu et al. arXiv 1411.7766), a local copy: the middle 178x178 pixels, 64x64 unless the"
                " data set has a `size`."
            ),
            "use": "load_celeba",
            "options": {
                "folder": {
                    "type": "string",
                    "default": "celeba",
                    "description": "Searched in the working directory and the folders of `data`.",
                },
                "label": {
                    "type": "string",
                    "default": "Attractive",
                    "description": "Which of the 40 attributes is the label (FairDD).",
                },
                "attribute": {
                    "type": "string",
                    "default": "Male",
                    "description": "Which one is the bias attribute (FairDD).",
                },
            },
            "facts": {"train": 162_770, "test": 19_962, "classes": 2, "channels": 3, "side": 64},
            "seconds": 2e-3,
            "files": ["folder"],
        },
    },
}
NORMALISE = {"celeba": ((0.5063, 0.4258, 0.3832), (0.2676, 0.2453, 0.2410))}  # FairDD

IMAGES, ATTRIBUTES, PARTITION = "img_align_celeba", "list_attr_celeba", "list_eval_partition"
ENDINGS = (".txt", ".csv")  # of the lists: as distributed, and as Kaggle's copy has them
SPLITS = {"train": "0", "test": "2"}  # 1 is the validation part
KAGGLE_HEAD = "image_id"  # the name of the first column
CROP, SIZE = 178, 64


def load_celeba(
    *,
    folder: str = "celeba",
    label: str = "Attractive",
    attribute: str = "Male",
    size: int | None = None,
    data: Mapping[str, object],
) -> dict[str, RawImages]:
    """Return CelebA (Liu et al., arXiv:1411.7766): the middle 178x178 pixels of each face, resized (as FairDD does).

    Parameters
    ----------
    folder : str
        Holds ``img_align_celeba/*.jpg``, ``list_attr_celeba.txt`` and ``list_eval_partition.txt``, as torchvision
        does, or Kaggle's copy, ``img_align_celeba/img_align_celeba/*.jpg`` and lists ``.csv``; looked for in the
        working directory, then as `ddbias.base.lookup.places` says.
    label, attribute : str
        Which of the 40 attributes are the label and the bias attribute; 0 is no, 1 is yes.
    size : int or None
        Side in pixels to resize to while decoding; None is 64.
    data : mapping
        ``root`` and ``mirrors``.

    Raises
    ------
    DdbiasError
        For a missing file, a damaged list, an unknown attribute, and images that are missing or cannot be decoded.
    """
    check_size(size)
    root = lookup.find_folder(folder, data)
    lists = {name: _find_list(root, name) for name in (ATTRIBUTES, PARTITION)}
    if label == attribute:
        raise DdbiasError(f"label and attribute are both '{label}'; choose two of CelebA's attributes")
    codes = _codes(lists[ATTRIBUTES], label, attribute)
    faces = root / IMAGES / IMAGES if (root / IMAGES / IMAGES).is_dir() else root / IMAGES
    names = _splits(faces, lists[PARTITION], codes)
    paths = {split: [faces / name for name in part] for split, part in names.items()}
    images = decode_splits(paths, size=size or SIZE, crop=CROP, mode="RGB")
    provenance = {
        "source": "celeba",
        "files": {
            **{split: fingerprint(faces, part) for split, part in names.items()},
            **{path.name: store.file_sha256(path) for path in lists.values()},
        },
        "citation": "Z. Liu, P. Luo, X. Wang, X. Tang, Deep learning face attributes in the wild, arXiv:1411.7766",
        "licence": "non-commercial research only",
    }
    found = {split: np.array([codes[name] for name in part], np.int64) for split, part in names.items()}
    called = [[f"not {name}", name] for name in (label, attribute)]
    return {
        split: RawImages(images[split], found[split][:, 0], called[0], found[split][:, 1], called[1], provenance)
        for split in names
    }


def _find_list(root: Path, name: str) -> Path:
    found = next((root / (name + ending) for ending in ENDINGS if (root / (name + ending)).is_file()), None)
    if found is None:
        wanted = f"{IMAGES}/, {ATTRIBUTES}.txt and {PARTITION}.txt, or the same lists as .csv"
        raise DdbiasError(f"{root} has no {name}.txt; CelebA has {wanted}")
    return found


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields, between blanks or commas, of every line that is not empty."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                fields = line.replace(",", " ").split()
                if fields:
                    yield number, fields
    except UnicodeDecodeError as error:
        raise DdbiasError(f"{path} is not a text file; take an intact copy") from error


def _codes(path: Path, label: str, attribute: str) -> dict[str, tuple[int, int]]:
    """Return label and attribute by file name: a line with the count, one with the names, then -1 or 1 for each.

    Kaggle's list has one line ``image_id,<names>`` instead of the first two.
    """
    lines = _lines(path)
    try:
        first = next(lines)[1]
        count, known = (None, first[1:]) if first[0] == KAGGLE_HEAD else (int(first[0]), next(lines)[1])
    except (StopIteration, ValueError) as error:
        raise DdbiasError(f"{path} does not begin with a count and a line of names; take an intact copy") from error
    for name in (label, attribute):
        if name not in known:
            raise unknown("attribute of CelebA", name, known)
    places = 1 + known.index(label), 1 + known.index(attribute)
    codes = {}
    for number, fields in lines:
        values = [fields[place] for place in places] if len(fields) == 1 + len(known) else [""]
        if not set(values) <= {"-1", "1"}:
            raise DdbiasError(
                f"line {number} of {path} is not a name and {len(known)} values -1 or 1; take an intact one"
            )
        if fields[0] in codes:
            raise DdbiasError(f"line {number} of {path} lists {fields[0]} a second time; take an intact copy")
        codes[fields[0]] = (int(values[0] == "1"), int(values[1] == "1"))
    if count not in (None, len(codes)):
        raise DdbiasError(f"{path} announces {count:,} images and lists {len(codes):,}; take an intact copy")
    return codes


def _splits(faces: Path, path: Path, codes: Mapping[str, tuple[int, int]]) -> dict[str, list[str]]:
    """Return the file names of both splits in the order of the list, all of them with attributes and an image."""
    if not faces.is_dir():
        raise DdbiasError(f"{faces.parent} has no folder {IMAGES}; unpack img_align_celeba.zip there")
    there = {path.name for path in faces.iterdir()}
    names: dict[str, list[str]] = {split: [] for split in SPLITS}
    listed: set[str] = set()
    for number, fields in _lines(path):
        if number == 1 and fields[0] == KAGGLE_HEAD:
            continue
        if len(fields) != 2 or fields[1] not in ("0", "1", "2"):
            raise DdbiasError(f"line {number} of {path} is not a file name and 0, 1 or 2; take an intact copy")
        if fields[0] in listed:
            raise DdbiasError(f"line {number} of {path} lists {fields[0]} a second time; take an intact copy")
        listed.add(fields[0])
        split = next((split for split, code in SPLITS.items() if code == fields[1]), None)
        if split is None:
            continue
        if fields[0] not in codes:
            raise DdbiasError(f"{fields[0]}, in line {number} of {path}, is not in {ATTRIBUTES}; take an intact copy")
        if fields[0] not in there:
            raise DdbiasError(f"{faces / fields[0]}, in line {number} of {path}, is missing; complete the copy")
        names[split].append(fields[0])
    for split, part in names.items():
        if not part:
            raise DdbiasError(f"{path} lists no image of the {split} part ({SPLITS[split]}); take an intact copy")
    return names
