"""The one loop that trains a classifier, used wherever a network is trained with labels.

Source: the evaluation loop of dataset condensation (DC, arXiv 2006.05929): SGD with momentum,
shuffled batches, and at the drop of the learning rate a *new* optimiser, which loses its momentum. Differs from
it in one point: epochs are cut into steps, so that "train for N steps" is the same loop.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import nn

from ddbias.base.errors import unknown
from ddbias.learning.augment.cutmix import CutMix
from ddbias.learning.augment.rules import Augmentation, augmentation
from ddbias.learning.optimiser import SGD, Adam

SCHEDULES = ("drop", "constant", "two_drops")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained; the defaults are DC's.

    `schedule` is ``drop`` (a tenth of the rate in the second half, see `epoch_phases`), ``constant`` (the nominal
    number of epochs at one rate) or ``two_drops`` (a fifth of it after 2/3 and again after 5/6 of them, momentum kept:
    IDC, arXiv 2205.14959). `cutmix` is the share of the batches that are mixed (`ddbias.learning.augment.cutmix`).
    `augment` names pieces, and `augment_rule` how they are applied (`ddbias.learning.augment.rules`).
    """

    learning_rate: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 5e-4
    batch_size: int = 256
    augment: str = "none"
    schedule: str = "drop"
    cutmix: float = 0.0
    augment_rule: str = "dsa"


def epoch_phases(epochs: int) -> list[int]:
    """Return the number of epochs at each learning rate (full, a tenth) of a nominal number of epochs.

    The published loop runs ``epochs + 1`` epochs and drops the rate after epoch index ``epochs // 2 + 1``:
    300 nominal epochs are 152 at 0.01 and 149 at 0.001, 1000 are 502 and 499.
    """
    first = min(epochs // 2 + 2, epochs + 1)
    return [first, epochs + 1 - first]


def step_phases(steps: int) -> list[int]:
    """Return the number of steps at each learning rate when a number of steps is stated instead of epochs."""
    return [math.ceil(steps / 2), steps // 2]


def thirds(length: int) -> list[int]:
    """Cut a number of epochs or steps after two thirds and after five sixths, as IDC's milestones do."""
    first, second = 2 * length // 3, 5 * length // 6
    return [first, second - first, length - second]


def phase_steps(count: int, recipe: Recipe, *, epochs: int | None, steps: int | None) -> list[int]:
    """Return the number of optimiser steps at each learning rate, of a training with `count` images; see `train`."""
    if (epochs is None) == (steps is None):
        raise ValueError(f"exactly one of epochs and steps must be given, not {epochs} and {steps}")
    if recipe.schedule not in SCHEDULES:
        raise unknown("schedule", recipe.schedule, SCHEDULES)
    per_epoch = math.ceil(count / recipe.batch_size)
    cut = {"constant": lambda length: [length], "two_drops": thirds}.get(recipe.schedule)
    if epochs is None:
        return (cut or step_phases)(steps)
    return [n * per_epoch for n in (cut or epoch_phases)(epochs)]


def shuffled_batches(count: int, batch_size: int, steps: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
    """Yield `steps` index tensors: epoch after epoch of a fresh permutation, the last batch of one may be short."""
    while steps > 0:
        for batch in torch.randperm(count, generator=generator).split(batch_size):
            if steps == 0:
                return
            yield batch
            steps -= 1


def train_step(
    network: nn.Module,
    optimiser: SGD | Adam,
    images: torch.Tensor,
    labels: torch.Tensor,
    batch: torch.Tensor,
    *,
    augment: Augmentation,
    prepare=None,
    generator: torch.Generator,
    loss: Callable | None = None,
    gradients: Callable | None = None,
    criterion: Callable = nn.functional.cross_entropy,
) -> torch.Tensor:
    """Do one step of the loop in `train` with the rows `batch` (B,) of `images`; return their mean loss, a scalar.

    The other parameters are as there; `optimiser` holds the parameters of `network`, and `generator` draws the
    augmentation.
    """
    batch = batch.to(images.device)
    inputs = images[batch] if prepare is None else prepare(images[batch])
    inputs, targets = augment.per_sample(inputs, generator), labels[batch]
    if gradients is not None:
        value, slopes = gradients(inputs, targets)
        optimiser.apply(slopes)
    else:
        value = criterion(network(inputs), targets) if loss is None else loss(inputs, targets, batch)
        optimiser.step(value)
    return value.detach()


def train(
    network: nn.Module,
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    recipe: Recipe,
    epochs: int | None = None,
    steps: int | None = None,
    prepare=None,
    generator: torch.Generator,
    loss: Callable | None = None,
    gradients: Callable | None = None,
    criterion: Callable = nn.functional.cross_entropy,
    adam: float | None = None,
    after_step: Callable | None = None,
) -> None:
    """Train `network` in place, with cross-entropy unless another loss is given.

    Parameters
    ----------
    network : Module
        On the device of `images`.
    images : Tensor, shape (N, C, H, W)
        Normalised float images, or anything that `prepare` turns into them batch by batch (raw uint8).
    labels : Tensor of int64, shape (N,)
        Or others (N, ...) that `criterion` takes.
    recipe : Recipe
    epochs, steps : int
        Exactly one of them: nominal epochs of the published loop, or optimiser steps.
    prepare : callable, optional
        Turns a batch of `images` into what the network sees.
    generator : Generator
        Source of the order of the batches and of the augmentation.
    loss : callable, optional
        Returns the loss of a batch, a scalar that depends on every parameter of `network`, from the prepared and
        augmented images (B, C, H, W), their labels (B,) and their rows (B,) in `images`. By default
        `criterion`.
    gradients : callable, optional
        Returns the mean cross-entropy of such images and labels, a scalar, and its gradients with respect to all
        parameters of `network`: a faster way than autograd's. Excludes `loss`, and a `criterion` of another kind.
    criterion : callable
        Returns the mean loss of logits (B, K) and labels, a scalar; for batches that CutMix has mixed, too.
    adam : float, optional
        Learning rate of Adam, which takes the place of the recipe's SGD and keeps its rate.
    after_step : callable, optional
        Called without arguments after each step.

    Raises
    ------
    ValueError
        If both or neither of `epochs` and `steps` are given, or CutMix and a loss or gradients of another kind.
    """
    if recipe.cutmix and (loss or gradients):
        raise ValueError("CutMix has a loss of its own")
    if recipe.cutmix:
        mixed = CutMix(recipe.cutmix)

        def loss(inputs: torch.Tensor, targets: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
            return mixed.loss(network, inputs, targets, generator, criterion)

    augment = augmentation(recipe.augment, recipe.augment_rule)
    rate, optimiser = recipe.learning_rate, None
    network.train()
    for phase in phase_steps(len(labels), recipe, epochs=epochs, steps=steps):
        if adam is not None:
            optimiser = optimiser or Adam(network.parameters(), learning_rate=adam)
        elif optimiser is None or recipe.schedule == "drop":
            momentum, decay = recipe.momentum, recipe.weight_decay
            optimiser = SGD(network.parameters(), learning_rate=rate, momentum=momentum, weight_decay=decay)
        optimiser.learning_rate = rate if adam is None else adam
        for batch in shuffled_batches(len(labels), recipe.batch_size, phase, generator):
            given = {"loss": loss, "gradients": gradients, "criterion": criterion}
            options = {"augment": augment, "prepare": prepare, "generator": generator, **given}
            train_step(network, optimiser, images, labels, batch, **options)
            if after_step is not None:
                after_step()
        rate *= 0.2 if recipe.schedule == "two_drops" else 0.1


@torch.no_grad()
def classify(
    network: nn.Module, images: torch.Tensor, *, prepare=None, logits: Callable | None = None, batch_size: int = 256
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the labels (N,) int64 that `network` predicts in evaluation mode, and its confidence (N,) float32 in each.

    `logits`, if given, returns those of `network` for prepared images (B, C, H, W) in a faster way. The confidence is
    the probability of the predicted label, NaN where the network diverged.
    """
    network.eval()
    forward = logits or network
    outputs = [forward(part if prepare is None else prepare(part)) for part in images.split(batch_size)]
    labels = torch.cat([output.argmax(1) for output in outputs])
    return labels, torch.cat([output.float().softmax(1).amax(1) for output in outputs])


def predict(network: nn.Module, images: torch.Tensor, **options) -> torch.Tensor:
    """Return the predicted labels (N,) int64; the options are those of `classify`."""
    return classify(network, images, **options)[0]
