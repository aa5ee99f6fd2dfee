"""What all distillers that learn images have in common: the images, the optimiser of their pixels, the state."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from ddbias.base.errors import Misuse, unknown
from ddbias.base.plugins.given import need
from ddbias.data.soft_labels import SoftLabels
from ddbias.data.split import Split
from ddbias.debias.real_side import RealBatch
from ddbias.learning.optimiser import SGD

# guidance(images, step) -> (value of a further loss, its gradient with respect to the images)
Guidance = Callable[[torch.Tensor, int], tuple[float, torch.Tensor]]


DECAYS = ("none", "cosine")
FULL_SHARE = 0.5  # of a run with decay: its learning rate is the whole one until then
USUAL_IPC = 10  # images per class of the published learning rates


def step_scale(split: Split, ipc: int) -> torch.Tensor:
    """Return the factor of a gradient with which a step is comparable for all data sets and numbers of images.

    The gradient of a class mean is divided by the number of its images, and a raw pixel is moved ``std**2`` times as
    far as one that is not normalised. With this factor a step is as if images were normalised by their own statistics
    and a class had ten of them. Ours.

    Parameters
    ----------
    split : Split
    ipc : int

    Returns
    -------
    Tensor of float32, shape (C, 1, 1)
    """
    # A channel without any contrast has a deviation of 1, the largest: the smallest is one of a channel that has.
    own = min(split.meta.get("own_std", split.meta["std"]))
    return torch.tensor([ipc / USUAL_IPC * (own / std) ** 2 for std in split.meta["std"]]).view(-1, 1, 1)


def reported(loss: torch.Tensor) -> float | torch.Tensor:
    """Return a loss for the history: its value, or itself where the host would have to wait for it."""
    # A copy: the next replay of a captured graph writes into the tensors that the last one returned.
    return loss.item() if loss.device.type == "cpu" else loss.detach().clone()


class Learner:
    """Base class of distillers that learn images: a step is one SGD update of the synthetic images.

    A method is a subclass called ``Distiller`` with ``Distiller(split, *, settings, network, images, seed, device,
    precision, guidance)``. It defines `match`, perhaps `after`, or a `step` of its own, and changes ``images`` in
    place. Everything random in a step comes from streams named by the step's number, and what a later step depends on
    is in `state_dict`: a resumed run is then bit-identical.

    Parameters
    ----------
    images : Tensor of float32, shape (K * ipc, C, H, W)
        The synthetic images, class after class, as networks see them (`Split.normalize`); changed in place.
    settings : mapping
        ``learning_rate`` and ``momentum`` of the pixels, perhaps ``decay``, one of `DECAYS`.
    guidance : callable or None
        A further loss on the images of every step, see `Guidance`.

    Attributes
    ----------
    needs_real, needs_side, needs_models, needs_data : bool
        Of the class: a step gets real images and how they are pooled; the constructor also gets ``side``, a
        `ddbias.debias.real_side.RealSide`, ``models``, the files of every pool that it uses, or ``data``, where files
        of the user are searched.
    steps_per_iteration : int
        Updates for one of the ``iterations`` of the settings.
    formation : int
        Each image holds ``formation ** 2`` training images, see `ddbias.data.formation`.
    learned_rate : float or None
        Learning rate that the method learned for training on its images, if it does.
    soft_labels : SoftLabels or None
        Labels that the method learned for its images, if it does.
    probe_loss : callable or None
        ``probe_loss(index, real, batch) -> float``, the matching loss of a step without its update, with random streams
        named by ``self.seed`` and `index`. It decides whether the run has converged, see `ddbias.distill.convergence`.
    cheap_probe : bool
        Of the class: ``probe_loss`` takes much less time than a step.
    """

    needs_real, needs_side, needs_models, needs_data = True, False, False, False
    steps_per_iteration: int = 1
    formation: int = 1
    learned_rate: float | None = None
    soft_labels: SoftLabels | None = None
    probe_loss: Callable[[int, torch.Tensor, RealBatch], float] | None = None
    cheap_probe: bool = False

    def __init__(self, images: torch.Tensor, settings: Mapping, guidance: Guidance | None) -> None:
        self.images, self.guidance = images, guidance
        self.decay = settings.get("decay", "none")
        if self.decay not in DECAYS:
            raise unknown("decay", self.decay, DECAYS)
        self.learning_rate = settings["learning_rate"]
        self.optimiser = SGD([images], learning_rate=settings["learning_rate"], momentum=settings["momentum"])

    @classmethod
    def eligible(
        cls,
        split: Split,
        *,
        settings: Mapping,
        models: Mapping[str, Sequence[str | Path]],
        seed: int,
        device: torch.device,
    ) -> np.ndarray | None:
        """Return a mask (N,) of the training images that may be first ones; None: all."""
        return None

    def match(self, step: int, real: torch.Tensor, batch: RealBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the matching loss of a step, a scalar, and its gradient with respect to the images."""
        raise Misuse("defines neither match nor step", "Distiller")

    def after(self, step: int) -> None:
        """Do what follows the update of the images: nothing, unless a method says otherwise."""

    def step(self, step: int, real: torch.Tensor, batch: RealBatch) -> dict[str, float | torch.Tensor]:
        """Do one update of the synthetic images.

        Parameters
        ----------
        step : int
            Names the random streams of the step.
        real : Tensor of float32, shape (M, C, H, W)
            Normalised real images, class after class.
        batch : RealBatch
            How they are pooled.

        Returns
        -------
        dict
            ``loss``, and ``guidance`` if there is one: numbers, or on a GPU scalars that the engine reads later.
        """
        matched = self.match(step, real, batch)
        if not isinstance(matched, tuple) or len(matched) != 2:
            raise Misuse(f"gives {type(matched).__name__}, not the pair of the loss and its gradient", "match")
        scalars = self.update(step, *matched)
        self.after(step)
        return scalars

    def update(
        self, step: int, loss: torch.Tensor, gradient: torch.Tensor, gain: torch.Tensor | None = None
    ) -> dict[str, float | torch.Tensor]:
        """Move the images by the gradient of matching loss and guidance, perhaps times a gain; returns as `step`."""
        need(loss, "the loss", "match", shape=[], types=["float32", "float64"])
        need(gradient, "the gradient", "match", shape=self.images.shape, types=["float32"])
        scalars = {"loss": reported(loss)}
        if self.guidance is not None:
            scalars["guidance"], further = self.guidance(self.images.detach(), step)
            gradient = gradient + further
        self.optimiser.apply([gradient if gain is None else gradient * gain])
        return scalars

    def anneal(self, share: float) -> None:
        """Set the learning rate of the pixels for a share 0..1 of the run."""
        if self.decay == "cosine" and share > FULL_SHARE:
            past = (share - FULL_SHARE) / (1 - FULL_SHARE)
            self.optimiser.learning_rate = self.learning_rate * (1 + math.cos(math.pi * past)) / 2

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all that a later step depends on, as named tensors."""
        return {"images": self.images, **self.optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned."""
        with torch.no_grad():
            self.images.copy_(state["images"])
        self.optimiser.load_state_dict(state)
