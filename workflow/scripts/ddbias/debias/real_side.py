"""The real side of a matching step: which real images are drawn, and how they are pooled into targets.

A target is what synthetic images of a class are matched with: a weighted mean over real images of the batch.

``pooling: mean``
    one target for each class, an estimate of the weighted mean of the class by one of three draws:

    ``proportional``
        draw images with replacement in proportion to their weights and take the plain mean (importance sampling):
        unbiased, and a few large weights do not inflate its variance;
    ``weighted_mean``
        draw uniformly without replacement, add up weight times value and divide by the number of images: unbiased,
        since weights have mean 1 in a class;
    ``normalised_mean``
        the same, divided by the sum of the weights drawn, as Cui et al. (arXiv 2406.06609) print it: a ratio of two
        estimates, whose bias falls with the batch size.

    For a class whose weights are all equal, all three are the published draw: a uniform batch without replacement.
``pooling: groups``
    one target for each group present in the batch, its plain mean (FairDD, arXiv 2411.19623).
``pooling: barycentre``
    one target for each class, the mean of the means of the groups present (COBRA, arXiv 2605.00185).

    ``groups`` and ``barycentre`` draw ``uniform`` batches without replacement, as published, or ``proportional`` ones.

If a class has no more images than the batch size, all are in the batch, and its target is exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from ddbias.base.errors import DdbiasError, Misuse, unknown
from ddbias.base.log import logger
from ddbias.base.plugins.given import need
from ddbias.base.seeding import stream
from ddbias.learning.device import transfer

POOLINGS = ("mean", "groups", "barycentre")
DRAWS = ("proportional", "weighted_mean", "normalised_mean")
GROUP_DRAWS = ("uniform", "proportional")
REDUCTIONS = ("sum", "mean")


@dataclass(frozen=True, eq=False)
class RealSettings:
    """How the real images of a training split are drawn and pooled, as a debias of any kind says it.

    Attributes
    ----------
    weights : ndarray of float, shape (N,)
        Finite and not negative; only ratios within a class matter. With the poolings ``groups`` and ``barycentre``,
        matching uses them with the draw ``proportional`` only. Other draws, such as that of first images, always do.
    groups : ndarray of int64, shape (N,), or None
        Compared within a class only. None with the pooling ``mean``, required with the others.
    pooling : {"mean", "groups", "barycentre"}
    draw : str
        One of `DRAWS` with the pooling ``mean``, else of `GROUP_DRAWS`.
    reduction : {"sum", "mean"}
        Whether the distances to the groups of a class are added (FairDD) or averaged; matters with ``groups`` only.

    Raises
    ------
    DdbiasError
        If a name is unknown, groups are missing or given with the pooling ``mean``, or their number differs from that
        of the weights.
    """

    weights: np.ndarray
    groups: np.ndarray | None = None
    pooling: str = "mean"
    draw: str = "proportional"
    reduction: str = "sum"

    def __post_init__(self) -> None:
        if self.pooling not in POOLINGS:
            raise unknown("pooling", self.pooling, POOLINGS)
        if self.draw not in draws(self.pooling):
            raise unknown("draw", self.draw, draws(self.pooling))
        if self.reduction not in REDUCTIONS:
            raise unknown("reduction", self.reduction, REDUCTIONS)
        if (self.groups is None) != (self.pooling == "mean"):
            needs = "takes no groups" if self.groups is not None else "needs the group of every sample"
            raise DdbiasError(
                f"the pooling {self.pooling} {needs}; choose another debias or estimate its weights again"
            )
        if self.groups is not None and np.shape(self.groups) != np.shape(self.weights):
            raise DdbiasError(f"{np.size(self.groups)} groups for {np.size(self.weights)} weights")

    @classmethod
    def plain(cls, count: int) -> RealSettings:
        """Return the settings without debias, equal weights, for `count` samples."""
        return cls(np.ones(count))


def draws(pooling: str) -> tuple[str, ...]:
    """Return the draws that a pooling allows, the default first."""
    return DRAWS if pooling == "mean" else GROUP_DRAWS


@dataclass(frozen=True)
class Target:
    """What synthetic images of a class are matched with: a weighted mean over real images of a batch.

    Attributes
    ----------
    label : int
        The class.
    images : Tensor of int64, shape (m,)
        Positions in the batch of the images with a share above 0. If there is none, because all weights drawn are
        zero, one image of the class with the share 0, so that the target is not empty.
    share : Tensor of float32, shape (m,)
        Factor of each image in the weighted mean. The shares sum to 1; with the draw ``weighted_mean`` only in
        expectation.
    scale : float
        Factor of the distance to this target in the loss.
    """

    label: int
    images: torch.Tensor
    share: torch.Tensor
    scale: float = 1.0


@dataclass(frozen=True)
class RealBatch:
    """The real images of one step, and the targets into which they are pooled.

    Attributes
    ----------
    index : Tensor of int64, shape (M,)
        Rows of the split, sorted by class.
    labels : Tensor of int64, shape (M,)
    targets : tuple of R Targets
        Sorted by class.
    """

    index: torch.Tensor
    labels: torch.Tensor
    targets: tuple[Target, ...]

    @property
    def classes(self) -> torch.Tensor:
        """The class of every target, int64 (R,)."""
        return torch.tensor([target.label for target in self.targets])

    @property
    def scale(self) -> torch.Tensor:
        """The factor of the distance to every target in the loss, float32 (R,)."""
        return torch.tensor([target.scale for target in self.targets])

    @property
    def pool(self) -> torch.Tensor:
        """The shares as a matrix, float32 (R, M): ``pool @ embeddings`` gives the targets. Large for many classes."""
        matrix = torch.zeros(len(self.targets), len(self.index))
        for row, target in zip(matrix, self.targets, strict=True):
            row[target.images] = target.share
        return matrix

    def on(self, device: torch.device) -> tuple[RealBatch, torch.Tensor, torch.Tensor]:
        """Return the batch with its targets on a device, and `classes` and `scale` there: all in one transfer."""
        parts = [part for one in self.targets for part in (one.images, one.share)]
        *parts, classes, scale = transfer([*parts, self.classes, self.scale], device)
        pairs = zip(self.targets, parts[::2], parts[1::2], strict=True)
        return replace(self, targets=tuple(replace(one, images=i, share=s) for one, i, s in pairs)), classes, scale

    def blocks(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the shares class by class, so that one batched product gives all targets.

        Returns
        -------
        rows : Tensor of int64, shape (K, m)
            Positions in the batch of the images of each class; of a class with fewer than m, the rest is 0.
        shares : Tensor of float32, shape (K, r, m)
            Of these images in the targets of their class; 0 where there is no such image or target.
        places : Tensor of int64, shape (R,)
            Of every target among the K * r.

        Examples
        --------
        >>> import torch
        >>> half = torch.tensor([0.5, 0.5])
        >>> targets = (Target(0, torch.tensor([0, 1]), half), Target(1, torch.tensor([2]), half[:1]))
        >>> rows, shares, places = RealBatch(torch.tensor([7, 9, 4]), torch.tensor([0, 0, 1]), targets).blocks()
        >>> shares.tolist()
        [[[0.5, 0.5]], [[0.5, 0.0]]]
        """
        classes, counts = self.classes, self.labels.bincount()
        column = _places(self.labels)  # (M,)
        rows = torch.zeros(len(counts), int(counts.max()), dtype=torch.int64)
        rows[self.labels, column] = torch.arange(len(self.labels))
        row, targets = _places(classes), int(classes.bincount().max())
        shares = torch.zeros(len(counts), targets, rows.shape[1])
        for target, place in zip(self.targets, row.tolist(), strict=True):
            shares[target.label, place, column[target.images]] = target.share
        return rows, shares, classes * targets + row

    def of_class(self, label: int) -> list[Target]:
        """Return the targets of a class."""
        return [target for target in self.targets if target.label == label]


def _places(classes: torch.Tensor) -> torch.Tensor:
    """Return the place of each element of a sorted (n,) among those of its class."""
    counts = classes.bincount()
    return torch.arange(len(classes)) - (counts.cumsum(0) - counts)[classes]


class RealSide:
    """Draws the real batches of a distillation run.

    Parameters
    ----------
    labels : ndarray of int64, shape (N,)
    settings : RealSettings
    batch_size : int
        Images per class and step; of a class with fewer images all are in every batch.
    seed : int

    Attributes
    ----------
    classes : list of Tensor of int64, each of shape (n_c,)
        Rows of the split, for each class c.
    weights : list of Tensor of float64, each of shape (n_c,)
        Weights of these rows, with mean 1.
    uniform : list of bool
        For each class, whether its weights are all equal.

    Raises
    ------
    DdbiasError
        If a weight is negative or not finite, all weights of a class are zero, or a class below the largest label has
        no sample.
    """

    def __init__(self, labels: np.ndarray, settings: RealSettings, *, batch_size: int, seed: int) -> None:
        weights = check_weights(settings.weights, labels)
        self.settings, self.batch_size, self.seed = settings, batch_size, seed
        self.classes = [torch.from_numpy(np.flatnonzero(labels == c)) for c in range(int(labels.max()) + 1)]
        self.weights = [torch.from_numpy(weights[members.numpy()]) for members in self.classes]
        self.groups = None if settings.groups is None else torch.from_numpy(np.array(settings.groups, np.int64))
        empty = [label for label, members in enumerate(self.classes) if not len(members)]
        if empty:
            raise DdbiasError(f"class {empty[0]} has no training images; a data set needs images of every class")
        # For each class, since scaling to mean 1 may round differently in two classes.
        self.uniform = [bool((values == values[0]).all()) for values in self.weights]

    def batch(self, step: int) -> RealBatch:
        """Return the batch of a step; it depends on seed and step only, not on what was drawn before."""
        index, targets, place = [], [], 0
        for label in range(len(self.classes)):
            rows, pools = self._draw(label, stream(self.seed, "real_batch", step, label))
            for share, scale in pools:
                images = share.nonzero().flatten() if share.any() else torch.zeros(1, dtype=torch.int64)
                targets.append(Target(label, place + images, share[images].float(), scale))
            index.append(rows)
            place += len(rows)
        labels = torch.arange(len(index)).repeat_interleave(torch.tensor([len(rows) for rows in index]))  # (M,)
        return RealBatch(torch.cat(index), labels, tuple(targets))

    def _draw(self, label: int, generator: torch.Generator) -> tuple[torch.Tensor, list[tuple[torch.Tensor, float]]]:
        """Return rows (m,) of a class, and for each of its targets the shares, float64 (m,), and the scale."""
        members, weights = self.classes[label], self.weights[label]
        smaller = len(members) <= self.batch_size
        proportional = self.settings.draw == "proportional" and not self.uniform[label] and not smaller
        if proportional:
            chosen = torch.multinomial(weights, self.batch_size, replacement=True, generator=generator)
        else:
            chosen = torch.randperm(len(members), generator=generator)[: self.batch_size]
        if self.groups is not None:
            rows = members[chosen]
            return rows, pooled_groups(self.groups[rows], self.settings.pooling, self.settings.reduction)
        share = torch.full((len(chosen),), 1 / len(chosen), dtype=torch.float64)
        if not proportional and not self.uniform[label]:
            share = self._shares(weights[chosen])
        return members[chosen], [(share, 1.0)]

    def _shares(self, weights: torch.Tensor) -> torch.Tensor:
        """Return the shares (m,) of uniformly drawn images in the weighted mean of their class."""
        if self.settings.draw != "normalised_mean":
            return weights / len(weights)
        # If only samples of weight zero were drawn, equal shares avoid a division by zero.
        return weights / weights.sum() if weights.sum() > 0 else torch.full_like(weights, 1 / len(weights))

    def select(self, label: int, count: int, generator: torch.Generator) -> torch.Tensor:
        """Return different rows (count,) int64 of a class, drawn in proportion to their weights without replacement."""
        weights = self.weights[label]
        above = int((weights > 0).sum())
        if above < count:
            logger.warning(
                "class %d has %d images of weight above 0, so %d others are drawn", label, above, count - above
            )
        # So that samples of weight zero fill up the draw if there are too few others.
        weights = weights + weights.max() * 1e-12
        return self.classes[label][torch.multinomial(weights, count, replacement=False, generator=generator)]


def pooled_groups(groups: torch.Tensor, pooling: str, reduction: str) -> list[tuple[torch.Tensor, float]]:
    """Return shares (m,) float64 and scale of every target of images in groups (m,); see the module's docstring."""
    names, cell, sizes = groups.unique(return_inverse=True, return_counts=True)
    means = torch.nn.functional.one_hot(cell, len(names)).T.double() / sizes[:, None]  # (groups, m)
    if pooling == "barycentre":
        return [(means.mean(0), 1.0)]
    return [(mean, 1 / len(names) if reduction == "mean" else 1.0) for mean in means]


def check_weights(weights: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return sample weights (N,) scaled to mean 1 within each class, as float64.

    Raises
    ------
    DdbiasError
        If the lengths differ, a weight is negative or not finite, or all weights of a class are zero.
    """
    weights, labels = np.asarray(weights, np.float64), np.asarray(labels)
    if weights.shape != labels.shape:
        given = weights.size if weights.ndim == 1 else f"{weights.shape}"
        raise DdbiasError(f"{given} weights for {labels.size} samples; give one number for each")
    if not np.isfinite(weights).all() or (weights < 0).any():
        raise DdbiasError("weights must be finite and not negative")
    scaled = np.empty_like(weights)
    for label in np.unique(labels):
        members = labels == label
        of_class = weights[members]
        if of_class.max() == 0:
            raise DdbiasError(f"all weights of class {label} are zero")
        with np.errstate(over="ignore"):
            factor = members.sum() / of_class.sum()
        if not 0 < factor < np.inf:  # the sum, or one over it, is out of the range of floats
            of_class = of_class / of_class.max()
            factor = members.sum() / of_class.sum()
        scaled[members] = of_class * factor
    return scaled


def check_given(weights: np.ndarray, labels: np.ndarray, of: str) -> None:
    """Raise `Misuse` for unusable weights; `of` is the function of a debias that returned them."""
    need(weights, "the weights", of, shape=[len(labels)], types=["float64", "float32"])
    try:
        check_weights(weights, labels)
    except DdbiasError as error:
        raise Misuse(f"gives weights that cannot be used: {error}", of) from None
