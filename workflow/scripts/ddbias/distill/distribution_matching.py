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
from ddbias.distill.learner import Guidance, Learner
from ddbias.seeding import derive, stream


class Distiller(Learner):
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
    guidance : callable or None
        See `ddbias.distill.learner`.
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
        guidance: Guidance | None = None,
    ) -> None:
        super().__init__(images, settings, guidance)
        channels, size, _ = split.shape
        options = {name: value for name, value in network.items() if name != "kind"}
        self.network = networks.build(
            network["kind"], channels=channels, size=size, classes=split.classes, seed=seed, **options
        ).to(device)
        self.network.requires_grad_(False)
        self.frozen = FrozenEmbedding(self.network, device=device, precision=precision)
        self.augment = DSA(settings["augment"])
        self.seed, self.classes = seed, split.classes

    def match(self, step: int, real: torch.Tensor, batch: RealBatch) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of a step and its gradient with respect to the synthetic images."""
        networks.reset(self.network, stream(self.seed, "network", step))
        self.network.train()
        images = self.images.detach().requires_grad_(True)
        loss = self.loss(images, step, real, batch)
        (gradient,) = torch.autograd.grad(loss, images)
        return loss.detach(), gradient

    def loss(self, images: torch.Tensor, step: int, real: torch.Tensor, batch: RealBatch) -> torch.Tensor:
        """Return the matching loss of synthetic images in the current network, summed over the targets."""
        # One Siamese seed per class and step: real and synthetic images of a class get the same parameters.
        seeds = [derive(self.seed, "augment", step, label) % 2**31 for label in range(self.classes)]
        sizes = torch.bincount(batch.labels, minlength=self.classes).tolist()
        target = batch.pool.to(real.device) @ self.frozen(self._augmented(real.split(sizes), seeds))
        synthetic = self._augmented(images.chunk(self.classes), seeds)
        means = self.frozen.with_gradient(synthetic).unflatten(0, (self.classes, -1)).mean(1)
        return (target - means[batch.classes.to(real.device)]).square().sum()

    def _augmented(self, parts, seeds: list[int]) -> torch.Tensor:
        return torch.cat([self.augment(part, seed) for part, seed in zip(parts, seeds, strict=True)])
