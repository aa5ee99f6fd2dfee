"""Weights inverse to the kernel density of a sample among its class in the surrogate's embedding.

Source: Cui et al., "Mitigating Bias in Dataset Distillation" (arXiv 2406.06609, ICML 2024). No public code
exists; kernel variance, temperature and leave-one-out are not published and are options (see `ddbias.weights`).
Needs no attribute labels.
"""

from __future__ import annotations

import numpy as np

from ddbias.weights import density_weights, kde_density

NEEDS_SURROGATE = True


def sample_weights(
    embeddings: np.ndarray,
    labels: np.ndarray,
    *,
    variance: float,
    temperature: float,
    leave_one_out: bool,
    clip: float | None,
    chunk_size: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights and the log-densities, both (N,) float64, of embeddings (N, D)."""
    density = kde_density(embeddings, labels, variance=variance, chunk_size=chunk_size, leave_one_out=leave_one_out)
    return density_weights(density, labels, temperature=temperature, clip=clip), density
