"""The state of a long job, kept outside its declared outputs, so that a killed job can be resumed.

Snakemake deletes the outputs of a killed job, not this file. It is replaced by atomic rename, carries checksums
(`ddbias.data.store`), is used only by a job with the same parameters, code and inputs, and is deleted when the job
succeeds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

import torch

from ddbias.base import environment
from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger
from ddbias.data import store

# A state of a large pool takes seconds to write: at most this share of a job's time goes into it.
LARGEST_SHARE = 0.05


def fingerprint(params: object, inputs: list[str], provenance: object) -> str:
    """Return a digest of all that a job's result depends on.

    Parameters
    ----------
    params : object
        The rule's parameters, as JSON can write them.
    inputs : list of str
        Every input file; their content counts, not their dates.
    provenance : object
        Everything else that the last bits depend on: versions, device, threads (`ddbias.learning.device.provenance`).
    """
    contents = {str(path): store.file_sha256(path) for path in inputs}
    return store.digest({"params": params, "inputs": contents, "provenance": provenance})


class Checkpoint:
    """Saves and restores named tensors and a step number.

    Parameters
    ----------
    path : path or None
        None keeps nothing.
    identity : str
        `fingerprint` of the job; a state with another one is ignored.
    every : float, optional
        Seconds between two states; by default the environment variable ``DDBIAS_STATE_SECONDS``, else 15. When a
        state is saved changes how much a kill costs, never a result. Where writing one took longer than a twentieth
        of that, the next one waits accordingly.
    """

    def __init__(self, path: str | Path | None, identity: str = "", every: float | None = None) -> None:
        self.path = None if path is None else Path(path)
        self.identity = identity
        self.every = _seconds() if every is None else every
        self._last = time.monotonic()
        self._wait = self.every

    def load(self) -> tuple[int, dict[str, torch.Tensor]]:
        """Return the saved step and tensors, or ``(0, {})`` when there is nothing usable."""
        if self.path is None or not self.path.exists():
            return 0, {}
        try:
            tensors, meta = store.read_tensors(self.path)
        except DdbiasError as error:
            logger.info("state ignored, starting over: %s", error)
            return 0, {}
        if meta.get("identity") != self.identity:
            logger.info("state %s belongs to other settings or code, starting over", self.path)
            return 0, {}
        logger.info("resuming from step %d", meta["step"])
        return meta["step"], tensors

    def save(self, step: int, tensors: Mapping[str, torch.Tensor]) -> None:
        """Write the state now."""
        if self.path is None:
            return
        began = time.monotonic()
        meta = {"identity": self.identity, "step": step}
        store.write_tensors(self.path, tensors, meta)
        self._last = time.monotonic()
        self._wait = max(self.every, (self._last - began) / LARGEST_SHARE if self.every else 0)

    def due(self) -> bool:
        """Tell whether to save: enough seconds have passed since the last state."""
        return self.path is not None and time.monotonic() - self._last >= self._wait

    def remove(self) -> None:
        """Delete the state: the job's outputs are complete."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)


def _seconds() -> float:
    if wrong := environment.problem(environment.STATE_SECONDS):
        raise DdbiasError(wrong)
    return float(os.environ.get(environment.STATE_SECONDS) or 15)
