"""Weights inverse to the kernel density of a sample among its class in the surrogate's embedding.

Source: Cui et al., "Mitigating Bias in Dataset Distillation" (arXiv 2406.06609, ICML 2024). No public code
exists; kernel, variance, temperature and leave-one-out are not published and are options (see
`ddbias.debias.weights.density`, `ddbias.debias.weights.kernels`, `ddbias.debias.weights.variance`,
`ddbias.debias.weights.inverse_density`). Needs no attribute labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.debias.estimates import Estimate
from ddbias.debias.weights.density import class_variances, kde_density
from ddbias.debias.weights.inverse_density import density_weights


def estimate(
    columns: Mapping[str, np.ndarray],
    *,
    variance: float | str,
    temperature: float,
    leave_one_out: bool,
    clip: float | None,
    chunk_size: int,
    kernel: str = "gaussian",
) -> Estimate:
    """Return weights and log-densities from ``embedding`` (N, D) and ``label`` (N,).

    Where the variance is chosen from the data, ``diagnostics`` has the ``variances``, one for each class in ascending
    order of the labels.
    """
    embeddings, labels = columns["embedding"], columns["label"]
    options = {"kernel": kernel, "chunk_size": chunk_size}
    found = {}
    if isinstance(variance, str):
        variance = found["variances"] = class_variances(embeddings, labels, variance=variance, **options)
    density = kde_density(embeddings, labels, variance=variance, leave_one_out=leave_one_out, **options)
    return Estimate(density_weights(density, labels, temperature=temperature, clip=clip), density, diagnostics=found)
