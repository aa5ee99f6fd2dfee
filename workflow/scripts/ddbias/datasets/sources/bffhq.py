"""BFFHQ: faces with age as the label and gender as the attribute, from a local copy."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from ddbias.base import lookup
from ddbias.base.errors import DdbiasError
from ddbias.datasets.sources.image_files import decode_splits, fingerprint, list_images
from ddbias.datasets.sources.images import check_size
from ddbias.datasets.sources.record import RawImages

PLUGIN = {
    "source": {
        "bffhq": {
            "description": (
                "BFFHQ as distributed with LDD (Lee et al. arXiv 2107.01372), a local copy: young or old, with "
                "gender. 128x128 unless the data set has a `size`."
            ),
            "use": "load_bffhq",
            "options": {
                "folder": {
                    "type": "string",
                    "default": "bffhq",
                    "description": "Searched in the working directory and the folders of `data`.",
                },
                "percent": {
                    "type": "string",
                    "pattern": "^[0-9.]+$",
                    "x-allowed": "a number in quotes, as in the folder <percent>pct",
                    "default": "0.5",
                    "description": "Share of conflicting training images, in per cent (published; 0.5).",
                },
            },
            "facts": {"train": 19_200, "test": 1000, "classes": 2, "channels": 3, "side": 128},
            "seconds": 2e-3,
            "files": ["folder"],
        },
    },
}
NORMALISE = {"bffhq": ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))}  # CIFAR-10's; LDD

LABELS = ["young", "old"]
ATTRIBUTES = ["female", "male"]  # numbered like the label that they are aligned with
# Label and bias are the last two fields: what stands before them, folders included, may hold anything.
_NAME = re.compile(r".*_([01])_([01])")


def load_bffhq(
    *, folder: str = "bffhq", percent: str = "0.5", size: int | None = None, data: Mapping[str, object]
) -> dict[str, RawImages]:
    """Return BFFHQ (Kim et al., arXiv:2103.12300) as distributed with LDD (Lee et al., arXiv:2107.01372).

    Training images are ``<folder>/<percent>pct/{align,conflict}/**``, test images ``<folder>/test/**``; both in the
    order of their relative paths. Label and bias are read from the file's name, ``..._<label>_<bias>.png``: label 0
    young, 1 old; bias 0 female, 1 male. Young and female go together, old and male.

    Parameters
    ----------
    folder : str
        Looked for in the working directory, then as `ddbias.base.lookup.places` says.
    percent : str
        Share of conflicting training images as in the folder's name: ``"0.5"``, ``"1"``, ``"2"`` or ``"5"``.
    size : int or None
        Side in pixels to resize to while decoding; None keeps the published 128.
    data : mapping
        ``root`` and ``mirrors``.

    Raises
    ------
    DdbiasError
        For a missing or empty folder, a file name of another form, an aligned image in ``conflict`` or the reverse,
        and images that cannot be decoded.
    """
    check_size(size)
    root = lookup.find_folder(folder, data)
    train = root / f"{percent}pct"
    if not train.is_dir():
        known = ", ".join(sorted(path.name.removesuffix("pct") for path in root.glob("*pct"))) or "none"
        raise DdbiasError(f"{root} has no folder {train.name}; percent must be one of those that it has: {known}")
    groups = {part: _names(train, part) for part in ("align", "conflict")}
    for part, names in groups.items():
        _check_alignment(train, names, aligned=part == "align")
    files = {"train": (train, [*groups["align"], *groups["conflict"]]), "test": (root, _names(root, "test"))}
    images = decode_splits({s: [place / name for name in names] for s, (place, names) in files.items()}, size=size)
    provenance = {
        "source": "bffhq",
        "files": {split: fingerprint(place, names) for split, (place, names) in files.items()},
        "citation": "E. Kim, J. Lee, J. Choo, BiaSwap, arXiv:2103.12300; from FFHQ, T. Karras et al., arXiv:1812.04948",
        "licence": "as stated by the provider of the files (FFHQ: CC BY-NC-SA 4.0)",
    }
    codes = {split: np.array([_codes(place, n) for n in names], np.int64) for split, (place, names) in files.items()}
    return {
        split: RawImages(images[split], codes[split][:, 0], LABELS, codes[split][:, 1], ATTRIBUTES, provenance)
        for split in files
    }


def _names(root: Path, part: str) -> list[str]:
    if not (root / part).is_dir():
        raise DdbiasError(f"{root} has no folder {part}; BFFHQ has <percent>pct/align, <percent>pct/conflict and test")
    return [f"{part}/{name}" for name in list_images(root / part)]


def _codes(root: Path, name: str) -> tuple[int, int]:
    """Return label and bias as a file's name states them."""
    match = _NAME.fullmatch(PurePosixPath(name).stem)
    if match is None:
        raise DdbiasError(f"the name of {root / name} does not end in _<label>_<bias>, 0 or 1 each; remove the file")
    return int(match[1]), int(match[2])


def _check_alignment(root: Path, names: Sequence[str], *, aligned: bool) -> None:
    for name in names:
        label, bias = _codes(root, name)
        if (label == bias) != aligned:
            kind, other = ("equal", "conflict") if aligned else ("different", "align")
            raise DdbiasError(
                f"{root / name} has label {label} and bias {bias} in its name, which must be {kind} in this folder; "
                f"move it to {other}, or take an intact copy"
            )
