"""Weights inverse to the kernel density of a sample in the surrogate's embedding.

Source: Cui et al., "Mitigating Bias in Dataset Distillation" (arXiv 2406.06609, ICML 2024), of which no public code
exists and only abstract and poster were available to us. These are our reading, and options:

- the density is that of a sample among its class; the printed f(x) = (1/n) sum_i K(|z - z_i|) names no class. Over the
  whole data set (``per: data_set``) a conflicting sample lies among the aligned ones of another class and may be dense;
- the weight is the density to the power -1 / temperature; the poster shows results over a temperature, no formula;
- kernel, variance, leave-one-out and clip (`ddbias.debias.weights.kernels`, `ddbias.debias.weights.variance`,
  `ddbias.debias.weights.density`, `ddbias.debias.weights.inverse_density`).

Needs no attribute labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ddbias.base.errors import unknown
from ddbias.debias.estimates import Estimate
from ddbias.debias.weights.density import class_variances, kde_density
from ddbias.debias.weights.inverse_density import density_weights

PER = ("class", "data_set")


def estimate(
    columns: Mapping[str, np.ndarray],
    *,
    variance: float | str,
    temperature: float,
    leave_one_out: bool,
    clip: float | None,
    chunk_size: int,
    kernel: str = "gaussian",
    per: str = "class",
) -> Estimate:
    """Return weights and log-densities from ``embedding`` (N, D) and ``label`` (N,).

    The density is that among the samples of the class (`per` ``class``) or among all (``data_set``); weights have mean
    1 in every class either way. Where the variance is chosen from the data, ``diagnostics`` has the ``variances``, one
    for each class in ascending order of the labels, or one for all.
    """
    if per not in PER:
        raise unknown("per", per, PER)
    embeddings, labels = columns["embedding"], columns["label"]
    among = labels if per == "class" else np.zeros_like(labels)
    options = {"kernel": kernel, "chunk_size": chunk_size}
    found = {}
    if isinstance(variance, str):
        variance = found["variances"] = class_variances(embeddings, among, variance=variance, **options)
    density = kde_density(embeddings, among, variance=variance, leave_one_out=leave_one_out, **options)
    return Estimate(density_weights(density, labels, temperature=temperature, clip=clip), density, diagnostics=found)
