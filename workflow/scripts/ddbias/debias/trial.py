"""A trial of weights before a debias trusts them: do they help anybody? Needs no attribute label. Ours.

Low density, a large loss or a contradicted label may mean a conflicting sample, but also an outlier, a hard image or a
wrong label. The first deserves weight: others of its kind can be learnt from it. The other three do not. So weights are
tried out, out of fold:

1. The training split is halved at random. On each half two small classifiers are trained from the same first
   parameters, one on samples drawn alike often and one on samples drawn by weight; both predict the other half.
2. A sample's gain is 1 where only the weighted classifier is right, -1 where only the other one is, and 0 elsewhere.
   The gain of the weights is the mean of the samples' gains counted by weight, plus their mean counted alike. The first
   is what the weights promise, the second what they cost where nothing is wrong. Nobody knows which of the two is the
   truth, so both count.
3. Weights pass if their gain is more than two standard errors above 0 and more than .08: four points on average of the
   two. Half of both is enough where there is evidence of a bias already (`ddbias.debias.evidence`), so that only wrong
   labels are left to be told: they lose. A debias with predictions brings this evidence; for the others it is that of
   the classifiers of equal weights: of the samples that they are wrong on, at least .4 have an excluded label. Of
   several candidates that pass the one is taken whose gain is the most standard errors above 0: neither few samples,
   whose gain is large by luck, nor many that gain little. If none passes, all samples count alike.
4. Of the samples that the chosen weights lift (above 1), those whose label the weighted classifier of the other half
   excludes are *doubted*: their like would be known by now, unless the label is wrong. If at least ten samples a class
   are lifted, and the classifiers are right on 1.5 times as many of them as they doubt, they know enough to be
   believed, and the doubted get the least weight of their class. For the debias kinds of ours only; weights that were
   published stay as they are.

Where labels are wrong no classifier can be right on both sides, as nothing in the images tells them apart. Developed on
training images of MNIST with coloured digits, Fashion-MNIST with coloured backgrounds and letters drawn from fonts with
6 % wrong labels (8,000 images each; MNIST also with 10 % wrong labels), and on 1,200 handwritten digits, all at the
aligned ratios .95 and .1, MNIST also at .8. The surest gain of `ddbias.debias.kinds.contradiction` was .06 (MNIST at
.8) to .41 on the biased sets, on digits .09 to .12 with standard errors of .05 to .06; on the unbiased ones -.62 to
.04, on digits up to .13 with an error of .08. The bounds lie between, and evidence decides on digits. The evidence of
the classifiers of equal weights is .50 to .66 on five biased sets of digits (seeds 0 to 2, 10, 11) and .18 to .27 on
those without a bias; .17 to .38 and .09 to .20 on the larger ones, where ``kde`` gains enough without it. On digits
``kde`` gains .05 to .12 (errors of .03 to .05), and without a bias no more than .03 (.02). Of the lifted samples 1.9 to
27 times as many are right as are doubted on the larger sets, where 32 to 55 a class are lifted; on digits, 2 to 4 a
class and up to 1.5 times, and the doubted are conflicting.

**What it cannot tell** are conflicting samples from hard ones that much data teaches: on all 60,000 images of MNIST
where colour says nothing the gain is .27. `ddbias.debias.evidence` can, and is asked first by the kinds that have
predictions.

Fails where the bias is lost in averaged images (`ddbias.debias.coarse`), where conflicting samples are too few to learn
their classes from, and where most of the weight is on noise.

Cost: two classifiers for each candidate and two more, each of 150 steps of 128 small images and a pass over half the
split; 15 seconds a candidate for 8,000 images on one core.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from ddbias.base.groups import class_members
from ddbias.base.seeding import derive, stream
from ddbias.data.split import Split
from ddbias.debias.coarse import coarse_split
from ddbias.debias.estimates import Estimate, mean_one
from ddbias.debias.evidence import excluded
from ddbias.learning import networks
from ddbias.learning.optimiser import SGD

HALVES = 2
STEPS, BATCH = 150, 128
RATE, MOMENTUM, DECAY = 0.05, 0.9, 5e-4
NETWORK = {"kind": "convnet", "width": 32, "depth": 2}
ERRORS, LEAST_GAIN = 2.0, 0.08  # standard errors, and how much, a gain must exceed
WITH_EVIDENCE = 0.5  # of both, where there is evidence of a bias
OWN_EVIDENCE = 0.4  # of the classifiers of equal weights
LEAST_LIFTED = 10  # samples a class must be lifted
CONFIRMED = 1.5  # and times as many of them must be right as are doubted, before doubts are believed


@dataclass(frozen=True, eq=False)
class Trial:
    """What a trial found.

    Attributes
    ----------
    gains, errors : list of float
        Of each candidate, -2..2: what its weights gain, and the standard error of that over the samples.
    chosen : int or None
        The candidate to take; None if samples should count alike.
    evident : bool
        Whether half the gain was asked for.
    doubted : ndarray of bool, shape (N,), or None
        Lifted samples of the chosen candidate that should not be; None if no candidate was chosen.
    """

    gains: list[float]
    errors: list[float]
    chosen: int | None
    evident: bool = False
    doubted: np.ndarray | None = None

    @property
    def best(self) -> int:
        """The candidate to take, or if there is none the one that gains most."""
        return int(np.argmax(self.gains)) if self.chosen is None else self.chosen


def bounds(evident: bool) -> tuple[float, float]:
    """Return how many standard errors, and how much, a gain must exceed: half of both where a bias is evident."""
    asked = WITH_EVIDENCE if evident else 1
    return asked * ERRORS, asked * LEAST_GAIN


def trial(split: Split, candidates: Sequence[np.ndarray], *, seed: int, evident: bool = False) -> Trial:
    """Try weights of a training split, see the module's text.

    Parameters
    ----------
    split : Split
        Attributes are not looked at.
    candidates : sequence of ndarray of float, each of shape (N,)
        Not negative, not all zero.
    seed : int
        Of the halves, the classifiers and the draws.
    evident : bool
        Whether the debias has evidence of a bias, so that half the gain is enough.
    """
    images, labels = coarse_split(split), torch.tensor(split.labels)
    half = torch.randint(HALVES, (len(split),), generator=stream(seed, "trial", "half"))
    alike, out = _right(split, images, labels, half, torch.ones(len(split)), seed)
    tried = [_right(split, images, labels, half, torch.tensor(weights), seed) for weights in candidates]
    evident = evident or out.sum() >= OWN_EVIDENCE * max(1, (alike == 0).sum())
    found = choose([right - alike for right, _ in tried], candidates, evident=bool(evident))
    if found.chosen is None:
        return found
    return replace(found, doubted=doubted(candidates[found.chosen], *tried[found.chosen], split.classes))


def doubted(weights: np.ndarray, right: np.ndarray, out: np.ndarray, classes: int) -> np.ndarray:
    """Return the samples (N,) that weights lift though their labels are wrong, as far as weighted classifiers know.

    Parameters
    ----------
    weights : ndarray of float, shape (N,)
        Mean 1 in each class.
    right, out : ndarray of bool, shape (N,)
        Where the classifiers are right, and where they exclude the label.
    classes : int
    """
    lifted = np.asarray(weights) > 1
    found = lifted & np.asarray(out, bool)
    enough = lifted.sum() >= LEAST_LIFTED * classes and right[lifted].sum() >= CONFIRMED * found.sum()
    return found & enough


def let_go(found: Estimate, doubted: np.ndarray, labels: np.ndarray) -> Estimate:
    """Return an estimate in which the doubted samples have the least weight of their class, and its group.

    Parameters
    ----------
    found : Estimate
        With groups.
    doubted : ndarray of bool, shape (N,)
    labels : ndarray of int, shape (N,)
    """
    weights, groups = np.array(found.weights, np.float64), found.groups.copy()
    for _, rows in class_members(labels):
        least = rows[weights[rows].argmin()]
        weights[rows[doubted[rows]]], groups[rows[doubted[rows]]] = weights[least], groups[least]
    return replace(found, weights=mean_one(weights, labels), groups=groups)


def choose(sample_gains: Sequence[np.ndarray], candidates: Sequence[np.ndarray], *, evident: bool = False) -> Trial:
    """Return what gains (N,) of the samples, -1, 0 or 1, say about weights (N,); one of each for a candidate.

    Errors are upper estimates: residuals are those about the plain mean, in the weighted half of a gain, too.
    """
    counts = [1 / len(weights) + weights / weights.sum() for weights in map(np.asarray, candidates)]
    gains = [float(count @ gain) for count, gain in zip(counts, sample_gains, strict=True)]
    errors = [
        math.sqrt(float(count**2 @ (gain - gain.mean()) ** 2)) for count, gain in zip(counts, sample_gains, strict=True)
    ]
    least_errors, least_gain = bounds(evident)
    passed = [k for k, gain in enumerate(gains) if gain > max(least_errors * errors[k], least_gain)]
    return Trial(gains, errors, max(passed, key=lambda k: gains[k] / max(errors[k], 1e-12), default=None), evident)


def _right(
    split: Split, images: torch.Tensor, labels: torch.Tensor, half: torch.Tensor, weights: torch.Tensor, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the classifier of the other half, trained on draws by weight, says of each sample.

    Two arrays (N,): 1 where it is right, and True where it excludes the label (`ddbias.debias.evidence.excluded`).
    """
    right, out = np.zeros(len(labels)), np.zeros(len(labels), bool)
    for number in range(HALVES):
        others, asked = (half != number).nonzero()[:, 0], (half == number).nonzero()[:, 0]
        if not len(asked) or not weights[others].sum() > 0:
            continue
        network = networks.of_settings(
            NETWORK, tuple(images.shape[1:]), split.classes, derive(seed, "trial", "network", number)
        )
        optimiser = SGD(list(network.parameters()), learning_rate=RATE, momentum=MOMENTUM, weight_decay=DECAY)
        # By the inverse of the cumulated weights: torch.multinomial knows no more than 2**24 samples.
        cumulated = weights[others].double().cumsum(0)
        draws = stream(seed, "trial", "draw", number)
        for _ in range(STEPS):
            places = torch.rand(BATCH, generator=draws, dtype=torch.float64) * cumulated[-1]
            rows = others[torch.searchsorted(cumulated, places, right=True).clamp(max=len(others) - 1)]
            optimiser.step(nn.functional.cross_entropy(network(images[rows]), labels[rows]))
        network.eval()
        with torch.no_grad():
            for rows in asked.split(1024):
                logits, truth = network(images[rows]), labels[rows]
                right[rows.numpy()] = (logits.argmax(1) == truth).numpy()
                out[rows.numpy()] = excluded(logits.numpy(), truth.numpy())
    return right, out
