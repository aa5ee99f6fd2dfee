"""Which files of a user's folder count: the one list that readers read and digests cover."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ddbias.base.errors import DdbiasError

# What Pillow reads of what people call pictures; `.heic` is not among it.
IMAGES = (
    *(".apng", ".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"),
    *(".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"),
)
LISTS = (".csv", ".txt")
# Made by systems and programs, not by people; hidden files and folders are, too.
STRAYS = frozenset({"__MACOSX", "@eaDir", "$RECYCLE.BIN", "Thumbs.db", "desktop.ini"})
_SIGNATURE_BYTES = 16
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"RIFF", b"P4", b"P5", b"P6")


class Listing(NamedTuple):
    """What a folder holds.

    Attributes
    ----------
    images, lists : list of str
        Paths relative to the folder with ``/``, sorted by code point: pictures, and text files that may say something
        about them.
    left_out : dict of str to int
        Number of other files, by extension.
    """

    images: list[str]
    lists: list[str]
    left_out: dict[str, int]


def listing(folder: str | Path) -> Listing:
    """List a folder and all below it, links followed.

    Images are recognised by their extension, in upper or lower case; files without one by their first bytes. Hidden and
    system files (`STRAYS`) are ignored; broken links, and pipes and the like, are counted in ``left_out``.

    Raises
    ------
    DdbiasError
        For a link that leads back to a folder above it.
    """
    images, lists, left_out = [], [], Counter()
    for name, path in _walk(Path(folder), "", ()):
        ending = path.suffix.lower()
        if not path.exists():
            left_out["broken link"] += 1
        elif not path.is_file():  # a pipe would never end
            left_out["no file"] += 1
        elif ending in IMAGES or (not ending and _is_picture(path)):
            images.append(name)
        elif ending in LISTS:
            lists.append(name)
        else:
            left_out[ending or "no ending"] += 1
    return Listing(sorted(images), sorted(lists), dict(sorted(left_out.items())))


def digest(folder: str | Path) -> str:
    """Return the SHA-256 of the names, sizes and dates of all pictures and lists in a folder, in hexadecimal."""
    found, hasher = listing(folder), hashlib.sha256()
    for name in sorted(found.images + found.lists):
        facts = (Path(folder) / name).stat()
        hasher.update(f"{name}\0{facts.st_size}\0{facts.st_mtime_ns}\0".encode(errors="surrogateescape"))
    return hasher.hexdigest()


def _walk(folder: Path, prefix: str, above: tuple[tuple[int, int], ...]) -> Iterator[tuple[str, Path]]:
    status = folder.stat()
    here = (status.st_dev, status.st_ino)
    if here in above:
        link = next((part for part in (folder, *folder.parents) if part.is_symlink()), folder)
        raise DdbiasError(f"{link} is a link to a folder that it lies in; remove the link")
    for entry in folder.iterdir():
        if entry.name.startswith(".") or entry.name in STRAYS:
            continue
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/", (*above, here))
        else:
            yield prefix + entry.name, entry


def _is_picture(path: Path) -> bool:
    with open(path, "rb") as file:
        start = file.read(_SIGNATURE_BYTES)
    return start.startswith(_SIGNATURES) or start[4:8] in (b"ftyp", b"jP  ")
