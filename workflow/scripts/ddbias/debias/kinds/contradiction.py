"""Weights from the samples whose label a biased classifier contradicts. Ours; needs no attribute label.

A classifier trained for some dozens of steps with generalised cross-entropy (arXiv 1805.07836, as LfF uses it, arXiv
2007.02561) knows little but the bias: it tells the class that a sample's *attribute* is paired with. Where it
predicts the label, the sample is taken as aligned; where it does not, the prediction says which attribute contradicts
it.

Weights: with G classes predicted within a class, the samples predicted as their own class hold 1/G of its weight, as
a true attribute of G values would have it, the contradicted ones the rest. That rest is shared among the predicted
classes in proportion to the square root of their sizes: between "every contradicted sample alike" (power 1), which is
right where the predictions of contradicted samples are guesses, and "every predicted class alike" (power 0), which is
right where they are the attribute. Measured on whole training sets (seed 0), total variation distance of the weighted
distribution of the true attribute within a label from an even one, for power 0, 1/2 and 1 (.85 without weights): CMNIST
.16 .13 .15 with 5 % and .17 .17 .21 with 1 % conflicting samples, background Fashion-MNIST .28 .21 .21 with 5 %.

Contradicted samples may as well be hard or mislabelled. If they are hard, the classifier does not exclude their labels
(`ddbias.debias.evidence`); if mislabelled, nothing can be learnt from them (`ddbias.debias.trial`). Either way the
weights are uniform, with a warning. A few mislabelled ones among the conflicting lose their weight.

Fails, or helps little: where the attribute is as hard to learn as the class (corruptions), and where one class's
attribute is not paired with one class (the predictions name a class, not an attribute; G is then too large).

Cost: that of the trial beside the surrogate.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.base.groups import class_members
from ddbias.debias.balance import readings
from ddbias.debias.estimates import Estimate
from ddbias.debias.evidence import MIN_EVIDENCE, shows_bias

PLUGIN = {
    "debias": {
        "contradiction": {
            "description": (
                "Samples whose label a biased classifier contradicts hold the weight that a balanced attribute "
                "would give them; uniform where these weights do not stand a trial. Ours."
            ),
            "required": ["surrogate"],
            "options": {
                "surrogate": {
                    "type": "string",
                    "description": "Name under `surrogates`, of one that classifies; cross_fitted is meant for it.",
                },
                "power": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": 1,
                    "default": 0.5,
                    "description": (
                        "1 weighs all contradicted samples of a class alike, 0 all predicted classes, whatever "
                        "their size. Ours."
                    ),
                },
                "min_evidence": {
                    "type": "number",
                    "minimum": 0,
                    "maximum": 1,
                    "default": 0.45,
                    "description": (
                        "Share of contradicted samples whose label the classifier must exclude; with less the "
                        "weights stay uniform. Ours."
                    ),
                },
                "draw": {"$ref": "#/$defs/draw"},
                "trial": {"$ref": "#/$defs/trial"},
            },
            "reads": ["logits"],
            "tries": "2",
        },
    },
}


def estimate(
    columns: Mapping[str, np.ndarray], *, power: float = 0.5, min_evidence: float = MIN_EVIDENCE
) -> list[Estimate] | Estimate:
    """Return for a trial the weights, and as groups what the samples are taken for, of both readings of the classifier.

    Without evidence of a bias it is one estimate that weighs all samples alike.

    Parameters
    ----------
    columns : mapping
        ``label`` (N,), and of a biased classifier what `ddbias.debias.balance.readings` needs.
    power : float
        0..1; how the contradicted samples of a class share their weight, see the module's text.
    min_evidence : float
        0..1, see `ddbias.debias.evidence`; 0 always weights.

    Raises
    ------
    DdbiasError
        If the surrogate does not classify.
    """
    labels = np.asarray(columns["label"])
    taken_for, found = readings(columns, "contradiction")
    told = {"evidence": found}
    if not shows_bias(found, min_evidence, "contradiction"):
        return Estimate(np.ones(len(labels)), groups=labels.astype(np.int64), diagnostics=told)
    return [
        Estimate(
            contradiction_weights(labels, groups, power=power), None, groups, told, found >= MIN_EVIDENCE, doubts=True
        )
        for groups in taken_for
    ]


def contradiction_weights(labels: np.ndarray, predicted: np.ndarray, *, power: float) -> np.ndarray:
    """Return weights (N,) float64 with mean 1 in each class from labels and predicted classes, both (N,) int."""
    weights = np.ones(len(labels))
    for label, members in class_members(labels):
        values, cell, sizes = np.unique(predicted[members], return_inverse=True, return_counts=True)
        own = values == label
        if own.all() or not own.any():
            continue  # nothing is contradicted, or everything: no two sides to balance
        share = np.where(own, 0, sizes.astype(np.float64) ** power)
        share *= (1 - 1 / len(values)) / share.sum()
        share[own] = 1 / len(values)
        weights[members] = (share / sizes)[cell] * len(members)
    return weights
