"""Surrogates: networks whose embedding, or whose errors, show which samples of a class are aligned with the bias.

A kind is one module with a class ``Objective`` (see `ddbias.debias.surrogate.objective`). One loop trains all kinds:
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
    split: Split, *, network: Mapping, settings: Mapping, seed: int, device: torch.device, checkpoint: Checkpoint
) -> tuple[Objective, dict[str, np.ndarray]]:
    """Train a surrogate on the labels of a split.

    Parameters
    ----------
    split : Split
        Training images and labels. Attributes, where known, enter the history only.
    network : mapping
        ``kind`` and options of the encoder or classifier.
    settings : mapping
        ``kind`` and its options. The training loop uses ``epochs`` (may be a fraction), ``steps`` (None, or a number
        that overrides the epochs), ``batch_size``, ``learning_rate``, ``momentum``, ``weight_decay`` and ``augment`` (a
        DSA strategy). For ``early_stopping`` and ``check_every`` see `ddbias.debias.surrogate.early_stopping`.
    seed : int
    device : device
    checkpoint : Checkpoint
        Where the training state is saved, and read from when a stopped job resumes.

    Returns
    -------
    Objective
        The argument of `embed`. Its ``model`` is the trained network: with early stopping that of the best separation,
        else that of the last step.
    dict of ndarray
        History, one row a step: ``step`` (int64, from 1), ``loss``, ``separation``, ``auc`` and ``conflicting_share``
        (float64). The last three are NaN where they were not measured, the last two also where attributes are unknown.

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
