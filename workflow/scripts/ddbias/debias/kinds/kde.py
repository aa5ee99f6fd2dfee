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
                        "Kernel of the density. Under the last two, which end, samples that lie alone weigh "
                        "like the least dense one that does not. The paper's was not available to us; ours."
                    ),
                },
                "variance": {
                    "type": ["number", "string"],
                    "exclusiveMinimum": 0,
                    "pattern": "^(trial|median|likelihood)$",
                    "x-allowed": "a number above 0 without quotes, trial, median or likelihood",
                    "default": "trial",
                    "description": (
                        "Square of the kernel's bandwidth on the unit sphere. trial tries several, with a clip of at "
                        "least 0.02, and takes the one whose weights do best, or none. median and likelihood choose "
                        "one for each class: half the median squared distance, or what makes the left-out samples "
                        "likeliest (gaussian and exponential). The paper's was not available to us; ours."
                    ),
                },
                "temperature": {
                    "type": "number",
                    "exclusiveMinimum": 0,
                    "default": 1,
                    "description": (
                        "Weights are the density to the power -1 / temperature. Our reading of the poster's axis."
                    ),
                },
                "per": {
                    "enum": ["class", "data_set"],
                    "default": "class",
                    "description": (
                        "Among which samples the density is that of a sample: those of its class, or all of the"
                        " training split (as many times the time as there are classes). Our reading; the "
                        "formula at hand names no class."
                    ),
                },
                "leave_one_out": {
                    "type": "boolean",
                    "default": True,
                    "description": (
                        "Leave a sample's own kernel out of its density; matters where a group is small. Ours."
                    ),
                },
                "clip": {
                    "type": ["number", "null"],
                    "minimum": 0,
                    "maximum": 1,
                    "default": None,
                    "description": (
                        "Quantile of the log-density of a class below which samples count alike; null clips "
                        "nothing. Ours."
                    ),
                },
                "chunk_size": {
                    "type": "integer",
                    "minimum": 1,
                    "default": 1024,
                    "description": "Rows computed at a time; memory only.",
                },
                "draw": {"$ref": "#/$defs/draw"},
                "trial": {"$ref": "#/$defs/trial"},
            },
            "reads": ["embedding"],
            "tries": "5 if variance == 'trial' else 0",
            # Pairs of the samples of a class, or of all; a bandwidth that is looked for has 14 more looks at 500 rows.
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
TRIED = (0.4, 0.2, 0.1, 0.05, 0.02)  # variances; the last is taken where nothing is tried
LEAST_CLIP = 0.02  # of what is tried: without it a few outliers hold all the weight


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
    """Return weights and log-densities from ``embedding`` (N, D) and ``label`` (N,).

    The density is that among the samples of the class (`per` ``class``) or among all (``data_set``); weights have mean
    1 in every class either way. Where the variance is chosen from the data, ``diagnostics`` has the ``variances``, one
    for each class in ascending order of the labels, or one for all. A variance of ``trial`` gives one estimate for
    each of `TRIED`.
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
