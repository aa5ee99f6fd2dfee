"""Surrogates: networks whose embedding, or whose failures, show where the biased (aligned) mass of a class is.

A kind is one module with a class ``Objective`` (see `ddbias.debias.surrogate.objective`). All are trained by one loop,
`ddbias.debias.surrogate.training`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from ddbias.base import plugins
from ddbias.base.plugins.given import need_kind
from ddbias.data.split import Split
from ddbias.debias.surrogate.embeddings import embed, load_embeddings, save_embeddings
from ddbias.debias.surrogate.objective import Objective
from ddbias.debias.surrogate.training import train
from ddbias.runtime.checkpoint import Checkpoint

__all__ = ["embed", "load_embeddings", "save_embeddings", "train_surrogate"]


def train_surrogate(
    split: Split,
    *,
    network: Mapping,
    settings: Mapping,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint,
) -> tuple[Objective, dict[str, np.ndarray]]:
    """Train a surrogate on the labels of a split.

    Parameters
    ----------
    split : Split
        Training images; attributes decide nothing.
    network : mapping
        ``kind`` and options of the encoder or classifier.
    settings : mapping
        ``kind``; for the loop ``epochs`` (may be a fraction) or ``steps`` (None, or a number that
        overrides the epochs), ``batch_size``, ``learning_rate``, ``momentum``, ``weight_decay``, ``augment`` (a DSA
        strategy), ``early_stopping`` and ``check_every`` (see `ddbias.debias.surrogate.early_stopping`); and the
        options of the kind.
    seed : int
    device : device
    checkpoint : Checkpoint

    Returns
    -------
    Objective
        For `embed`; its ``model`` is the network to store: that of the best separation with early stopping, else
        that of the last step.
    dict of ndarray
        History: ``step`` (int64, from 1), ``loss``, ``separation`` and ``auc`` (float64; the last two are NaN where
        they were not measured, the AUC also where the attribute is not known).

    Raises
    ------
    DdbiasError
        Unknown kind or option, or a loss or embedding that is not finite.
    """
    code = plugins.module("surrogate", settings["kind"])
    with plugins.calling("surrogate", settings["kind"]):
        objective = code.Objective(split, network, settings, seed)
        need_kind(objective, Objective, "itself", "Objective")
        history = train(objective, split, settings=settings, seed=seed, device=device, checkpoint=checkpoint)
    return objective, history
