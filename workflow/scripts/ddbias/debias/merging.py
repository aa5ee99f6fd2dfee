"""Merging many small clusters into groups that are separated by gaps, using only size, mean and covariance of each.

Two clusters stay apart if their separation is above a threshold. It is ``|m_a - m_b| / (s_a + s_b)``, with means m and
standard deviations s along the line between the means. (The separation index of Qiu and Joe, 2006, is a monotone
function of it.) For comparison: the two halves of a normal cluster have 1.3, those of a uniformly filled interval 1.7,
a thin tail and the rest of its cluster up to 2.3.

Clusters are merged in the order of average linkage: by the mean squared distance between their samples, which follows
exactly from the moments. So small and distant groups are merged with the majority last. A likelihood or an inertia
would miss such groups where sizes are as unequal as 95 % and 0.5 %.

Cost: O(m^3) for m initial clusters, whatever the number of samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EXCESS = 1.5  # correction for small samples, see `separation`


@dataclass(frozen=True, eq=False)
class Component:
    """A set of clusters treated as one, with the moments of its samples.

    Attributes
    ----------
    parts : tuple of int
        Numbers of the clusters in the set.
    size : int
        Number of samples, at least 1.
    mean : ndarray of float64, shape (D,)
    covariance : ndarray of float64, shape (D, D)
        Normalised by the size, not by size - 1.
    """

    parts: tuple[int, ...]
    size: int
    mean: np.ndarray
    covariance: np.ndarray

    @classmethod
    def of(cls, part: int, points: np.ndarray) -> Component:
        """Return the component of one cluster with the given points (n, D)."""
        mean = points.mean(0)
        centred = points - mean
        return cls((part,), len(points), mean, centred.T @ centred / len(points))

    def __add__(self, other: Component) -> Component:
        """Return the union of both, whose moments follow exactly."""
        size = self.size + other.size
        share = other.size / size
        step = other.mean - self.mean
        covariance = (1 - share) * self.covariance + share * other.covariance
        covariance += share * (1 - share) * np.outer(step, step)
        return Component(self.parts + other.parts, size, self.mean + share * step, covariance)


def separation(a: Component, b: Component) -> float:
    """Return the distance between the means of two components in units of their spread along it, 0 to infinity.

    With few samples this would be too large. So variances are normalised by size - 1, and the result is divided by
    ``1 + EXCESS / n`` with n the smaller size. That factor is ours.
    """
    step = b.mean - a.mean
    length = float(np.linalg.norm(step))
    if length == 0:
        return 0.0
    spread = 0.0
    for component in (a, b):
        variance = float(step @ component.covariance @ step) / length**2
        spread += np.sqrt(max(variance, 0.0) * component.size / max(component.size - 1, 1))
    # The lower bound avoids a division by zero where the points of both components coincide up to rounding.
    return length / max(spread, 1e-9 * length) / (1 + EXCESS / min(a.size, b.size))


def distance(a: Component, b: Component) -> float:
    """Return the mean squared distance between the samples of two components."""
    return float(((a.mean - b.mean) ** 2).sum() + np.trace(a.covariance) + np.trace(b.covariance))


def merge(components: Sequence[Component], *, threshold: float, smallest: int, at_most: int | None) -> list[Component]:
    """Merge components until all groups are pairwise separated by more than a threshold.

    Parameters
    ----------
    components : sequence of Component
        At least one.
    threshold : float
        At least 0.
    smallest : int
        At least 1, in samples; a smaller component always joins the nearest one.
    at_most : int or None
        Number of groups above which the least separated ones are merged; None: any number may remain.

    Returns
    -------
    list of Component
        The largest first; of equally large ones that with the lowest part first.
    """
    nodes = {index: [component] for index, component in enumerate(components)}
    for first, second in _average_linkage(components):
        nodes[first] = _reduce(nodes[first] + nodes.pop(second), threshold, smallest, None)
    groups = _reduce(nodes[0], threshold, smallest, at_most)
    return sorted(groups, key=lambda group: (-group.size, min(group.parts)))


def _average_linkage(components: Sequence[Component]) -> list[tuple[int, int]]:
    """Return the merges of average linkage in order; a merged pair keeps the lower of its two numbers."""
    sizes = np.array([component.size for component in components], np.float64)  # (m,)
    means = np.stack([component.mean for component in components])  # (m, D)
    spread = np.array([np.trace(component.covariance) for component in components])  # (m,)
    apart = ((means[:, None] - means[None]) ** 2).sum(2) + spread[:, None] + spread[None]  # (m, m)
    np.fill_diagonal(apart, np.inf)
    merges = []
    for _ in range(len(components) - 1):
        first, second = sorted(map(int, divmod(int(apart.argmin()), len(components))))
        joint = (sizes[first] * apart[first] + sizes[second] * apart[second]) / (sizes[first] + sizes[second])
        sizes[first] += sizes[second]
        apart[first] = apart[:, first] = joint
        apart[second] = apart[:, second] = np.inf
        apart[first, first] = np.inf
        merges.append((first, second))
    return merges


def _reduce(groups: list[Component], threshold: float, smallest: int, at_most: int | None) -> list[Component]:
    """Merge groups one pair at a time while one is too small, two are too close, or there are too many."""
    groups = list(groups)
    while len(groups) > 1:
        small = [i for i, group in enumerate(groups) if group.size < smallest]
        if small:
            first = min(small, key=lambda i: groups[i].size)
            second = min(
                (i for i in range(len(groups)) if i != first), key=lambda i: distance(groups[first], groups[i])
            )
        else:
            pairs = [(i, j) for i in range(len(groups)) for j in range(i)]
            values = [separation(groups[i], groups[j]) for i, j in pairs]
            nearest = int(np.argmin(values))
            if values[nearest] > threshold and (at_most is None or len(groups) <= at_most):
                break
            first, second = pairs[nearest]
        joint = groups[first] + groups[second]
        groups = [group for i, group in enumerate(groups) if i not in (first, second)] + [joint]
    return groups
