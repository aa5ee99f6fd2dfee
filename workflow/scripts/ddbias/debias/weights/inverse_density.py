"""Sample weights inverse to the density of a sample among its class.

Source: Cui et al., "Mitigating Bias in Dataset Distillation" (arXiv 2406.06609). What was not available to us is an
option here: the temperature of the weights, and clipping. Densities are those of `ddbias.debias.weights.density`.
"""

from __future__ import annotations

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.base.groups import class_members


def density_weights(
    log_density: np.ndarray, labels: np.ndarray, *, temperature: float = 1.0, clip: float | None = None
) -> np.ndarray:
    """Return weights proportional to ``density ** (-1 / temperature)`` with mean 1 within each class.

    Parameters
    ----------
    log_density : array of float, shape (N,)
        Below infinity; ``-inf`` counts as the smallest finite value of the class.
    labels : array of int, shape (N,)
    temperature : float
        Above 0; the larger, the closer the weights are to equal.
    clip : float, optional
        Quantile, 0..1, of the log-densities of each class; lower log-densities are raised to it, so that a few
        outliers do not take all the weight.

    Returns
    -------
    ndarray of float64, shape (N,)
        Finite and non-negative; a class of one sample gets 1.

    Raises
    ------
    DdbiasError
        If the temperature is not positive, a log-density is NaN or plus infinity, or there is not one for each label.

    Examples
    --------
    >>> import numpy as np
    >>> from ddbias import density_weights
    >>> density_weights(np.array([-0.91, -1.12, -1.12, -41.6]), [0, 0, 0, 0], temperature=20).round(2)
    array([0.37, 0.38, 0.38, 2.87])
    """
    if not temperature > 0:
        raise DdbiasError(f"the temperature must be positive, not {temperature}")
    log_density, labels = np.asarray(log_density, np.float64), np.asarray(labels)
    if log_density.shape != labels.shape:
        raise DdbiasError(f"{log_density.size} log-densities for {labels.size} labels; give one for each")
    if not (log_density < np.inf).all():
        raise DdbiasError("log-densities must be numbers below infinity: the embedding they come from is damaged")
    weights = np.ones(len(labels))
    for _, members in class_members(labels):
        if len(members) == 1:
            continue
        exponent = log_density[members]
        # A log-density of minus infinity (no neighbour at all) would make the weights of the class undefined (0 / 0).
        finite = exponent[np.isfinite(exponent)]
        exponent = np.maximum(exponent, finite.min() if finite.size else 0.0)
        if clip is not None:
            exponent = np.maximum(exponent, np.quantile(exponent, clip))
        exponent = -exponent / temperature
        share = np.exp(exponent - exponent.max())
        weights[members] = share / share.mean()
    return weights
