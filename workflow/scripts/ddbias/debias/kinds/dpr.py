"""DPR: real images are drawn in proportion to the probability that a biased classifier disagrees with their label.

Source: Han et al., "Mitigating Spurious Correlations via Disagreement Probability" (arXiv 2411.01757). The weight of a
sample (x, y) is ``1 - p_b(y | x)``, from the softmax of a classifier trained with the generalised cross-entropy
(``generalised_ce``, q = .7). As in its code, the logits are divided by a temperature (1 for coloured MNIST) and no
weight is below 1e-8. Needs no attribute labels.

It is the soft form of ``contradiction``, without the test for evidence of a bias. Where the classifier did not learn a
bias first, hard samples of any kind hold the weight.

Differs from the paper in two points. The weights have mean 1 in each class, because every class has its own synthetic
images; DPR normalises over the data set, which draws difficult classes more often. DPR trains its biased classifier for
100 epochs and initialises the debiased one with it; here the surrogate's settings say how long, and nothing is
initialised with it.

Cost: none beside the surrogate.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.debias.balance import CLASSIFY
from ddbias.debias.estimates import Estimate, column, cross_entropies, mean_one

PLUGIN = {
    "debias": {
        "dpr": {
            "description": (
                "Weights are the probability that a biased classifier disagrees with the label (DPR, arXiv 2411.01757)."
            ),
            "required": ["surrogate"],
            "options": {
                "surrogate": {
                    "type": "string",
                    "description": "Name under `surrogates`, of a kind that classifies; the paper's is generalised_ce.",
                },
                "temperature": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 1,
                    "description": (
                        "Divides the logits; above 1 the weights are closer to equal. DPR (1 for coloured MNIST)."
                    ),
                },
                "draw": {"$ref": "#/$defs/draw"},
                "trial": {"$ref": "#/$defs/trial"},
            },
            "reads": ["logits"],
        },
    },
}

LEAST = 1e-8  # smallest weight before scaling; DPR's code


def estimate(columns: Mapping[str, np.ndarray], *, temperature: float = 1.0) -> Estimate:
    """Return weights ``1 - softmax(logits / temperature)[label]``, scaled to mean 1 in each class.

    Parameters
    ----------
    columns : mapping of str to ndarray
        ``logits`` (N, K) of a biased classifier, ``label`` (N,).
    temperature : float
        Above 0.

    Raises
    ------
    DdbiasError
        If the surrogate stores no logits, a logit is not finite, a label has no logit, or the temperature is not above
        0.

    Examples
    --------
    >>> import numpy as np
    >>> logits = np.log([[0.9, 0.1], [0.9, 0.1], [0.3, 0.7]])
    >>> estimate({"logits": logits, "label": np.zeros(3, int)}).weights.round(3).tolist()
    [0.333, 0.333, 2.333]
    """
    if not 0 < temperature < np.inf:
        raise DdbiasError(f"the temperature of dpr must be a number above 0, not {temperature}")
    logits = np.asarray(column(columns, "logits", "dpr", CLASSIFY), np.float64)
    disagreement = -np.expm1(-cross_entropies(logits / temperature, columns["label"]))
    return Estimate(mean_one(np.maximum(disagreement, LEAST), columns["label"]))
