"""The loop that trains surrogates of every kind, with its checkpoint and its history."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from ddbias.base.errors import DdbiasError
from ddbias.base.log import Progress
from ddbias.base.plugins.given import need
from ddbias.base.seeding import global_stream, stream
from ddbias.data.split import Split
from ddbias.debias.surrogate.early_stopping import BestState
from ddbias.debias.surrogate.objective import Objective, total_steps
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.optimiser import SGD
from ddbias.runtime.checkpoint import Checkpoint

COLUMNS = ("loss", "separation", "auc", "conflicting_share")  # of the history


def train(
    objective: Objective, split: Split, *, settings: Mapping, seed: int, device: torch.device, checkpoint: Checkpoint
) -> dict[str, np.ndarray]:
    """Train the network of an objective in place; see `ddbias.debias.surrogate.train_surrogate`.

    Returns
    -------
    dict of ndarray
        ``step`` (int64, from 1), and per step ``loss``, ``separation``, ``auc`` and ``conflicting_share`` (float64, NaN
        where not measured).
    """
    run = _Run(objective.to(device), split, settings, seed, device)
    start = run.restore(*checkpoint.load())
    progress = Progress(run.total, f"surrogate seed{seed}", start)
    for step in progress:
        loss = run.step(step)
        progress.show(step, loss=loss)
        if not math.isfinite(loss):
            raise DdbiasError(f"the loss of the surrogate is not finite at step {step}; lower its learning rate")
        if run.best:
            run.best.check(step, run.history)
        if checkpoint.due():
            checkpoint.save(step + 1, run.state())
    if run.best:
        run.best.take_up()
    return {"step": np.arange(1, run.total + 1), **dict(zip(COLUMNS, run.history.numpy().T.copy(), strict=True))}


class _Run:
    """The state of a training, and one step of it."""

    def __init__(self, objective: Objective, split: Split, settings: Mapping, seed: int, device: torch.device) -> None:
        self.objective, self.split, self.settings, self.seed, self.device = objective, split, settings, seed, device
        self.images, self.labels = split.tensors(device)
        self.optimiser = SGD(
            objective.trained(),
            learning_rate=settings["learning_rate"],
            momentum=settings["momentum"],
            weight_decay=settings["weight_decay"],
        )
        self.augment = DSA(settings["augment"])
        self.per_epoch = math.ceil(len(split) / settings["batch_size"])
        self.total = total_steps(settings, len(split))
        self.history = torch.full((self.total, len(COLUMNS)), torch.nan, dtype=torch.float64)
        self.best = BestState(objective, split, settings, seed, device) if settings.get("early_stopping") else None

    def step(self, step: int) -> float:
        """Update the network with one batch; return the loss."""
        epoch, position = divmod(step, self.per_epoch)
        order = torch.randperm(len(self.split), generator=stream(self.seed, "order", epoch))
        size = self.settings["batch_size"]
        rows = order[position * size :][:size].to(self.device)
        inputs = self.split.normalize(self.images[rows])
        views = [
            self.augment.per_sample(inputs, stream(self.seed, "augment", step, view))
            for view in range(self.objective.views)
        ]
        with global_stream(self.seed, "global", step):
            loss = self.objective.loss(views, self.labels[rows], rows)
            need(loss, "the loss", "loss", shape=[], types=["float32", "float64"])
            self.optimiser.step(loss)
        value = loss.item()
        self.history[step, 0] = value
        return value

    def state(self) -> dict[str, torch.Tensor]:
        """Return the tensors that a resumed job needs."""
        tensors = {f"model.{name}": value for name, value in self.objective.model.state_dict().items()}
        tensors |= {f"memory.{name}": value for name, value in self.objective.memory().items()}
        tensors |= self.best.state_dict() if self.best else {}
        return tensors | self.optimiser.state_dict() | {"history": self.history}

    def restore(self, step: int, state: Mapping[str, torch.Tensor]) -> int:
        """Load a state, if there is one; return the step to continue from."""
        if state:
            model = {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
            self.objective.model.load_state_dict(model)
            for name, tensor in self.objective.memory().items():
                tensor.copy_(state[f"memory.{name}"])
            if self.best:
                self.best.load_state_dict(state)
            self.optimiser.load_state_dict(dict(state))
            self.history.copy_(state["history"])
        return step
