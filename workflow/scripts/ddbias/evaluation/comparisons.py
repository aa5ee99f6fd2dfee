"""Numbers that several cells of a table give together: bias amplification, and DD-Ranking's scores.

**Amplification** (ours): a distilled set and the whole training set both lose accuracy when the attribute is biased.
How much more the distilled set loses, in points: (distilled from unbiased data - distilled) - (whole unbiased set -
whole set). Above 0 distillation amplifies the bias. The reference of each is of its own kind, so that a small set is
not blamed for being small. A debiased set is compared with what plain distillation makes of unbiased data.

**DD-Ranking** (Li et al., arXiv 2505.13300), from accuracies as fractions: the label-robust score of a = w IOR - (1 -
w) HLR with IOR = distilled - random and HLR = whole - distilled, and the augmentation-robust one of b = g (distilled -
random with augmentation) + (1 - g) (distilled - random without); w = g = .5, a score is (e^x - e^-1) / (e - e^-1),
0..1. Differs: all networks are trained with hard labels and with our evaluation, not with the best of several rates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from ddbias.base.cell import ratio_text

AMPLIFICATIONS = {
    "unbiased_amplification": "unbiased_accuracy",
    "conflicting_amplification": "conflicting_accuracy",
    "worst_group_amplification": "worst_group_accuracy",
}
LABEL_SCORE, AUGMENTATION_SCORE = "label_robust_score", "augmentation_robust_score"
METRICS = (*AMPLIFICATIONS, LABEL_SCORE, AUGMENTATION_SCORE)
WEIGHT = 0.5  # of both scores
# What a table's `compare` must say for a metric.
NEEDS = {
    **dict.fromkeys(AMPLIFICATIONS, ("unbiased", "whole")),
    LABEL_SCORE: ("whole", "random"),
    AUGMENTATION_SCORE: ("random", "plain"),
}


def lacking(path: str, settings: Mapping, metrics: list[str]) -> Iterator[str]:
    """Yield a line for what the `compare` at a path of the config does not say and one of the metrics needs."""
    for metric in filter(METRICS.__contains__, metrics):
        for key in NEEDS[metric]:
            if key not in settings["compare"]:
                yield f"{path}.compare.{key}: is missing, and the metric {metric} needs it"


def terms(metric: str, cell: Mapping[str, str], compare: Mapping) -> dict[str, dict[str, str]]:
    """Return the cells that a metric of a cell is made of, by their part in it.

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
        whole = {**plain, "distiller": compare["whole"], "ipc": "all"}
        found = {
            "distilled": cell,
            "from_unbiased": {**plain, "ratio": ratio_text(compare["unbiased"])},
            "whole": whole,
            "whole_unbiased": {**whole, "ratio": ratio_text(compare["unbiased"])},
        }
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
    base = AMPLIFICATIONS.get(metric, "accuracy")
    return {part: {**one, "metric": base} for part, one in found.items()}


def value(metric: str, means: Mapping[str, float]) -> float:
    """Return a metric in percent or points from the means in percent of its parts."""
    if metric in AMPLIFICATIONS:
        return (means["from_unbiased"] - means["distilled"]) - (means["whole_unbiased"] - means["whole"])
    over_random = (means["distilled"] - means["random"]) / 100
    if metric == LABEL_SCORE:
        below_whole = (means["whole"] - means["distilled"]) / 100
        return 100 * _score(WEIGHT * over_random - (1 - WEIGHT) * below_whole)
    over_random_plain = (means["distilled_plain"] - means["random_plain"]) / 100
    return 100 * _score(WEIGHT * over_random + (1 - WEIGHT) * over_random_plain)


def deviation(metric: str, spreads: Mapping[str, float | None]) -> float | None:
    """Return the spread of an amplification, the root of the sum of its parts' squares; None for the scores."""
    if metric not in AMPLIFICATIONS or None in spreads.values():
        return None
    return math.sqrt(sum(spread**2 for spread in spreads.values()))


def _score(x: float) -> float:
    return (math.exp(x) - math.exp(-1)) / (math.exp(1) - math.exp(-1))
