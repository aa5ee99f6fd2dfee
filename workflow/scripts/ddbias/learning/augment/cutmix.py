"""CutMix: a box of every image comes from another image, and the loss takes both labels by their share of the area.

Source: Yun et al., "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features" (arXiv
1905.04899, section 3.1 and appendix A). As in its code, a batch shares one box, whose sides are even numbers of pixels,
and the share of the area is computed after the box was clipped to the image.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy


@dataclass(frozen=True)
class CutMix:
    """CutMix of some of the batches.

    Attributes
    ----------
    probability : float in 0..1
        Share of the batches that are mixed; 0 draws nothing.
    beta : float
        Before clipping, the share of an image's own area is drawn from Beta(beta, beta); 1 is uniform.
    """

    probability: float = 0.5
    beta: float = 1.0

    def loss(
        self,
        network: nn.Module,
        images: torch.Tensor,
        labels: torch.Tensor,
        generator: torch.Generator,
        criterion: Callable = cross_entropy,
    ) -> torch.Tensor:
        """Return the mean `criterion` of `network` on a batch that may be mixed.

        Parameters
        ----------
        network : Module
        images : Tensor of float, shape (B, C, H, W)
        labels : Tensor of int64, shape (B,)
        generator : Generator
            On the CPU; draws whether to mix, the share, the box and the partners.
        criterion : callable
            Returns the mean loss of logits and labels.

        Returns
        -------
        Tensor
            A scalar.
        """
        if not self.probability or torch.rand(1, generator=generator).item() >= self.probability:
            return criterion(network(images), labels)
        drawn = _beta(self.beta, generator)
        box = _box(*images.shape[2:], drawn, generator)
        partners = torch.randperm(len(images), generator=generator).to(images.device)
        mixed, share = mix(images, partners, box)
        logits = network(mixed)
        return share * criterion(logits, labels) + (1 - share) * criterion(logits, labels[partners])


def mix(images: torch.Tensor, partners: torch.Tensor, box: tuple[int, int, int, int]) -> tuple[torch.Tensor, float]:
    """Return images whose box is that of their partners, and the share of the area that stayed.

    Parameters
    ----------
    images : Tensor, shape (B, C, H, W)
    partners : Tensor of int64, shape (B,)
        Whose box each image gets.
    box : (top, bottom, left, right)
        In pixels, within the image; bottom and right are just outside of the box.
    """
    top, bottom, left, right = box
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[partners, :, top:bottom, left:right]
    height, width = images.shape[2:]
    return mixed, 1 - (bottom - top) * (right - left) / (height * width)


def _box(height: int, width: int, share: float, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Draw a box around a uniform centre, ``sqrt(1 - share)`` of each side long, clipped to the image."""
    borders = []
    for side in (height, width):
        half = int(side * math.sqrt(1 - share)) // 2
        centre = int(torch.randint(side, (1,), generator=generator).item())
        borders += [max(centre - half, 0), min(centre + half, side)]
    return tuple(borders)


def _beta(beta: float, generator: torch.Generator) -> float:
    """Draw from Beta(beta, beta). torch can do that from its global generator only."""
    seed = int(torch.randint(2**63 - 1, (1,), generator=generator).item())
    return float(np.random.default_rng(seed).beta(beta, beta))
