"""UTKFace: faces with age group as the label and race as the attribute, from a local copy."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ddbias.base import lookup
from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger
from ddbias.base.seeding import derive
from ddbias.datasets.sources.image_files import decode_splits, fingerprint, list_images
from ddbias.datasets.sources.images import check_size
from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "source": {
        "utkface": {
            "description": (
                "UTKFace (Zhang et al. arXiv 1702.08423), a local copy, as FairDD takes it: age <20, 20-39, "
                ">=40, with race; 64x64 unless the data set has a `size`."
            ),
            "use": "load_utkface",
            "options": {
                "folder": {
                    "type": "string",
                    "default": "UTKFace",
                    "description": "Searched in the working directory and the folders of `data`.",
                },
            },
            "facts": {"train": 20_813, "test": 1200, "classes": 3, "channels": 3, "side": 64},
            "seconds": 2e-3,
            "files": ["folder"],
        },
    },
}
NORMALISE = {"utkface": ((0.61359, 0.47225, 0.40703), (0.25493, 0.23054, 0.22835))}  # FairDD

LABELS = ["<20", "20-39", ">=40"]
ATTRIBUTES = ["White", "Black", "Asian", "Indian"]  # race 4, "others", is left out
FIRST_AGES = (20, 40)  # of the second and the third label
TEST_PER_CELL = 100
SPLIT_SEED = 0  # fixed: the split is part of the data set, not of a run
SIZE = 64
STRANGE_SHARE = 0.01  # the published set has three misnamed files
_NAME = re.compile(r"(\d{1,3})_[01]_([0-4])_[^_]+")  # [age]_[gender]_[race]_[date&time]


def load_utkface(
    *, folder: str = "UTKFace", size: int | None = None, data: Mapping[str, object]
) -> dict[str, RawImages]:
    """Return UTKFace (Zhang et al., arXiv:1702.08423) with the labels of FairDD: age group, and race as attribute.

    Files are called ``[age]_[gender]_[race]_[date&time].jpg`` and lie in the folder or, if it holds none itself, in
    the folders in it. ``min(100, smallest cell)`` images of every (age group, race) are the test split: those whose
    names come first in the order of ``ddbias.base.seeding.derive(0, "utkface", <file name>)``. The rest is the training
    split. Both are sorted by file name.

    Parameters
    ----------
    folder : str
        Looked for in the working directory, then as `ddbias.base.lookup.places` says.
    size : int or None
        Side in pixels to resize to while decoding; None is 64.
    data : mapping
        ``root`` and ``mirrors``.

    Raises
    ------
    DdbiasError
        For a missing or empty folder, more than 1 % of file names of another form, a name that is there twice, a cell
        without an image or an age group without one left for training, and images that cannot be decoded.
    """
    check_size(size)
    root = lookup.find_folder(folder, data)
    paths = _by_name(root)
    cells = _cells(root, sorted(paths))
    test = _test_names(root, cells)
    names = {"train": [name for name in cells if name not in test], "test": [name for name in cells if name in test]}
    for label, called in enumerate(LABELS):
        if not any(cells[name][0] == label for name in names["train"]):
            raise DdbiasError(f"{root} has too few images: none of age {called} is left for training; complete it")
    images = decode_splits({s: [root / paths[n] for n in part] for s, part in names.items()}, size=size or SIZE)
    provenance = {
        "source": "utkface",
        "files": fingerprint(root, [paths[name] for name in cells]),
        "split_seed": SPLIT_SEED,
        "citation": "Z. Zhang, Y. Song, H. Qi, Age progression/regression by conditional adversarial autoencoder, "
        "arXiv:1702.08423",
        "licence": "non-commercial research only; images belong to their owners",
    }
    codes = {split: np.array([cells[name] for name in part], np.int64) for split, part in names.items()}
    return {
        split: RawImages(images[split], codes[split][:, 0], LABELS, codes[split][:, 1], ATTRIBUTES, provenance)
        for split in names
    }


def _by_name(root: Path) -> dict[str, str]:
    """Return the relative path of every image by its name: those in the folder, else those one level down."""
    listed = list_images(root)
    depth = 0 if any("/" not in path for path in listed) else 1
    paths: dict[str, str] = {}
    for path in listed:
        if path.count("/") != depth:
            continue
        name = PurePosixPath(path).name
        if name in paths:
            raise DdbiasError(f"{root / paths[name]} and {root / path} have the same name; keep one copy of the images")
        paths[name] = path
    if not paths:
        raise DdbiasError(f"{root} holds no image files, nor do the folders in it; name the folder that does")
    return paths


def _cells(root: Path, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return label and attribute by file name, without race 4 and without misnamed files, which are reported."""
    cells, strange = {}, []
    for name in names:
        match = _NAME.fullmatch(PurePosixPath(name).stem)
        if match is None:
            strange.append(name)
        elif int(match[2]) < len(ATTRIBUTES):
            cells[name] = (sum(int(match[1]) >= first for first in FIRST_AGES), int(match[2]))
    if len(strange) > STRANGE_SHARE * len(names):
        raise DdbiasError(
            f"{len(strange):,} of {len(names):,} files in {root} are not called [age]_[gender]_[race]_[date&time].jpg "
            f"('{strange[0]}' for one); name the folder of UTKFace's aligned and cropped faces"
        )
    if strange:
        logger.info("%d misnamed files of %s are left out: %s", len(strange), root, ", ".join(strange))
    return cells


def _test_names(root: Path, cells: Mapping[str, tuple[int, int]]) -> set[str]:
    """Draw equally many images of every cell; a hash of the name is all that decides, not where or in which order."""
    counts = Counter(cells.values())
    for label, called in enumerate(LABELS):
        for race, of_race in enumerate(ATTRIBUTES):
            if not counts[label, race]:
                raise DdbiasError(f"{root} has no image of age {called} and race {race} ({of_race}); complete the copy")
    each = min(TEST_PER_CELL, *counts.values())
    drawn = sorted(cells, key=lambda name: derive(SPLIT_SEED, "utkface", name))
    return {name for cell in counts for name in [n for n in drawn if cells[n] == cell][:each]}
