"""DM: match the mean embedding of each class under randomly initialised networks.

Source: Zhao and Bilen, "Dataset Condensation with Distribution Matching" (arXiv 2110.04181); reference spec D.2.
Loss of a step, with a fresh network of frozen weights: sum over targets of |target - mean phi(S_c)|^2 (summed over
features), pixels moved by SGD with momentum 0.5. Differs from the public code in: one forward pass for all classes;
the targets may be weighted (`ddbias.debias.real_side`); named random streams instead of the clock.

Cost: one forward pass of the real batch and one forward and backward pass of the synthetic images a step.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from ddbias import networks
from ddbias.augment import DSA
from ddbias.data import Split
from ddbias.debias.real_side import RealBatch
from ddbias.distill.frozen import FrozenEmbedding
from ddbias.optimiser import SGD
from ddbias.seeding import derive, stream


class Distiller:
    """The distribution matching step (see the module's text).

    Parameters
    ----------
    split : Split
        Training images; only shape and number of classes are used.
    settings : mapping
        ``learning_rate``, ``momentum``, ``augment``.
    network : mapping
        ``kind`` and options of the embedding network.
    images : Tensor, shape (K * ipc, C, H, W)
        The synthetic images, class after class; changed in place.
    seed : int
    device : device
    precision : {"exact", "fast"}
    """

    def __init__(
        self,
        split: Split,
        *,
        settings: Mapping,
        network: Mapping,
        images: torch.Tensor,
        seed: int,
        device: torch.device,
        precision: str,
    ) -> None:
        channels, size, _ = split.shape
        options = {name: value for name, value in network.items() if name != "kind"}
        self.network = networks.build(
            network["kind"], channels=channels, size=size, classes=split.classes, seed=seed, **options
        ).to(device)
        self.network.requires_grad_(False)
        self.frozen = FrozenEmbedding(self.network, device=device, precision=precision)
        self.augment = DSA(settings["augment"])
        self.seed, self.classes = seed, split.classes
        self.images = images.requires_grad_(True)
        self.optimiser = SGD([images], learning_rate=settings["learning_rate"], momentum=settings["momentum"])

    def step(self, step: int, real: torch.Tensor, batch: RealBatch) -> dict[str, float]:
        """Do one update of the synthetic images.

        Parameters
        ----------
        step : int
            Names the random streams of the step.
        real : Tensor, shape (M, C, H, W)
            Normalised real images, class after class.
        batch : RealBatch
            How they are pooled.

        Returns
        -------
        dict
            ``loss``.
        """
        networks.reset(self.network, stream(self.seed, "network", step))
        self.network.train()
        loss = self.loss(step, real, batch)
        self.optimiser.step(loss)
        return {"loss": loss.item()}

    def loss(self, step: int, real: torch.Tensor, batch: RealBatch) -> torch.Tensor:
        """Return the matching loss of the current network, summed over the targets."""
        # One Siamese seed per class and step: real and synthetic images of a class get the same parameters.
        seeds = [derive(self.seed, "augment", step, label) % 2**31 for label in range(self.classes)]
        sizes = torch.bincount(batch.labels, minlength=self.classes).tolist()
        target = batch.pool.to(real.device) @ self.frozen(self._augmented(real.split(sizes), seeds))
        synthetic = self._augmented(self.images.chunk(self.classes), seeds)
        means = self.frozen.with_gradient(synthetic).unflatten(0, (self.classes, -1)).mean(1)
        return (target - means[batch.classes.to(real.device)]).square().sum()

    def _augmented(self, parts, seeds: list[int]) -> torch.Tensor:
        return torch.cat([self.augment(part, seed) for part, seed in zip(parts, seeds, strict=True)])

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return all that a later step depends on, as named tensors."""
        return {"images": self.images, **self.optimiser.state_dict()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up what `state_dict` returned."""
        with torch.no_grad():
            self.images.copy_(state["images"])
        self.optimiser.load_state_dict(state)
