"""Which images a distilled set begins with."""

from __future__ import annotations

import numpy as np
import torch

from ddbias.base.errors import DdbiasError, unknown
from ddbias.base.seeding import stream
from ddbias.data.split import Split
from ddbias.debias.real_side import RealSettings, RealSide

INITS = ("balanced", "noise", "real", "stratified", "weighted_real")


def initial_rows(
    split: Split, side: RealSide, *, init: str, ipc: int, seed: int, among: np.ndarray | None = None
) -> torch.Tensor | None:
    """Return the rows (K * ipc,) of the first synthetic images, class after class; None where they are noise.

    ``real``: a uniform draw without replacement (DSA, DM); ``stratified``: the same with as many conflicting samples as
    the split has in proportion, see `stratified_rows`; ``balanced``: as many of every attribute, see `balanced_rows`;
    ``weighted_real``: a draw in proportion to the debias weights, the same as ``real`` when they are uniform. `among`,
    a mask (N,), says which images are drawn from; None: all.

    Raises
    ------
    DdbiasError
        If a class has, or `among` leaves of it, fewer than `ipc` images.
    """
    if init not in INITS:
        raise unknown("init", init, INITS)
    if init == "noise":
        return None
    among = np.ones(len(split), bool) if among is None else among
    counts = np.bincount(split.labels[among], minlength=split.classes)
    if counts.min() < ipc:
        wrong = "a model of the pool classifies the others wrongly; train it longer"
        raise DdbiasError(
            f"only {counts.min()} images of class {counts.argmin()} can be first ones, not {ipc}: "
            + ("choose fewer images per class" if among.all() else wrong)
        )
    if init == "stratified":
        return stratified_rows(split, ipc, seed, among)
    if init == "balanced":
        return balanced_rows(split, ipc, seed, among)
    if init == "real":
        side = RealSide(split.labels, RealSettings.plain(len(split)), batch_size=1, seed=seed)
    chosen = []
    for label in range(split.classes):
        # Leaving out some of a draw without replacement is one from the others, weighted or not.
        count = ipc if among.all() else len(side.classes[label])
        rows = side.select(label, count, stream(seed, "init", label))
        chosen.append(rows[among[rows.numpy()]][:ipc])
    return torch.cat(chosen)


def initial_images(split: Split, side: RealSide, **options: object) -> torch.Tensor:
    """Return the first synthetic images, class after class, normalised float32 (K * ipc, C, H, W).

    Those of `initial_rows`, whose options they are, or standard normal ``noise`` (DC).
    """
    rows = initial_rows(split, side, **options)
    if rows is None:
        shape = (split.classes * options["ipc"], *split.shape)
        return torch.randn(shape, generator=stream(options["seed"], "init"))
    return split.normalize(torch.from_numpy(split.images[rows.numpy()]))


def stratified_rows(split: Split, ipc: int, seed: int, among: np.ndarray | None = None) -> torch.Tensor:
    """Return rows (K * ipc,), class after class, with as many conflicting samples as the split has in proportion.

    In all classes together that number is exact to half a sample; those of a class differ from its proportion by less
    than one, and which classes have the odd ones is drawn. Uses the attribute. Only images of `among`, a mask (N,), are
    drawn; where it leaves too few conflicting ones, there are fewer.

    Raises
    ------
    DdbiasError
        If it is not known which samples are conflicting.
    """
    if split.conflicting is None:
        raise DdbiasError("init: stratified needs known conflicting samples (an attribute and its pairs); choose real")
    members = [split.labels == label for label in range(split.classes)]
    wanted = np.array([ipc * split.conflicting[some].mean() for some in members])
    among = np.ones(len(split), bool) if among is None else among
    strata = [
        [np.flatnonzero(some & among & (split.conflicting == kind)) for kind in (False, True)] for some in members
    ]
    counts = np.floor(wanted).astype(int)
    odd = round(wanted.sum()) - counts.sum()
    # The largest fractions first; among equal ones (all classes alike) a draw decides.
    order = torch.randperm(split.classes, generator=stream(seed, "init", "stratified")).numpy()
    for label in order[np.argsort(-(wanted - counts)[order].round(6), kind="stable")][:odd]:
        counts[label] += 1
    rows = []
    for label, (aligned, conflicting) in enumerate(strata):
        count = min(max(counts[label], ipc - len(aligned)), len(conflicting))
        for kind, members, number in (("aligned", aligned, ipc - count), ("conflicting", conflicting, count)):
            chosen = torch.randperm(len(members), generator=stream(seed, "init", "stratified", label, kind))[:number]
            rows.append(torch.from_numpy(members)[chosen])
    return torch.cat(rows)


def balanced_rows(split: Split, ipc: int, seed: int, among: np.ndarray | None = None) -> torch.Tensor:
    """Return rows (K * ipc,), class after class, with as many images of every attribute within a class.

    Numbers of a class's attributes differ by one at most, by a draw, unless an attribute has too few images; those of
    the others take their place. Only images of `among`, a mask (N,), are drawn. FairDD (arXiv 2411.19623), Table 6.

    Raises
    ------
    DdbiasError
        If the attribute is not known.
    """
    if split.attributes is None:
        raise DdbiasError("init: balanced needs a known attribute; choose real")
    rows = []
    for label in range(split.classes):
        members = np.flatnonzero((split.labels == label) & (True if among is None else among))
        members = members[torch.randperm(len(members), generator=stream(seed, "init", "balanced", label)).numpy()]
        # The first image of every attribute, in the order drawn, then the second of every attribute, and so on.
        turn, attributes = np.empty(len(members), np.int64), split.attributes[members]
        for attribute in np.unique(attributes):
            own = attributes == attribute
            turn[own] = np.arange(own.sum())
        rows.append(torch.from_numpy(members[np.argsort(turn, kind="stable")][:ipc]))
    return torch.cat(rows)
