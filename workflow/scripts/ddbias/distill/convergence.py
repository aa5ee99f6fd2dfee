"""Has a distilled set converged: how far its images moved, and whether the matching loss still changes.

The loss of a step is too noisy for this: network, real batch and augmentation are new in each. So the matching loss is
measured on a fixed *probe*: `NETWORKS` networks, each with its own real images and augmentation, from random streams
that no step uses. The measurements are spread evenly over the run.

A run has *converged* when the mean probe loss of its last quarter differs from that of the quarter before by less than
`TOLERANCE` of the total fall since the first measurement, or by less than two standard errors (over the measurements,
between which the images fluctuate): no change was detected, which is little to say where few measurements count or they
fluctuate much. A loss that rises has not converged: the steps are too large. A share of the loss itself would not do:
the loss falls like a power of the number of steps, in the measured runs by a tenth and more in every quarter, even when
the accuracy of networks trained on the images no longer changed. If the learning rate decays at the end, only the
measurements before that count, since any loss stops falling at learning rate 0; the decay only removes noise. Ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ddbias.base.seeding import derive
from ddbias.data.split import Split
from ddbias.debias.real_side import RealSettings, RealSide

NETWORKS, BATCH = 4, 128
LOOKS, FEWEST = 24, 8  # measurements in a run that has as many steps; below FEWEST no run counts as converged
LONG = 1000  # runs of so many steps measure a probe that costs as much as NETWORKS steps LOOKS times, too
TOLERANCE = 0.02


def has_converged(losses: np.ndarray) -> bool:
    """Tell whether a run has converged.

    Parameters
    ----------
    losses : ndarray of float, shape (T,)
        Mean probe losses of all measurements, in their order; the first one before the first step.

    Returns
    -------
    bool
        False for fewer than `FEWEST` measurements after the first.

    Examples
    --------
    >>> import numpy as np
    >>> has_converged(0.5 ** np.arange(9.0)), has_converged(1 - np.arange(9.0) / 9)
    (True, False)
    """
    quarter = (len(losses) - 1) // 4
    if len(losses) <= FEWEST:
        return False
    before, last = losses[-2 * quarter : -quarter], losses[-quarter:]
    error = np.sqrt((before.var(ddof=1) + last.var(ddof=1)) / quarter)
    fall = losses[0] - last.mean()
    return bool(fall > 0 and abs(before.mean() - last.mean()) < max(TOLERANCE * fall, 2 * error))


class Probe:
    """Measures the matching loss of a distiller on its own networks and real images.

    Parameters
    ----------
    method : Learner
        One with a ``probe_loss``; its state is restored afterwards.
    split : Split
    real : RealSettings
        How the debias weights the real images.
    steps : int
        Number of steps of the whole run.
    seed : int
        Seed of the run; the probe uses other streams.
    device : device

    Attributes
    ----------
    every : int
        Steps between two measurements.
    losses : list of list of float
        One list for each measurement, the first one before the first step; one loss for each network.
    """

    def __init__(
        self, method, split: Split, real: RealSettings, *, steps: int, seed: int, device: torch.device
    ) -> None:
        self.method, self.split, self.device = method, split, device
        self.seed = derive(seed, "probe")
        looks = LOOKS if method.cheap_probe or steps >= LONG else FEWEST
        self.every = max(1, steps // looks)
        side = RealSide(split.labels, real, batch_size=BATCH, seed=self.seed)
        self.batches = [side.batch(index) for index in range(NETWORKS)]
        self.losses: list[list[float]] = []

    def due(self, step: int) -> bool:
        """Tell whether to measure after `step` steps."""
        return step % self.every == 0 and len(self.losses) == step // self.every

    def look(self, pixels: torch.Tensor) -> None:
        """Add the loss of the current images; `pixels` are all training images, uint8 (N, C, H, W) on the device."""
        kept = {name: tensor.clone() for name, tensor in self.method.state_dict().items()}
        seed, self.method.seed = self.method.seed, self.seed
        try:
            losses = []
            for index, batch in enumerate(self.batches):
                real = self.split.normalize(pixels[batch.index.to(self.device)])
                losses.append(float(self.method.probe_loss(index, real, batch)))
        finally:
            self.method.seed = seed
            self.method.load_state_dict(kept)
        self.losses.append(losses)

    def converged(self, step: float) -> bool:
        """Tell whether the run had converged after `step` steps, from the measurements so far."""
        return has_converged(np.array(self.losses)[: int(step // self.every) + 1].mean(-1))

    def first_converged(self) -> int | None:
        """Return the steps after which the run had converged for the first time, None if it has not yet."""
        looks = range(FEWEST, len(self.losses))
        return next((look * self.every for look in looks if self.converged(look * self.every)), None)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the measured losses as named tensors."""
        return {"probe": torch.tensor(self.losses, dtype=torch.float64)} if self.losses else {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.losses = state["probe"].tolist() if "probe" in state else []

    def curve(self, steps_per_iteration: int = 1) -> dict[str, list[float]]:
        """Return the iterations of the measurements, the mean losses and their standard errors over the networks."""
        losses = np.array(self.losses)
        return {
            "iteration": [look * self.every / steps_per_iteration for look in range(len(losses))],
            "loss": losses.mean(1).tolist(),
            "standard_error": (losses.std(1, ddof=1) / np.sqrt(losses.shape[1])).tolist(),
        }


def moved(first: torch.Tensor, last: torch.Tensor, std: Sequence[float]) -> float:
    """Return the mean |change| of a raw pixel, 0..255, of images (M, C, H, W) that were normalised with `std`."""
    scale = torch.tensor(std, dtype=torch.float64).view(-1, 1, 1) * 255
    return float(((last.double() - first.double()).abs() * scale).mean())
