"""The real side of a matching step: which images are drawn and how they are pooled.

Two estimators of the same target, the weighted mean over a class:

``proportional``
    draw images with replacement in proportion to their weight and take the plain mean (importance sampling: few
    large weights do not blow up the variance of the estimate);
``weighted_mean``
    draw uniformly without replacement and take the weighted mean, as Cui et al. (arXiv 2406.06609) print it.

For a class whose weights are all equal both are the published draw: a uniform batch without replacement. A class no
larger than the batch gives all it has, weighted: the target itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ddbias.errors import DdbiasError, unknown
from ddbias.seeding import stream

DRAWS = ("proportional", "weighted_mean")


@dataclass(frozen=True)
class RealBatch:
    """Real images of one step and how they are pooled into targets.

    Attributes
    ----------
    index : Tensor of int64, shape (M,)
        Rows of the split, class after class.
    labels : Tensor of int64, shape (M,)
    pool : Tensor of float32, shape (R, M)
        Rows sum to 1: target r is ``pool[r] @ embedding``.
    classes : Tensor of int64, shape (R,)
        The class whose synthetic mean target r is matched with.
    """

    index: torch.Tensor
    labels: torch.Tensor
    pool: torch.Tensor
    classes: torch.Tensor


class RealSide:
    """Draws the real batches of a distillation run.

    Parameters
    ----------
    labels : ndarray of int64, shape (N,)
    weights : ndarray of float, shape (N,)
        Non-negative; only ratios within a class matter.
    batch_size : int
        Images per class and step; a smaller class gives all it has.
    draw : {"proportional", "weighted_mean"}
    seed : int

    Raises
    ------
    DdbiasError
        If the draw is unknown, the weights cannot be weights, or a class below the largest label has no sample.
    """

    def __init__(self, labels: np.ndarray, weights: np.ndarray, *, batch_size: int, draw: str, seed: int) -> None:
        if draw not in DRAWS:
            raise unknown("draw", draw, DRAWS)
        weights = check_weights(weights, labels)
        self.batch_size, self.draw, self.seed = batch_size, draw, seed
        self.classes = [torch.from_numpy(np.flatnonzero(labels == c)) for c in range(int(labels.max()) + 1)]
        self.weights = [torch.from_numpy(weights[members.numpy()]) for members in self.classes]
        empty = [label for label, members in enumerate(self.classes) if not len(members)]
        if empty:
            raise DdbiasError(f"class {empty[0]} has no training images; a data set needs images of every class")
        # By class, since scaling to mean 1 may round differently in two classes.
        self.uniform = [bool((values == values[0]).all()) for values in self.weights]

    def batch(self, step: int) -> RealBatch:
        """Return the batch of a step; the same for the same step, whatever was drawn before."""
        draws = [self._draw(c, stream(self.seed, "real_batch", step, c)) for c in range(len(self.classes))]
        index, share = zip(*draws, strict=True)
        sizes = [len(part) for part in index]
        labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        return RealBatch(torch.cat(index), labels, torch.block_diag(*share).float(), torch.arange(len(sizes)))

    def _draw(self, label: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        members, weights = self.classes[label], self.weights[label]
        smaller = len(members) <= self.batch_size
        if self.draw == "proportional" and not self.uniform[label] and not smaller:
            chosen = torch.multinomial(weights, self.batch_size, replacement=True, generator=generator)
            share = torch.full((self.batch_size,), 1 / self.batch_size, dtype=torch.float64)
        else:
            chosen = torch.randperm(len(members), generator=generator)[: self.batch_size]
            share = weights[chosen]
            # A uniform draw may hit only samples of weight zero: it then says nothing about the target but must
            # not divide by zero.
            share = share / share.sum() if share.sum() > 0 else torch.full_like(share, 1 / len(share))
        return members[chosen], share

    def select(self, label: int, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return `count` different rows (count,) of a class, drawn in proportion to their weights."""
        weights = self.weights[label]
        # Samples of weight zero still come last when there are too few others.
        weights = weights + weights.max() * 1e-12
        return self.classes[label][torch.multinomial(weights, count, replacement=False, generator=generator)]


def check_weights(weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return sample weights as float64 scaled to mean 1 within each class; refuse what cannot be weights."""
    weights, labels = np.asarray(weights, np.float64), np.asarray(labels)
    if weights.shape != labels.shape:
        raise DdbiasError(f"{weights.size} weights for {labels.size} samples")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise DdbiasError("weights must be finite and not negative")
    scaled = np.empty_like(weights)
    for label in np.unique(labels):
        members = labels == label
        total = weights[members].sum()
        if total <= 0:
            raise DdbiasError(f"all weights of class {label} are zero")
        scaled[members] = weights[members] * (members.sum() / total)
    return scaled
