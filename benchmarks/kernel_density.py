"""Kernel density of 60,000 embeddings of 128 dimensions in 10 classes, ours against scikit-learn's KernelDensity.

And of many small classes, which is how a million samples in a thousand classes are: measured on 100 classes of 1,000;
the numbers of the whole are projections (time and what is stored are linear in the number of classes; what a class
needs while it is worked on does not depend on it).
"""

import os
import resource
import time

import numpy as np
import torch
from ddbias.debias.weights.density import kde_density
from ddbias.debias.weights.inverse_density import density_weights
from sklearn.neighbors import KernelDensity

DIMENSIONS, VARIANCE = 128, 0.01
MEASURED, WHOLE = 100, 1000  # classes of 1,000 samples


def main() -> None:
    """Print seconds and peak memory, measured and projected, and the ratio to scikit-learn."""
    torch.set_num_threads(os.cpu_count())
    many()  # first: the peak memory of a process never falls
    large()
    for variance in ("median", "likelihood"):
        choice(variance)


def sphere(count: int) -> np.ndarray:
    """Return random points (count, D) float32 on the unit sphere."""
    points = np.random.default_rng(0).normal(size=(count, DIMENSIONS)).astype(np.float32)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def measured(points: np.ndarray, classes: int, variance: float | str) -> tuple[np.ndarray, float, float]:
    """Return log-densities, seconds, and MiB by which the peak memory rose, weights included."""
    labels = np.arange(len(points)) % classes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    density = kde_density(points, labels, variance=variance)
    density_weights(density, labels)
    seconds = time.perf_counter() - began
    return density, seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def large() -> None:
    """Compare with scikit-learn, which is measured on one class and multiplied."""
    points = sphere(60_000)
    ours, seconds, memory = measured(points, 10, VARIANCE)
    one = points[::10].astype(np.float64)
    began = time.perf_counter()
    theirs = KernelDensity(bandwidth=VARIANCE**0.5).fit(one).score_samples(one)
    reference = 10 * (time.perf_counter() - began)
    worst = np.abs(ours[::10] - DIMENSIONS / 2 * np.log(2 * np.pi * VARIANCE) - theirs).max()
    print(f"KDE 60,000 x 128: {seconds:.1f} s, {memory:.0f} MiB more than before")
    print(f"scikit-learn: {reference:.0f} s, {reference / seconds:.1f} times ours")
    print(f"largest difference of the log-density: {worst:.1e}")


def choice(variance: str) -> None:
    """Measure the same with the variance chosen for each class."""
    _, seconds, _ = measured(sphere(60_000), 10, variance)
    print(f"KDE 60,000 x 128, variance {variance}: {seconds:.1f} s")


def many() -> None:
    """Measure small classes and project to a thousand of them."""
    points = sphere(1000 * MEASURED)
    _, seconds, memory = measured(points, MEASURED, VARIANCE)
    stored = 8 * 6 / 2**20 * 1000 * WHOLE  # labels, their order, rows, densities, weights, what one step holds
    print(f"KDE {len(points):,} x 128 in {MEASURED} classes: {seconds:.2f} s, {memory:.0f} MiB more than before")
    print(
        f"projected for {1000 * WHOLE:,} x 128 in {WHOLE:,} classes: {seconds * WHOLE / MEASURED:.0f} s, about "
        f"{stored:.0f} MiB beside the embedding's {points.nbytes * WHOLE / MEASURED / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    main()
