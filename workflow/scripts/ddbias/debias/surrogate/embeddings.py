"""The columns that a surrogate gives for every image of a split, and the file that holds them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from ddbias.base.errors import DdbiasError, Misuse
from ddbias.base.plugins.given import need
from ddbias.data import store
from ddbias.data.split import Split
from ddbias.debias.surrogate.objective import Objective

MATRICES = ("embedding", "logits", "predictions", "excluded")  # columns (N, D) of float32; all others are (N,)


@torch.no_grad()
def embed(objective: Objective, split: Split, *, device: torch.device, batch_size: int = 512) -> dict[str, np.ndarray]:
    """Return the columns that a surrogate gives for the un-augmented images of a split.

    Parameters
    ----------
    objective : Objective
        Its network is set to evaluation mode during the call.
    split : Split
        Attributes are not looked at.
    device : device
    batch_size : int

    Returns
    -------
    dict of ndarray of float32
        ``embedding`` (N, D), L2-normalised; for kinds that classify ``logits`` (N, K); for lff ``difficulty`` (N,),
        0..1; for cross_fitted ``predictions`` (N, L), class numbers, and ``excluded`` (N, L), 0 or 1.

    Raises
    ------
    DdbiasError
        If a value is not finite.
    """
    mode = objective.model.training
    objective.model.eval()
    parts = [
        {name: values.cpu() for name, values in objective.read(split.normalize(batch)).items()}
        for batch in (
            torch.tensor(part, device=device)
            for part in np.array_split(split.images, max(1, math.ceil(len(split) / batch_size)))
        )
    ]
    objective.model.train(mode)
    if "embedding" not in parts[0]:
        raise Misuse(f"reads {', '.join(parts[0]) or 'nothing'} off images, and no embedding", "read")
    read = {name: torch.cat([part[name] for part in parts]).numpy() for name in parts[0]}
    if not all(np.isfinite(values).all() for values in read.values()):
        raise DdbiasError(
            "what the surrogate gives has values that are not finite: the surrogate diverged, lower its learning rate"
        )
    columns = objective.columns(read, np.array(split.labels))
    for name, values in columns.items():
        need(values, f"the column {name}", "read", shape=[len(split), *[None] * (name in MATRICES)], types=["float32"])
    return columns


def save_embeddings(
    path: str | Path, embeddings: np.ndarray, split: Split, meta: Mapping, **columns: np.ndarray
) -> None:
    """Write embeddings with the index, label and, where known, attribute of every sample.

    Parameters
    ----------
    path : path
    embeddings : ndarray, shape (N, D)
    split : Split
        The samples that were embedded.
    meta : mapping
        Metadata of the file, JSON-serialisable; ``dimensions`` (D) is added.
    **columns : ndarray
        The other columns that `embed` returned; written as float32.
    """
    kept = {
        "embedding": store.fixed_size_binary(embeddings.astype(np.float32)),
        "index": np.array(split.index),
        "label": np.array(split.labels),
    }
    if split.attributes is not None:
        kept["attribute"] = np.array(split.attributes)
    for name, values in columns.items():
        values = values.astype(np.float32)
        kept[name] = store.fixed_size_binary(values) if name in MATRICES else values
    store.write_arrow(path, kept, {**meta, "dimensions": embeddings.shape[1]})


def load_embeddings(path: str | Path) -> tuple[dict[str, np.ndarray], dict]:
    """Read a file that `save_embeddings` wrote.

    Returns
    -------
    columns : dict of ndarray
        ``embedding`` (float32, (N, D)), ``index`` and ``label`` (int64, (N,)). If the file has them, also
        ``attribute`` (int64, (N,)), ``logits`` (float32, (N, K)), ``predictions`` and ``excluded`` (float32, (N, L)),
        ``difficulty`` (float32, (N,)).
    meta : dict

    Raises
    ------
    DdbiasError
        If the file is missing, damaged or of another kind, or a value is not finite.
    """
    columns, meta = store.read_arrow(path)
    store.require(path, "the embedding of a surrogate", columns, ("embedding", "index", "label"))
    for name in columns.keys() & {*MATRICES, "difficulty"}:
        if name in MATRICES:
            columns[name] = columns[name].view(np.float32)
        store.require_finite(path, name, columns[name])
    return columns, meta
