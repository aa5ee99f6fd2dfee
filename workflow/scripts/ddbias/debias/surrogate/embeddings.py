"""What a surrogate says about every image of a split, and the file that holds it."""

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

MATRICES = ("embedding", "logits", "predictions", "excluded")  # columns of float32 rows; others one number a sample


@torch.no_grad()
def embed(objective: Objective, split: Split, *, device: torch.device, batch_size: int = 512) -> dict[str, np.ndarray]:
    """Return what a surrogate reads off the un-augmented images of a split.

    Parameters
    ----------
    objective : Objective
        Its network is in the mode of evaluation meanwhile.
    split : Split
        Attributes are not looked at.
    device : device
    batch_size : int

    Returns
    -------
    dict of ndarray of float32
        ``embedding`` (N, D), L2-normalised; for kinds that classify ``logits`` (N, K); for lff ``difficulty`` (N,); for
        cross_fitted ``predictions`` and ``excluded`` (N, L).

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
            "the embedding has values that are not finite: the surrogate diverged, lower its learning rate"
        )
    columns = objective.columns(read, np.array(split.labels))
    for name, values in columns.items():
        need(values, f"the column {name}", "read", shape=[len(split), *[None] * (name in MATRICES)], types=["float32"])
    return columns


def save_embeddings(
    path: str | Path,
    embeddings: np.ndarray,
    split: Split,
    meta: Mapping,
    **columns: np.ndarray,
) -> None:
    """Write embeddings with the index, label and, where known, attribute of every sample.

    Parameters
    ----------
    path : path
    embeddings : ndarray, shape (N, D)
    split : Split
        What was embedded.
    meta : mapping
        Metadata of the file, as JSON can write it; ``dimensions`` (D) is added.
    **columns : ndarray
        What else `embed` returned: ``logits`` (N, K) of a kind that classifies, of its biased network; ``difficulty``
        (N,), 0..1, of lff; ``predictions`` (N, L), class numbers, and ``excluded`` (N, L), 0 or 1, of cross_fitted.
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
    """Read what `save_embeddings` wrote.

    Returns
    -------
    columns : dict of ndarray
        ``embedding`` (float32, (N, D)), ``index`` and ``label`` (int64), and where the file has them ``attribute``
        (int64), ``logits`` (float32, (N, K)), ``predictions`` and ``excluded`` (float32, (N, L)), ``difficulty``
        (float32).
    meta : dict

    Raises
    ------
    DdbiasError
        If the file is missing, damaged, something else, or holds values that are not finite.
    """
    columns, meta = store.read_arrow(path)
    store.require(path, "the embedding of a surrogate", columns, ("embedding", "index", "label"))
    for name in columns.keys() & {*MATRICES, "difficulty"}:
        if name in MATRICES:
            columns[name] = columns[name].view(np.float32)
        store.require_finite(path, name, columns[name])
    return columns, meta
