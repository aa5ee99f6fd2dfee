"""Is there a bias in a training set, and what should be done about it? From images and labels alone. Ours.

Asked are the two questions of ``contradiction``, of a surrogate of kind ``cross_fitted``: does it exclude the labels
that it contradicts (`ddbias.debias.evidence`), and do the weights stand a trial (`ddbias.debias.trial`)? How sure the
answer is, is told by a null: the same weights handed out at random within each class, three times. What they gain,
weights gain that know nothing.

Cost: that of the surrogate and of trials of five candidates; a minute and a half for 8,000 images on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ddbias.base import escape
from ddbias.base.groups import class_members
from ddbias.base.seeding import numpy_stream
from ddbias.data.split import Split
from ddbias.debias import surrogate
from ddbias.debias.evidence import MIN_EVIDENCE, clearest, evidence
from ddbias.debias.kinds import contradiction
from ddbias.debias.trial import ERRORS, Trial, bounds, let_go, trial
from ddbias.debias.weights.diagnosis import diagnose
from ddbias.runtime.checkpoint import Checkpoint

NETWORK = {"kind": "convnet", "width": 32, "depth": 2}
SURROGATE = {
    "kind": "cross_fitted",
    "folds": 2,
    "steps": 320,
    "batch_size": 256,
    "learning_rate": 0.03,
    "momentum": 0.9,
}
SURROGATE |= {"weight_decay": 1e-4, "q": 0.7, "augment": "none"}  # its defaults; a test holds them together
NULLS = 3
ROWS, COLUMNS = 4, 10  # of the picture

CONFIG = """\
networks:
  small: { kind: convnet, width: 32, depth: 2 }
surrogates:
  cross_fitted: { kind: cross_fitted, network: small }
debias:
  contradiction: { kind: contradiction, surrogate: cross_fitted }
"""


@dataclass(frozen=True, eq=False)
class Advice:
    """What is known about the bias of a training set.

    Attributes
    ----------
    result : Trial
        Of the weights of both readings of the surrogate, see `ddbias.debias.balance.readings`.
    nulls : list of float
        Gains of weights handed out at random.
    weights : ndarray of float64, shape (N,)
        Of the best candidate, whether it passed or not; mean 1 in each class.
    contradicted : float
        Share of the samples, 0..1, whose label the surrogate contradicts, at the moment of the evidence.
    evidence : float
        Share of these, 0..1, whose label it excludes, see `ddbias.debias.evidence`.
    """

    result: Trial
    nulls: list[float]
    weights: np.ndarray
    contradicted: float
    evidence: float

    @property
    def evident(self) -> bool:
        """Whether the evidence suffices."""
        return self.evidence >= MIN_EVIDENCE

    @property
    def biased(self) -> bool:
        """Whether the evidence suffices and the weights passed their trial, so that `contradiction` would weigh."""
        return self.evident and self.result.chosen is not None


def advise(split: Split, *, seed: int, device: torch.device, checkpoint: Checkpoint | None = None) -> Advice:
    """Look for a bias in a training split.

    Parameters
    ----------
    split : Split
        Attributes are not looked at.
    seed : int
    device : device
        Of the surrogate; the trial is on the CPU.
    checkpoint : Checkpoint, optional
        Of the surrogate's training.
    """
    trained, _ = surrogate.train_surrogate(
        split, network=NETWORK, settings=SURROGATE, seed=seed, device=device, checkpoint=checkpoint or Checkpoint(None)
    )
    labels = np.array(split.labels)
    columns = {**surrogate.embed(trained, split, device=device), "label": labels}
    offered = contradiction.estimate(columns, min_evidence=0)
    result = trial(split, [one.weights for one in offered], seed=seed, evident=offered[0].evident)
    best = offered[result.best]
    weights = (best if result.doubted is None else let_go(best, result.doubted, labels)).weights
    null = trial(split, [_handed_out(weights, labels, seed, number) for number in range(NULLS)], seed=seed)
    found = evidence(columns["predictions"], columns["excluded"], labels)  # (L,)
    contradicted = (columns["predictions"][:, clearest(found)] != labels).mean()
    return Advice(result, null.gains, weights, float(contradicted), float(found.max()))


def _handed_out(weights: np.ndarray, labels: np.ndarray, seed: int, number: int) -> np.ndarray:
    """Return weights (N,) in an order that is random within each class."""
    draws, mixed = numpy_stream(seed, "null", number), weights.copy()
    for _, rows in class_members(labels):
        mixed[rows] = draws.permutation(weights[rows])
    return mixed


def in_words(advice: Advice, split: Split, *, title: str, picture: str) -> list[str]:
    """Return the advice as lines of Markdown: what was found, how sure that is, what to do, what it would change."""
    gain, error = advice.result.gains[advice.result.best], advice.result.errors[advice.result.best]
    least_errors, least_gain = bounds(advice.result.evident)
    facts = diagnose(advice.weights, None, None, np.asarray(split.labels))
    verdict = "a bias was found" if advice.biased else "no bias was found that weights could undo"
    lines = [
        f"# {escape.markdown(title)}: {verdict}",
        "",
        f"- looked at: {len(split):,} training images of {split.classes} classes and their labels; no attribute",
        f"- contradicted: {100 * advice.contradicted:.1f} % of the images, by classifiers that had not seen them",
        f"- excluded: the labels of {100 * advice.evidence:.0f} % of these (with less than {100 * MIN_EVIDENCE:.0f} % "
        "they are hard images)",
        f"- gain of training on weights against these: {gain:+.2f} (standard error {error:.2f}); it has to exceed "
        f"{least_gain:.2f} and {least_errors:.0f} standard error{'' if least_errors == 1 else 's'}",
        f"- gain of the same weights handed out at random: {max(advice.nulls):+.2f} at most, of {NULLS}",
    ]
    effective = f"{facts['effective_sample_size']:,.0f} of {len(split):,} images' worth"
    held = f"the largest 1 % of the weights hold {100 * facts['largest_share']:.0f} %"
    if advice.biased:
        lines += [
            "- recommended: `contradiction`, below; if you know the attribute, `group_balanced`",
            f"- the weights would leave {effective}; {held}",
            f"- look at the 40 images with the largest weights, with their labels, in {escape.markdown(picture)}: they "
            "should be good pictures of their class in unusual surroundings; if labels are wrong, mend these first",
            "",
            "```yaml",
            *CONFIG.splitlines(),
            "```",
            "",
        ]
    else:
        wrong = advice.evident and gain < -ERRORS * error
        likely = (
            "many labels are wrong, since they are excluded and nothing is learnt from them; mend these first"
            if wrong
            else "hard ones, wrong labels, or a bias that this test is too weak for"
        )
        lines += [
            "- recommended: `uniform`; if you know an attribute that you fear, `group_balanced` or `fairdd`",
            f"- weights would have left {effective}; {held}; they are not used",
            f"- the 40 images with the largest weights, with their labels, are in {escape.markdown(picture)}: {likely}",
            "",
        ]
    return lines


def heaviest(weights: np.ndarray) -> np.ndarray:
    """Return the rows, int64 (40,) or fewer, of the largest weights (N,), the largest first.

    Of equal weights those come first that are spread evenly over the data set.
    """
    largest = np.flatnonzero(weights >= np.sort(weights)[-min(len(weights), ROWS * COLUMNS)])
    order = largest[np.argsort(-weights[largest], kind="stable")]
    count = min(len(order), ROWS * COLUMNS)
    return order[np.arange(count) * len(order) // count]


def tiles(images: np.ndarray) -> np.ndarray:
    """Return images (n, C, H, W) as a grid (4, 10, C, H, W), white where there are none."""
    grid = np.full((ROWS * COLUMNS, *images.shape[1:]), 255, np.uint8)
    grid[: len(images)] = images
    return grid.reshape(ROWS, COLUMNS, *images.shape[1:])


def captions(labels: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return the names of labels (n,), or their numbers where names are not of plain letters."""
    return [names[label] if names[label].isascii() and names[label].isprintable() else str(label) for label in labels]
