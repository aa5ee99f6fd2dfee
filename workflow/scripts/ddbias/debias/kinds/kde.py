"""Weights inverse to the kernel density of a sample in the surrogate's embedding.

Source: Cui et al., "Mitigating Bias in Dataset Distillation" (arXiv 2406.06609, ICML 2024). No public code exists, and
only abstract and poster were available to us. Our reading of the following is an option each:

- The density is that of a sample among its class; the printed f(x) = (1/n) sum_i K(|z - z_i|) names no class. Over the
  whole data set (``per: data_set``) a conflicting sample lies among the aligned ones of another class, where it may
  have a high density.
- The weight is the density to the power -1 / temperature; the poster shows results over a temperature, but no formula.
- Kernel, variance, leave-one-out and clip (`ddbias.debias.weights.kernels`, `ddbias.debias.weights.variance`,
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

PLUGIN = {
    "debias": {
        "kde": {
            "description": (
                "Weights inverse to the kernel density in the surrogate's embedding (Cui et al., arXiv 2406.06609)."
            ),
            "required": ["surrogate"],
            "options": {
                "surrogate": {"type": "string", "description": "Name under `surrogates`."},
                "kernel": {
                    "enum": ["gaussian", "exponential", "epanechnikov", "tophat"],
                    "default": "gaussian",
                    "description": (
                        "Kernel of the density. The last two are zero beyond the bandwidth: samples without a "
                        "neighbour within it weigh like the least dense sample that has one. The paper's kernel was "
                        "not available to us; ours."
                    ),
                },
                "variance": {
                    "type": ["number", "string"],
                    "exclusiveMinimum": 0,
                    "pattern": "^(trial|median|likelihood)$",
                    "x-allowed": "a number above 0 without quotes, trial, median or likelihood",
                    "default": "trial",
                    "description": (
                        "Square of the kernel's bandwidth; embeddings have norm 1. trial tries five values, with a "
                        "clip of at least 0.02, and takes the one whose weights do best; if none helps, all samples "
                        "count alike. median and likelihood choose one value for each class: half the median squared "
                        "distance, or the largest leave-one-out likelihood (gaussian and exponential only). The "
                        "paper's value was not available to us; ours."
                    ),
                },
                "temperature": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 1,
                    "description": (
                        "Weights are the density to the power -1 / temperature. Our reading of an axis of the poster."
                    ),
                },
                "per": {
                    "enum": ["class", "data_set"],
                    "default": "class",
                    "description": (
                        "Samples over which the density is estimated: those of the same class, or all of the "
                        "training split, which takes as many times longer as there are classes. Our reading; the "
                        "printed formula names no class."
                    ),
                },
                "leave_one_out": {
                    "type": "boolean",
                    "default": True,
                    "description": (
                        "Leave a sample's own kernel out of its density, which matters in small groups. Ours."
                    ),
                },
                "clip": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "maximum": 1,
                    "default": None,
                    "description": (
                        "Quantile of the log-densities of a class; samples below it are weighted as if they lay at it. "
                        "null clips nothing. Ours."
                    ),
                },
                "chunk_size": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 1024,
                    "description": "Rows of the distance matrix held at a time; changes memory, not the result.",
                },
                "draw": {"$ref": "#/$defs/draw"},
                "trial": {"$ref": "#/$defs/trial"},
            },
            "reads": ["embedding"],
            "tries": "5 if variance == 'trial' else 0",
            # Pairs of samples of a class, or of all; variance likelihood evaluates 500 rows 14 more times.
            "seconds": (
                "(5 if variance == 'trial' else 1)"
                " * 1.35e-10 * max(dimensions, 64) * train * ((train / classes if per == 'class' else train)"
                " + (7000 if variance == 'likelihood' else 0))"
            ),
            "megabytes": (
                "6.4e-5 * (train / classes if per == 'class' else train)"
                " * min(chunk_size, train / classes if per == 'class' else train)"
            ),
        },
    },
}

PER = ("class", "data_set")
TRIED = (0.4, 0.2, 0.1, 0.05, 0.02)  # variances; with trial: false the last is taken
LEAST_CLIP = 0.02  # in a trial: without clipping a few outliers hold all the weight


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
) -> Estimate | list[Estimate]:
    """Return weights with mean 1 in every class, and log-densities.

    Parameters
    ----------
    columns : mapping of str to ndarray
        ``embedding`` (N, D) and ``label`` (N,).
    variance : float, "trial", "median" or "likelihood"
        Above 0, see `ddbias.debias.weights.variance`; ``trial`` gives one estimate for each of `TRIED`.
    temperature, clip
        See `ddbias.debias.weights.inverse_density.density_weights`; a trial clips at `LEAST_CLIP` at least.
    leave_one_out, chunk_size, kernel
        See `ddbias.debias.weights.density.kde_density`.
    per : {"class", "data_set"}
        Whether the density is over the samples of the class or over all.

    Returns
    -------
    Estimate or list of Estimate
        With ``median`` and ``likelihood`` its diagnostics have the ``variances``: one for each class in ascending
        order of the labels, or a single one for all samples.

    Raises
    ------
    DdbiasError
        If a name is unknown, the variance or the temperature is not positive, or an embedding is not finite.
    """
    if per not in PER:
        raise unknown("per", per, PER)
    if variance == "trial":
        clip = max(clip or 0.0, LEAST_CLIP)
        options = {"temperature": temperature, "leave_one_out": leave_one_out, "clip": clip, "chunk_size": chunk_size}
        return [estimate(columns, variance=value, kernel=kernel, per=per, **options) for value in TRIED]
    embeddings, labels = columns["embedding"], columns["label"]
    among = labels if per == "class" else np.zeros_like(labels)
    options = {"kernel": kernel, "chunk_size": chunk_size}
    found = {}
    if isinstance(variance, str):
        variance = found["variances"] = class_variances(embeddings, among, variance=variance, **options)
    density = kde_density(embeddings, among, variance=variance, leave_one_out=leave_one_out, **options)
    return Estimate(density_weights(density, labels, temperature=temperature, clip=clip), density, diagnostics=found)
