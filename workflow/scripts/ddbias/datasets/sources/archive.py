"""Published files: verified by their MD5, and brought whole into the data folder by one job at a time."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError

from ddbias.base import locks
from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger
from ddbias.data import store


def file_md5(path: Path) -> str | None:
    """Return the MD5 of a file in hexadecimal, None if there is no such file."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def read_verified(path: Path, md5: str) -> bytes:
    """Return the content of a file; `DdbiasError` if its MD5 is not `md5`."""
    content = path.read_bytes()
    if hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        raise DdbiasError(
            f"{path} is damaged ({len(content):,} bytes, not the published MD5 {md5}); "
            "delete it and run again, or replace it by an intact copy"
        )
    return content


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Let one job at a time prepare `folder`; the lock goes with its holder."""
    import fcntl

    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")  # noqa: SIM115 (closed below)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise
        raise DdbiasError(
            f"cannot write to {folder}, where data sets are brought to; "
            "list this folder under data.mirrors and set data.root to a writable one"
        ) from error
    with lock:
        try:
            locks.take(lock.fileno(), fcntl.LOCK_EX)
        except locks.NoLocks as error:  # what is written is whole and verified all the same
            logger.info("no lock on %s (%s): jobs may download the same file at once", folder, error.strerror)
        yield


def download(urls: Sequence[str], target: Path, md5: str, *, missing: str, remedy: str) -> None:
    """Download a file, whole and verified, from the first address that has it.

    Parameters
    ----------
    urls : sequence of str
        Addresses, tried in this order.
    target : Path
        What is written; nothing is when every address fails.
    md5 : str
        Published MD5 in hexadecimal.
    missing, remedy : str
        What the error says before and after the reasons.

    Raises
    ------
    DdbiasError
        ``<missing>, and it could not be downloaded (<reasons>); <remedy>``.
    """
    from ddbias.datasets.sources.torchvision_compat import torchvision

    reasons = []
    for url in urls:
        logger.info("downloading %s", url)
        try:
            with store.whole(target) as part:
                torchvision.datasets.utils.download_url(url, str(part.parent), part.name, md5)
            return
        except (RuntimeError, URLError, ConnectionError, TimeoutError, HTTPException) as error:
            reasons.append(str(error).splitlines()[0] if str(error) else type(error).__name__)
    raise DdbiasError(
        f"{missing}, and it could not be downloaded ({'; '.join(dict.fromkeys(reasons)) or 'no address'}); {remedy}"
    )
