"""Locks that end with the process that holds them, however it ends, and what a file system without them answers.

Lustre without ``-o flock`` says ENOSYS, NFS without ``lockd`` ENOLCK, others ENOTSUP. Whoever locks must say in one
line how it goes on without. Standard library only: the launcher locks, too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile

NONE = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


class NoLocks(OSError):
    """The file system has no locks."""


def take(descriptor: int, how: int) -> None:
    """Lock an open file until it is closed.

    Parameters
    ----------
    descriptor : int
    how : int
        As for `fcntl.flock`, which raises `BlockingIOError` with ``LOCK_NB`` if another process holds the lock.

    Raises
    ------
    NoLocks
        If the file system has none.
    """
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        if error.errno in NONE:
            raise NoLocks(error.errno, error.strerror) from None
        raise


def exist(folder: str | os.PathLike) -> bool:
    """Tell whether files can be made in a folder, and locked.

    Examples
    --------
    >>> exist(tempfile.gettempdir())
    True
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            take(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
