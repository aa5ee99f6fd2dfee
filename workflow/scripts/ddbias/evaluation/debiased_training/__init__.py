"""Debiasing while a network is trained: what an evaluation trains, and with which loss.

A kind is one module with a class ``Learner`` (see `ddbias.evaluation.debiased_training.learner`). All are trained by
the one loop of `ddbias.learning.training`, with the batches and the augmentation of plain training; some with Adam at
one rate, the others with its optimiser and schedule. None uses attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from ddbias.base import plugins
from ddbias.base.plugins.given import need, need_kind
from ddbias.evaluation.debiased_training.learner import Build, Learner

__all__ = ["NONE", "model_and_loss"]

NONE = "none"


def model_and_loss(
    settings: Mapping, build: Build, labels: torch.Tensor, *, classes: int, steps: int, seed: int
) -> tuple[nn.Module, Callable | None]:
    """Return what is to be trained, and the loss for `ddbias.learning.training.train`.

    Parameters
    ----------
    settings : mapping
        ``kind``, which may be ``none``, and its options.
    build : callable
        See `ddbias.evaluation.debiased_training.learner.Learner`.
    labels : Tensor of int64, shape (N,)
        Of the images to train on, 0..K-1.
    classes : int
        K.
    steps : int
        Optimiser steps that the training will have.
    seed : int
        Of all random decisions of the kind.

    Returns
    -------
    model : Module
        Maps normalised images to logits. For ``none`` it is ``build()`` itself.
    loss : callable or None
        None stands for the cross-entropy of the model.

    Raises
    ------
    DdbiasError
        Unknown kind.
    """
    kind = settings["kind"]
    if kind == NONE:
        return build(), None
    options = {name: value for name, value in settings.items() if name != "kind"}
    code = plugins.module("debiasing", kind)
    with plugins.calling("debiasing", kind):
        learner = code.Learner(build, labels, classes=classes, steps=steps, seed=seed, **options)
        need_kind(learner, Learner, "itself", "Learner")

    def loss(*batch: torch.Tensor) -> torch.Tensor:
        with plugins.calling("debiasing", kind):
            value = learner.loss(*batch)
            need(value, "the loss", "loss", shape=[], types=["float32", "float64"])
        return value

    def check(_: nn.Module, given: tuple[torch.Tensor, ...], logits: torch.Tensor) -> None:
        with plugins.calling("debiasing", kind):
            need(logits, "the logits", "forward", shape=[len(given[0]), classes], types=["float32", "float64"])

    learner.register_forward_hook(check)
    return learner, loss
