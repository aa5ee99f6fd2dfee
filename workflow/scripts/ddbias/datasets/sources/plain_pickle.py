"""Reading the pickles of published data without running code: arrays, text, numbers and their containers only."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import numpy as np

from ddbias.base.errors import DdbiasError


def _bytes_from_text(text: str, encoding: str) -> bytes:
    """Stand in for ``_codecs.encode``, with which Python 3 writes bytes into old pickles."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"text encoded as {encoding!r}")
    return text.encode("latin1")


_RECONSTRUCT = np.empty(0).__reduce__()[0]  # numpy's own, wherever this version keeps it
_FROM_BUFFER = np.empty(0).__reduce_ex__(5)[0]
_ALLOWED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy.core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("numpy._core.numeric", "_frombuffer"): _FROM_BUFFER,
    ("_codecs", "encode"): _bytes_from_text,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _ALLOWED:
            raise DdbiasError(f"it asks for {module}.{name}, which could run code of its author")
        return _ALLOWED[module, name]


def read_plain_pickle(content: bytes, path: Path) -> object:
    """Return what a pickle of NumPy arrays, text, bytes, numbers, lists and dictionaries holds.

    Parameters
    ----------
    content : bytes
        The pickle; Python 2's text becomes str.
    path : Path
        Names the file in messages.

    Raises
    ------
    DdbiasError
        If the pickle asks for anything else, which is not run, or is damaged.
    """
    try:
        return _Unpickler(io.BytesIO(content), encoding="latin1").load()
    except DdbiasError as error:
        raise DdbiasError(f"{path} is refused: {error}; take an intact copy") from error
    except Exception as error:  # a damaged pickle may raise anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DdbiasError(f"{path} is not a readable pickle ({reason}); take an intact copy") from error
