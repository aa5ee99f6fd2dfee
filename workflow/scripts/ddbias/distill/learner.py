"""What all distillers that learn images have in common: the images, the optimiser of their pixels, the state."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from ddbias.debias.real_side import RealBatch
from ddbias.learning.optimiser import SGD

# guidance(images, step) -> (value of a further loss, its gradient with respect to the images)
Guidance = Callable[[torch.Tensor, int], tuple[float, torch.Tensor]]


class Learner:
    """A distiller whose step is one SGD update of the synthetic images. A method defines `match`, perhaps `after`.

    Parameters
    ----------
    images : Tensor of float32, shape (K * ipc, C, H, W)
        The synthetic images, class after class; changed in place.
    settings : mapping
        ``learning_rate`` and ``momentum`` of the pixels.
    guidance : callable or None
        A further loss on the images of every step, see `Guidance`.
    """

    def __init__(self, images: torch.Tensor, settings: Mapping, guidance: Guidance | None) -> None:
        self.images, self.guidance = images, guidance
        self.optimiser = SGD([images], learning_rate=settings["learning_rate"], momentum=settings["momentum"])

    def match(self, step: int, real: torch.Tensor, batch: RealBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the matching loss of a step, a scalar, and its gradient with respect to the images."""
        raise TypeError(f"{type(self).__name__} does not define match()")

    def after(self, step: int) -> None:
        """Do what follows the update of the images: nothing, unless a method says otherwise."""

    def step(self, step: int, real: torch.Tensor, batch: RealBatch) -> dict[str, float]:
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
            ``loss``, and ``guidance`` if there is one.
        """
        loss, gradient = self.match(step, real, batch)
        scalars = {"loss": loss.item()}
        if self.guidance is not None:
            scalars["guidance"], further = self.guidance(self.images.detach(), step)
            gradient = gradient + further
        self.optimiser.apply([gradient])
        self.after(step)
        return scalars

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all that a later step depends on, as named tensors."""
        return {"images": self.images, **self.optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up what `state_dict` returned."""
        with torch.no_grad():
            self.images.copy_(state["images"])
        self.optimiser.load_state_dict(state)
