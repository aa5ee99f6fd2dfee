"""Image files in folders: listed in an order of their own, decoded one by one, and fingerprinted."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ddbias.base import folders
from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger
from ddbias.datasets.sources.images import decode


def list_images(folder: Path) -> list[str]:
    """Return the image files below a folder, see `ddbias.base.folders.listing`; logs the ignored files.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of str
        Paths relative to `folder` with ``/``, sorted by code point: the order in which the file system lists them
        makes no difference.

    Raises
    ------
    DdbiasError
        If there is none, for a name that is not UTF-8, and for a link that leads back to a folder above it.
    """
    found = folders.listing(folder)
    others = ", ".join(f"{count:,} {ending}" for ending, count in found.left_out.items())
    if not found.images:
        there = f"; it holds {others}" if others else ""
        raise DdbiasError(
            f"{folder} holds no image files ({', '.join(folders.IMAGES)}){there}; correct the path, or fill it"
        )
    if others:
        logger.info("left out of %s, since it is no image that can be read: %s", folder, others)
    for name in found.images:
        # Undecodable bytes are surrogates in a name; with a line break, neither a message nor a digest would be clear.
        if any("\ud800" <= letter <= "\udfff" or letter < " " for letter in name):
            raise DdbiasError(f"the file name {name!a} in {folder} is not UTF-8 or holds a line break; rename it")
    return found.images


def decode_splits(
    files: Mapping[str, Sequence[Path]], *, size: int | None, crop: int | None = None, mode: str | None = None
) -> dict[str, np.ndarray]:
    """Decode the files of all splits into one array, so that they agree in shape, and return each split's part of it.

    Options as of `ddbias.datasets.sources.images.decode`.
    """
    paths = [path for part in files.values() for path in part]
    logger.info("decoding %s images", f"{len(paths):,}")
    images = decode(paths, size=size, crop=crop, mode=mode, name=lambda i: f"the image {paths[i]}")
    ends = np.cumsum([len(part) for part in files.values()])
    return dict(zip(files, np.split(images, ends[:-1]), strict=True))


def fingerprint(folder: Path, names: Sequence[str]) -> dict[str, object]:
    """Return the folder's name, the number of files and a SHA-256 of them: of the output of ``sha256sum <names>``.

    ``left_out`` is the number of ignored files by extension, if there are any.

    Parameters
    ----------
    folder : Path
    names : sequence of str
        Paths relative to `folder`, in the order in which the digest takes them.
    """
    lines = hashlib.sha256()
    for name in names:
        lines.update(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n".encode())
    left_out = folders.listing(folder).left_out
    found = {"name": folder.name, "images": len(names), "sha256": lines.hexdigest()}
    return found | ({"left_out": left_out} if left_out else {})
