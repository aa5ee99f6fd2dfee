"""One GPU for each job that asks for one: a slot, held by a lock until the process ends, however it ends.

On a workstation nothing else keeps two jobs from the first GPU. The run lists the GPUs (``workflow/launcher/gpus.py``);
under a scheduler it does not, and nothing is done here. No torch, which must look for GPUs after this. A slot changes
no result.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from ddbias.base import environment, locks
from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger

SECONDS = 0.5  # between two looks at slots that are all taken


def take(resources: Mapping[str, object]) -> None:
    """Wait for a free slot, hold it for the life of this process, and let CUDA see its GPU only.

    A job that requests no GPU sees none. Without a list of GPUs from the run (another machine, no GPU, a scheduler)
    nothing is done.

    Parameters
    ----------
    resources : mapping
        Of the job; only ``gpu`` is used.

    Raises
    ------
    DdbiasError
        If the slots cannot be kept in their folder.
    """
    told = os.environ.get(environment.GPU_SLOTS)
    if not told:
        return
    if not resources.get("gpu"):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
        return
    shared = json.loads(told)
    folder = Path(shared["folder"])
    # All first slots before any second one: jobs share a GPU only when every GPU has one.
    slots = [(gpu, _file_name(gpu, number)) for number in range(shared["jobs_per_gpu"]) for gpu in shared["gpus"]]
    try:
        _open_folder(folder)
        os.environ["CUDA_VISIBLE_DEVICES"] = _first_free(folder, slots)
    except locks.NoLocks as error:
        gpu = shared["gpus"][os.getpid() % len(shared["gpus"])]
        logger.info("computing on the GPU %s, perhaps not alone: no locks in %s (%s)", gpu, folder, error.strerror)
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    except OSError as error:
        raise _unusable(folder, error.strerror) from None


def _file_name(gpu: str, number: int) -> str:
    return f"{re.sub(r'[^A-Za-z0-9.-]', '_', gpu)}.{number}"


def _open_folder(folder: Path) -> None:
    """Make the folder of the slots, which must be the user's own: it lies where everybody may write."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink():
        raise _unusable(folder, "it is a link")
    if folder.stat().st_uid != os.getuid():
        raise _unusable(folder, "it is another user's")
    # Programs that clear away old temporary files leave a locked folder alone (tmpfiles.d).
    locks.take(_inherited_by_nobody(os.open(folder, os.O_RDONLY)), fcntl.LOCK_SH)


def _unusable(folder: Path, reason: str | None) -> DdbiasError:
    remedy = f"remove that folder, or set {environment.GPUS}= (empty) to share none"
    return DdbiasError(f"the GPU slots in {folder} cannot be used ({reason}); {remedy}")


def _first_free(folder: Path, slots: list[tuple[str, str]]) -> str:
    """Return the GPU of the first slot that is free, as soon as one is."""
    waited = False
    while True:
        for gpu, name in slots:
            if _held(folder / name):
                logger.info("computing on the GPU %s", gpu)
                return gpu
        if not waited:
            logger.info("waiting for a GPU: other jobs hold all %d slots", len(slots))
            waited = True
        time.sleep(SECONDS)


def _held(path: Path) -> bool:
    """Lock a slot's file for the life of this process, unless another one holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        locks.take(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(descriptor), os.stat(path)):
            _inherited_by_nobody(descriptor)
            return True
    except (BlockingIOError, FileNotFoundError):  # taken, or removed between opening and locking it
        pass
    os.close(descriptor)
    return False


def _inherited_by_nobody(descriptor: int) -> int:
    """Let a child that is forked close a descriptor, as one that is executed does: it must not hold the lock on."""
    os.register_at_fork(after_in_child=lambda: os.close(descriptor))
    return descriptor
