"""DPR: real images are drawn in proportion to the probability that a biased classifier disagrees with their label.

Source: Han et al., "Mitigating Spurious Correlations via Disagreement Probability" (arXiv 2411.01757): the weight of a
sample (x, y) is ``1 - p_b(y | x)``, of the softmax of a classifier that was trained with the generalised cross-entropy
(``generalised_ce``, q = .7). Its code divides the logits by a temperature (1 for coloured MNIST) and lets no weight be
less than 1e-8, as we do. Needs no attribute labels. It is the soft form of ``contradiction``, without a look at the
evidence: where a classifier has learnt no bias first, hard samples of any kind hold the weight.

Differs from the paper in: the weights have mean 1 in each class, where DPR normalises over the data set and so draws a
class that the classifier gets wrong more often; every class has its own synthetic images here. DPR trains its biased
classifier for 100 epochs and starts the debiased one from it; here the surrogate says how long, and nothing is started
from it.

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
                    "description": "Name under `surrogates`, of one that classifies; the paper's is a generalised_ce.",
                },
                "temperature": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 1,
                    "description": (
                        "Divides the logits; above 1 the weights come closer to each other. DPR (1 for coloured MNIST)."
                    ),
                },
                "draw": {"$ref": "#/$defs/draw"},
                "trial": {"$ref": "#/$defs/trial"},
            },
            "reads": ["logits"],
        },
    },
}

LEAST = 1e-8  # of a weight before it is scaled; DPR's code


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
        If the surrogate stores no logits, they are not finite or too few for the labels, or the temperature is not
        above 0.

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
