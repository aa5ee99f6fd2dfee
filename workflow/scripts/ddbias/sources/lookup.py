"""Where source files are looked for: ``data.root``, the mirrors, then the folder named by ``DDBIAS_DATA``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

ENVIRONMENT_VARIABLE = "DDBIAS_DATA"


def root(data: Mapping[str, object]) -> Path:
    """Return the writable folder of the config's ``data`` section (default ``data``)."""
    return Path(data.get("root") or "data")


def places(data: Mapping[str, object]) -> list[Path]:
    """Return the folders to look in, in order and without repetition.

    Parameters
    ----------
    data : mapping
        ``root`` (str) and ``mirrors`` (list of str), both optional.
    """
    folders = [root(data), *map(Path, data.get("mirrors") or [])]
    if os.environ.get(ENVIRONMENT_VARIABLE):
        folders.append(Path(os.environ[ENVIRONMENT_VARIABLE]))
    return list(dict.fromkeys(folders))


def listing(folders: list[Path]) -> str:
    """Name folders in a message."""
    return ", ".join(str(folder) for folder in folders)
