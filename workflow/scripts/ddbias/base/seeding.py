"""Named random streams: every random decision has its own generator, derived from a seed and a name.

Nothing in the package draws from a global generator or the clock, so adding a random decision to one place never
changes the numbers drawn in another.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(seed: int, *names: object) -> int:
    """Return a 63-bit seed that depends on `seed` and on every name, and on nothing else.

    Parameters
    ----------
    seed : int
        The user's seed.
    *names : object
        Parts of the stream's name; their ``str()`` is used, so ``1`` and ``"1"`` are the same part.
    """
    text = "\x1f".join([str(int(seed)), *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, *names: object) -> torch.Generator:
    """Return a fresh CPU ``torch.Generator`` for the named stream.

    Random numbers are always drawn on the CPU and moved, so a GPU run makes the same decisions as a CPU run.
    """
    return torch.Generator().manual_seed(derive(seed, *names))


def numpy_stream(seed: int, *names: object) -> np.random.Generator:
    """Return a fresh NumPy generator for the named stream."""
    return np.random.default_rng(derive(seed, *names))


@contextmanager
def global_stream(seed: int, *names: object) -> Iterator[None]:
    """Let torch's global generators be those of the named stream for a while, then what they were.

    For code that is not ours and draws from them: the constructor of a plug-in's network, its dropout. Where a loop has
    a state, the stream is named by the step, so that a resumed job drops what an undisturbed one does.

    Examples
    --------
    >>> import torch
    >>> with global_stream(0, "dropout", 3):
    ...     first = torch.rand(2)
    >>> with global_stream(0, "dropout", 3):
    ...     assert torch.equal(torch.rand(2), first)
    """
    on_gpu = torch.cuda.is_initialized()
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if on_gpu else []):
        number = derive(seed, *names)
        torch.default_generator.manual_seed(number)
        if on_gpu:
            torch.cuda.manual_seed(number)
        yield
