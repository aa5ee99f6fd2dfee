"""Image files in folders: listed in an order of their own, decoded one by one, and fingerprinted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger
from ddbias.datasets.sources.images import decode

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def list_images(folder: Path) -> list[str]:
    """Return the image files below a folder, told by their extension; hidden files and folders are passed over.

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
    found = sorted(_walk(folder, "", ()))
    if not found:
        raise DdbiasError(f"{folder} holds no image files ({', '.join(EXTENSIONS)}); correct the path, or fill it")
    for name in found:
        # Undecodable bytes are surrogates in a name; with a line break, neither a message nor a digest would be clear.
        if any("\ud800" <= letter <= "\udfff" or letter < " " for letter in name):
            raise DdbiasError(f"the file name {name!a} in {folder} is not UTF-8 or holds a line break; rename it")
    return found


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        raise DdbiasError(f"{folder} is a link to a folder that it lies in; remove the link")
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/", (*above, here))
        elif entry.suffix.lower() in EXTENSIONS:
            yield prefix + entry.name


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

    Parameters
    ----------
    folder : Path
    names : sequence of str
        Paths relative to `folder`, in the order in which the digest takes them.
    """
    lines = hashlib.sha256()
    for name in names:
        lines.update(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n".encode())
    return {"name": folder.name, "images": len(names), "sha256": lines.hexdigest()}
