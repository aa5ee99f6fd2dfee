"""Metrics computed from several cells of a table: bias amplification, and DD-Ranking's scores.

**Amplification** (ours), in points. What a set X loses to the bias is A(X) = accuracy of X from unbiased data -
accuracy of X from biased data: X is compared with its own kind, so that its size alone does not count as bias.

- amplification = A(distilled) - A(whole training set) = size amplification + distillation amplification, seed by seed
- size amplification = A(random) - A(whole): what as many real images lose, drawn with the weights of the debias
- distillation amplification = A(distilled) - A(random): what distillation adds to that; below 0 it removes

On biased data ``random`` has the debias of the distilled set: its images are drawn by the same weights or groups, so
the difference is the effect of distillation beyond selection. Whole sets, and all sets from unbiased data, have the
plain debias of ``compare``: there is no bias to remove.

**DD-Ranking** (Li et al., arXiv 2505.13300), from accuracies as fractions: the label-robust score of a = w IOR - (1 -
w) HLR with IOR = distilled - random and HLR = whole - distilled, and the augmentation-robust one of b = g (distilled -
random with augmentation) + (1 - g) (distilled - random without); w = g = .5, a score is (e^x - e^-1) / (e - e^-1),
0..1. ``random`` has no augmentation here. Differs: all networks are trained with hard labels and with our evaluation,
not with the best of several rates.

All are computed for each distillation seed, from the means over its networks: networks of one seed start from the same
weights whatever set they learn, and see the same order of batches of sets of the same size, so what they share cancels.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ddbias.base.cell import ratio_text

# Kind of amplification: the set whose loss to the bias counts, and the one whose loss is taken off.
PARTS = {"": ("distilled", "whole"), "size_": ("random", "whole"), "distillation_": ("distilled", "random")}
BASES = ("unbiased", "conflicting", "worst_group")
# Metric: the accuracy that it is made of, and the two sets.
AMPLIFICATIONS = {
    f"{base}_{part}amplification": (f"{base}_accuracy", *sets) for part, sets in PARTS.items() for base in BASES
}
LABEL_SCORE, AUGMENTATION_SCORE = "label_robust_score", "augmentation_robust_score"
METRICS = (*AMPLIFICATIONS, LABEL_SCORE, AUGMENTATION_SCORE)
WEIGHT = 0.5  # of both scores
# What a table's `compare` must say for a metric.
NEEDS = {
    **{
        metric: ("unbiased", *(name for name in ("whole", "random") if name in sets))
        for metric, (_, *sets) in AMPLIFICATIONS.items()
    },
    LABEL_SCORE: ("whole", "random"),
    AUGMENTATION_SCORE: ("random", "plain"),
}


def split(metric: str) -> list[str]:
    """Return the size and the distillation amplification that an amplification is the sum of."""
    base = metric.removesuffix("amplification")
    return [f"{base}size_amplification", f"{base}distillation_amplification"]


def has(metric: str, cell: Mapping[str, str], compare: Mapping) -> bool:
    """Tell whether a cell has such a metric: the cells that amplification compares with have none."""
    if metric not in AMPLIFICATIONS:
        return True
    references = (compare.get("whole"), compare.get("random"))
    return cell["distiller"] not in references and cell["ratio"] != ratio_text(compare["unbiased"])


def lacking(path: str, settings: Mapping, metrics: list[str]) -> Iterator[str]:
    """Yield a line for every key that a metric needs and the `compare` at a path of the config lacks."""
    for metric in filter(METRICS.__contains__, metrics):
        for key in NEEDS[metric]:
            if key not in settings["compare"]:
                yield f"{path}.compare.{key}: is missing, and the metric {metric} needs it"


def terms(metric: str, cell: Mapping[str, str], compare: Mapping) -> dict[str, dict[str, str]]:
    """Return the cells from which a metric of a cell is computed, by their part in it.

    Parameters
    ----------
    metric : str
        One of `METRICS`.
    cell : mapping
        dataset, ratio, distiller, debias, ipc, evaluation, as texts.
    compare : mapping
        ``unbiased`` (ratio), ``whole`` and ``random`` (distillers), ``debias`` (that changes nothing) and ``plain``
        (evaluation without augmentation); see `NEEDS`.

    Returns
    -------
    dict
        Part to cell, with the ``metric`` to take from it.
    """
    plain = {**cell, "debias": compare["debias"]}
    if metric in AMPLIFICATIONS:
        base, *sets = AMPLIFICATIONS[metric]
        biased = {
            "distilled": cell,
            "random": {**cell, "distiller": compare.get("random")},
            "whole": {**plain, "distiller": compare.get("whole"), "ipc": "all"},
        }
        found = {name: biased[name] for name in sets}
        unbiased = {"debias": compare["debias"], "ratio": ratio_text(compare["unbiased"])}
        found |= {f"{name}_unbiased": {**found[name], **unbiased} for name in sets}
    elif metric == LABEL_SCORE:
        found = {
            "distilled": cell,
            "random": {**plain, "distiller": compare["random"]},
            "whole": {**plain, "distiller": compare["whole"], "ipc": "all"},
        }
    else:
        random = {**plain, "distiller": compare["random"]}
        found = {
            "distilled": cell,
            "random": random,
            "distilled_plain": {**cell, "evaluation": compare["plain"]},
            "random_plain": {**random, "evaluation": compare["plain"]},
        }
    base = AMPLIFICATIONS[metric][0] if metric in AMPLIFICATIONS else "accuracy"
    return {part: {**one, "metric": base} for part, one in found.items()}


def value(metric: str, means: Mapping[str, float]) -> float:
    """Return a metric in percent or points from the means in percent of its parts, for one distillation seed."""
    if metric in AMPLIFICATIONS:
        lost = [means[f"{name}_unbiased"] - means[name] for name in AMPLIFICATIONS[metric][1:]]
        return lost[0] - lost[1]
    over_random = (means["distilled"] - means["random"]) / 100
    if metric == LABEL_SCORE:
        below_whole = (means["whole"] - means["distilled"]) / 100
        return 100 * _score(WEIGHT * over_random - (1 - WEIGHT) * below_whole)
    over_random_plain = (means["distilled_plain"] - means["random_plain"]) / 100
    return 100 * _score(WEIGHT * over_random + (1 - WEIGHT) * over_random_plain)


def _score(x: float) -> float:
    return (math.exp(x) - math.exp(-1)) / (math.exp(1) - math.exp(-1))
