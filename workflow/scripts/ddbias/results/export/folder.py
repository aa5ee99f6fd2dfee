"""A folder that is replaced as a whole, and only when it holds nothing but what was exported to it before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ddbias.base.errors import DdbiasError
from ddbias.data import store

HUB, DD_RANKING = "huggingface", "dd-ranking"  # the folders of an export
LISTING = ".ddbias-export.json"  # the SHA-256 of every file of an exported folder: what may be replaced


@contextmanager
def replaced(folder: str | Path) -> Iterator[Path]:
    """Yield an empty folder to write to, which takes the place of `folder` when the block succeeds.

    It is written beside `folder` and renamed, so a killed export leaves the old content or none, never a part. The same
    content leaves the folder as it was, dates included.

    Parameters
    ----------
    folder : path
        Does not exist, is empty, or holds exactly what an earlier call wrote.

    Raises
    ------
    DdbiasError
        If the folder holds anything else, or a file in it was changed by hand.
    """
    folder = Path(folder)
    check(folder)
    part, old = (folder.with_name(f".{folder.name}.{state}") for state in ("part", "old"))
    for left in (part, old):  # of an export that was killed
        shutil.rmtree(left, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        yield part
        listing = {path: store.file_sha256(part / path) for path in files(part)}
        store.write_json(part / LISTING, listing)
        if folder.exists() and files(folder) == files(part) and store.read_json(folder / LISTING) == listing:
            return
        if folder.exists():
            folder.replace(old)
        part.replace(folder)
    finally:
        for left in (part, old):
            shutil.rmtree(left, ignore_errors=True)


def check(folder: str | Path) -> None:
    """Raise `DdbiasError` unless `folder` may be replaced; files of an earlier export that are gone do not matter."""
    folder = Path(folder)
    remedy = "move it away, or export to another folder (make export TO=folder)"
    wrong = next((above for above in folder.parents if above.exists() and not above.is_dir()), None)
    if wrong is not None:
        raise DdbiasError(f"{wrong} is not a folder; {remedy}")
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise DdbiasError(f"{folder} is not a folder; {remedy}")
    held = files(folder)
    if not held:
        return
    if not (folder / LISTING).is_file():
        raise DdbiasError(f"{folder} holds something that is no export; {remedy}")
    listing = store.read_json(folder / LISTING)
    for path in held:
        if path not in listing and path != LISTING:
            raise DdbiasError(f"{folder} holds {path}, which was not exported; {remedy}")
        if path in listing and store.file_sha256(folder / path) != listing[path]:
            raise DdbiasError(f"{folder / path} was changed by hand; {remedy}")


def is_exported(folder: str | Path) -> bool:
    """Tell whether a folder holds all files of an export, by name."""
    try:
        return all(set(store.read_json(part / LISTING)) <= set(files(part)) for part in _parts(folder))
    except (DdbiasError, TypeError):
        return False


def _parts(folder: str | Path) -> list[Path]:
    return [Path(folder) / name for name in (HUB, DD_RANKING)]


def files(folder: Path) -> list[str]:
    """Return the files of a folder and its sub-folders, relative to it and sorted; links count as files."""
    found = []
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(place, name))]
        found += [Path(place, name).relative_to(folder).as_posix() for name in (*names, *links)]
    return sorted(found)
