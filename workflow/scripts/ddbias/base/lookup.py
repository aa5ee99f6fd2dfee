"""Search path of source files: ``data.root``, the mirrors, then the folder named by ``DDBIAS_DATA``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from ddbias.base import environment
from ddbias.base.errors import DdbiasError


def root(data: Mapping[str, object]) -> Path:
    """Return the writable folder of the config's ``data`` section (default ``data``)."""
    return _path(data.get("root") or "data")


def places(data: Mapping[str, object]) -> list[Path]:
    """Return the folders to look in, in order and without repetition.

    Parameters
    ----------
    data : mapping
        ``root`` (str) and ``mirrors`` (list of str), both optional.
    """
    folders = [root(data), *map(_path, data.get("mirrors") or [])]
    if os.environ.get(environment.DATA):
        folders.append(_path(os.environ[environment.DATA]))
    return list(dict.fromkeys(folders))


def _path(text: str) -> Path:
    """Return a path; ``~/`` is the home folder, as in a shell."""
    return Path(os.path.expanduser(text))


def listing(folders: list[Path]) -> str:
    """Name folders in a message."""
    return ", ".join(str(folder) for folder in folders)


def find(path: str, data: Mapping[str, object]) -> Path:
    """Return the first existing file that `path` may mean: as it is, then in each of `places` when it is relative.

    Raises `DdbiasError` when there is none.
    """
    return _first("file", Path.is_file, path, data)


def find_folder(path: str, data: Mapping[str, object]) -> Path:
    """Return the first existing folder that `path` may mean; as `find` otherwise."""
    return _first("folder", Path.is_dir, path, data)


def find_files(path: str, data: Mapping[str, object], ending: str) -> list[Path]:
    """Return the files that `path` may mean: a file, all with an ending in a folder, or all that fit a pattern.

    Searched as by `find`, sorted by name; hidden ones (and Spark's ``_SUCCESS``) are ignored.

    Raises
    ------
    DdbiasError
        When there is none.
    """
    path = os.path.expanduser(path)
    there = [folder / path for folder in (Path(), *places(data))]
    *above, pattern = Path(path).parts or [""]
    is_file, is_folder = any(map(Path.is_file, there)), any(map(Path.is_dir, there))
    if is_file or not (is_folder or _is_pattern(pattern)):  # a file, whatever signs its name holds
        return [find(path, data)]
    if is_folder:
        folder, pattern = find_folder(path, data), f"*{ending}"
    else:
        folder = find_folder(str(Path(*above)) if above else ".", data)
        if not any(folder.glob(pattern)):  # the working directory comes first, and may have none
            others = [place / Path(*above) for place in places(data)]
            folder = next((place for place in others if any(place.glob(pattern))), folder)
    found = sorted(file for file in folder.glob(pattern) if file.is_file() and file.name[0] not in "._")
    if not found:
        raise DdbiasError(f"no file {pattern} in {folder}; correct the path, or name the folder under data.mirrors")
    return found


def _is_pattern(path: str) -> bool:
    return any(sign in path for sign in "*?[")


def _first(what: str, exists: Callable[[Path], bool], path: str, data: Mapping[str, object]) -> Path:
    if not path.strip():
        raise DdbiasError(f"the path of a {what} is empty; name one")
    path = os.path.expanduser(path)
    folders = [Path(), *places(data)]
    found = next((folder / path for folder in folders if exists(folder / path)), None)
    if found is None:
        more = "; only the last part of a path may be a pattern" if _is_pattern(path) else ""
        where = "" if Path(path).is_absolute() else f" in the working directory, {listing(folders[1:])}"
        raise DdbiasError(
            f"no {what} {path}{where}; correct the path, or name the folder that holds it under data.mirrors "
            f"or in {environment.DATA}{more}"
        )
    return found
