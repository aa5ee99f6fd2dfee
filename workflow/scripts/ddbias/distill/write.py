"""Writing a distilled set with all that is needed to train on it."""

from __future__ import annotations

import os
import platform
import resource
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from ddbias.base import environment
from ddbias.data import formation, soft_labels, store
from ddbias.data.preview import save_grid
from ddbias.data.split import Split, denormalize
from ddbias.distill.engine import Distilled

PREVIEW_COLUMNS = 10


class Run:
    """Measures a job from its creation: what differs between runs of the same inputs, kept in ``run.json`` only."""

    def __init__(self) -> None:
        self._began, self._processor = time.perf_counter(), time.process_time()
        self._date = datetime.now(UTC)
        self._commit = os.environ.get(environment.COMMIT, "unknown")  # of the start of the run, named by the Snakefile

    def facts(self) -> dict:
        """Return seconds, those of the processor, peak memory, host, date, commit (with a + where it had changes)."""
        # ru_maxrss is in KiB on Linux and in bytes on macOS.
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return {
            "seconds": round(time.perf_counter() - self._began, 2),
            "processor_seconds": round(time.process_time() - self._processor, 2),
            "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit, 1),
            "host": platform.node(),
            "date": self._date.isoformat(timespec="seconds"),
            "commit": self._commit,
        }


def save(
    result: Distilled,
    split: Split,
    *,
    cell: Mapping[str, str],
    settings: Mapping,
    provenance: Mapping,
    outputs,
    run: Run,
    made_by: str | None = None,
) -> None:
    """Write ``distilled.safetensors``, ``history.parquet``, ``preview.png`` and ``run.json``.

    Parameters
    ----------
    result : Distilled
    split : Split
        The training split it was made from.
    cell : mapping of str to str
        All wildcards of the job.
    settings, provenance : mapping
        Kept in the metadata.
    outputs : object
        Has the paths ``distilled``, ``history``, ``preview``, ``run``.
    run : Run
    made_by : str, optional
        What makes the set again; by default the `command` of the workflow.
    """
    meta = described(result, split, cell=cell, settings=settings, provenance=provenance)
    tensors = {"labels": result.labels.long()}
    if result.soft_labels is not None:
        tensors[soft_labels.TENSOR] = result.soft_labels.probabilities.float()
    if result.images is not None:
        tensors["images"] = result.images.float()
    if result.rows is not None:
        tensors["rows"] = result.rows.long()
        tensors["index"] = torch.from_numpy(split.index[result.rows.numpy()])
        if split.attributes is not None:
            tensors["attributes"] = torch.from_numpy(split.attributes[result.rows.numpy()])
    store.write_tensors(outputs.distilled, tensors, meta)
    steps = len(next(iter(result.history.values()), []))
    store.write_table(outputs.history, {"step": np.arange(1, steps + 1), **result.history}, meta)
    save_preview(outputs.preview, result, split)
    facts = {
        "device": f"{provenance['device']} {provenance['device_type']}",
        "command": made_by or command(outputs.distilled),
        "distillation": meta["distillation"],
    }
    if probe := result.record.get("probe"):
        facts["probe"] = probe
    store.write_json(outputs.run, run.facts() | facts)


def described(
    result: Distilled, split: Split, *, cell: Mapping[str, str], settings: Mapping, provenance: Mapping
) -> dict:
    """Return the metadata of a set, see `save`."""
    meta = {
        "kind": "distilled",
        **cell,
        "seed": int(cell["seed"]),
        "label_names": list(split.meta["label_names"]),
        "attribute_names": split.meta["attribute_names"],
        "mean": list(split.meta["mean"]),
        "std": list(split.meta["std"]),
        **({"whitened": True} if split.whitening is not None else {}),
        "shape": list(split.shape),
        "classes": split.classes,
        "settings": settings,
        "provenance": provenance,
        "distillation": {key: value for key, value in result.record.items() if key != "probe"},
    }
    if result.formation != 1:
        meta["formation"] = result.formation
    if result.learning_rate is not None:
        meta["learning_rate"] = result.learning_rate
    if result.soft_labels is not None:
        meta[soft_labels.TEMPERATURE] = result.soft_labels.temperature
    return meta


def command(target: str) -> str:
    """Return the command that makes a file of this run again (the Snakefile names study and settings to its jobs)."""
    given = os.environ.get(environment.GIVEN)
    profile = "" if given is None else "--workflow-profile workflow/profiles/workstation"  # None: module of another one
    return " ".join(filter(None, ["snakemake --cores 1", profile, given, f"--force -- {target}"]))


def save_preview(path: str | Path, result: Distilled, split: Split) -> None:
    """Write a grid with one row per class of (the first ten) images of a distilled set, as networks train on them."""
    labels = formation.decode_labels(result.labels, result.formation).numpy()
    firsts = [np.flatnonzero(labels == label)[:PREVIEW_COLUMNS] for label in range(split.classes)]
    columns = min(map(len, firsts))
    chosen = np.stack([first[:columns] for first in firsts])
    if result.images is None:
        images = split.images[result.rows.numpy()[chosen]]
    else:
        mean, std = split.meta["mean"], split.meta["std"]
        decoded = formation.decode(result.images, result.formation, mean=mean, std=std)
        images = denormalize(decoded[torch.from_numpy(chosen)], mean, std).numpy()
    save_grid(path, images)
