"""Kernels against scikit-learn and slow loops, and the choice of their variance against plain searches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.base.groups import class_members
from ddbias.debias.kinds import kde
from ddbias.debias.weights.density import class_variances, kde_density
from ddbias.debias.weights.inverse_density import density_weights
from ddbias.debias.weights.kernels import KERNELS, UNBOUNDED
from ddbias.debias.weights.variance import GRID, LIKELIHOOD_SAMPLES, MEDIAN_SAMPLES
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

PROFILES = {
    "gaussian": lambda d, h: math.exp(-(d**2) / (2 * h**2)),
    "exponential": lambda d, h: math.exp(-d / h),
    "epanechnikov": lambda d, h: max(0.0, 1 - d**2 / h**2),
    "tophat": lambda d, h: float(d < h),
}


def sphere(count, dimensions, seed=0):
    points = np.random.default_rng(seed).normal(size=(count, dimensions))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def slow_density(points, labels, kernel, variance, leave_one_out):
    """The definition in plain loops."""
    result = []
    for i, point in enumerate(points):
        others = [j for j in range(len(points)) if labels[j] == labels[i] and not (leave_one_out and i == j)]
        total = math.fsum(PROFILES[kernel](math.dist(point, points[j]), variance**0.5) for j in others)
        result.append(math.log(total / len(others)) if total else -math.inf)
    return np.array(result)


# --------------------------------------------------------------------------------------------------------- kernels


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("dimensions", "variance"), [(2, 0.3), (16, 0.9), (64, 2.1)])
def test_a_kernel_is_that_of_scikit_learn_up_to_its_constant(kernel, dimensions, variance):
    from sklearn.neighbors import KernelDensity

    points = sphere(200, dimensions)
    model = KernelDensity(kernel=kernel, bandwidth=math.sqrt(variance), rtol=0, atol=0)
    theirs = model.fit(points).score_samples(points)
    # The density of a single sample at itself is the constant.
    theirs -= KernelDensity(kernel=kernel, bandwidth=math.sqrt(variance)).fit(points[:1]).score_samples(points[:1])
    ours = kde_density(points, np.zeros(200), variance=variance, kernel=kernel)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)
    assert np.ptp(ours) > 0.01


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("leave_one_out", [False, True])
def test_a_kernel_is_its_definition(kernel, leave_one_out):
    points, labels = sphere(60, 3), np.random.default_rng(0).integers(0, 3, 60)
    for variance in (0.01, 0.2, 5.0):
        found = kde_density(points, labels, variance=variance, kernel=kernel, leave_one_out=leave_one_out, chunk_size=7)
        expected = slow_density(points, labels, kernel, variance, leave_one_out)
        np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("kernel", ["epanechnikov", "tophat"])
def test_samples_beyond_a_kernel_that_ends_weigh_like_the_least_dense_one_within(kernel):
    points, labels = np.array([[0.0], [0.1], [0.2], [0.35], [5], [9]]), np.zeros(6)
    density = kde_density(points, labels, variance=0.04, kernel=kernel, leave_one_out=True)
    assert (density == -np.inf).tolist() == [False] * 4 + [True] * 2
    weights = density_weights(density, labels)
    assert np.isfinite(weights).all()
    assert weights[4] == weights[5] == weights[:4].max() > weights[:4].min()
    alone = kde_density(points * 100, labels, variance=0.04, kernel=kernel, leave_one_out=True)
    np.testing.assert_array_equal(density_weights(alone, labels), 1)  # nobody has neighbours: all count alike
    own = kde_density(points, labels, variance=0.04, kernel=kernel)
    np.testing.assert_allclose(own[4:], math.log(1 / 6))  # with its own kernel a lonely sample has a density


@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 12), st.just(2)), elements=st.integers(-2, 2).map(float)),
    st.sampled_from(KERNELS),
    st.sampled_from([0.01, 1.5, "median", "likelihood"]),
    st.booleans(),
)
@settings(max_examples=80, deadline=None)
def test_weights_are_finite_whatever_is_repeated(points, kernel, variance, leave_one_out):
    if variance == "likelihood" and kernel not in UNBOUNDED:
        variance = "median"
    labels = np.arange(len(points)) % 2
    density = kde_density(points, labels, variance=variance, kernel=kernel, leave_one_out=leave_one_out)
    weights = density_weights(density, labels)
    assert np.isfinite(weights).all()
    for _, rows in class_members(labels):
        assert weights[rows].mean() == pytest.approx(1)
        if len(np.unique(points[rows], axis=0)) == 1:
            np.testing.assert_allclose(weights[rows], 1)


def test_unknown_kernels_are_refused():
    with pytest.raises(DdbiasError, match=r"unknown kernel 'gausian'.*Did you mean 'gaussian'"):
        kde_density(sphere(4, 2), np.zeros(4), variance=1.0, kernel="gausian")


# -------------------------------------------------------------------------------------------------------- variance


def variance_of(points, choice, kernel="gaussian", **options):
    (found,) = class_variances(points, np.zeros(len(points)), variance=choice, kernel=kernel, **options)
    return found


@pytest.mark.parametrize("count", [2, 3, 40, 300])
def test_the_median_is_half_that_of_the_squared_distances(count):
    points = sphere(count, 5)
    pairs = [((points[i] - points[j]) ** 2).sum() for i in range(count) for j in range(i)]
    assert variance_of(points, "median") == pytest.approx(np.median(pairs) / 2)


@pytest.mark.parametrize("kernel", UNBOUNDED)
@pytest.mark.parametrize("scale", [0.02, 0.5])
def test_the_likelihood_is_the_largest_of_the_grid(kernel, scale):
    """Against scikit-learn, which is fitted anew without each sample."""
    from sklearn.neighbors import KernelDensity

    generator = np.random.default_rng(0)
    points = np.concatenate([generator.normal(0, scale, (25, 2)), generator.normal(2, scale, (15, 2))])
    median = variance_of(points, "median")
    likelihoods = []
    for factor in GRID:
        model = KernelDensity(kernel=kernel, bandwidth=math.sqrt(median * factor), rtol=0, atol=0)
        left_out = [model.fit(np.delete(points, i, 0)).score_samples(points[i : i + 1])[0] for i in range(40)]
        likelihoods.append(sum(left_out))
    best = int(np.argmax(likelihoods))
    assert 0 < best < len(GRID) - 1
    for chunk_size in (7, 1024):
        assert variance_of(points, "likelihood", kernel, chunk_size=chunk_size) == pytest.approx(median * GRID[best])


def test_the_likelihood_finds_the_bandwidth_of_a_normal_sample():
    """Silverman's rule is optimal there: variance (4 / (D + 2) / n) ** (2 / (D + 4))."""
    points = np.random.default_rng(0).normal(size=(800, 3))
    rule = (4 / 5 / 800) ** (2 / 7)
    assert 1 / 2 <= variance_of(points, "likelihood") / rule <= 2


def test_choices_scale_with_the_embedding_and_are_made_by_class():
    first, second = sphere(60, 4), 0.1 * sphere(40, 4, seed=1)
    points, labels = np.concatenate([first, second]), np.repeat([3, 1], [60, 40])
    for choice in ("median", "likelihood"):
        alone = [variance_of(second, choice), variance_of(first, choice)]
        assert class_variances(points, labels, variance=choice) == pytest.approx(alone)
        assert variance_of(0.1 * first, choice) == pytest.approx(0.01 * alone[1])
        density = kde_density(points, labels, variance=choice, leave_one_out=True)
        np.testing.assert_array_equal(density, kde_density(points, labels, variance=alone, leave_one_out=True))
        for part, value, label in ((second, alone[0], 1), (first, alone[1], 3)):
            expected = kde_density(part, np.zeros(len(part)), variance=value, leave_one_out=True)
            np.testing.assert_array_equal(density[labels == label], expected)


@pytest.mark.slow
def test_large_classes_are_judged_by_evenly_spaced_samples():
    points = np.random.default_rng(0).normal(size=(MEDIAN_SAMPLES + 500, 2))
    points[len(points) // 2 :] *= 3  # ordered: the first samples alone would mislead
    squares = ((points[::7, None] - points[None, ::7]) ** 2).sum(2)
    exact = np.median(squares[np.triu_indices(len(squares), 1)]) / 2
    assert variance_of(points, "median") == pytest.approx(exact, rel=0.1)
    assert len(points) > LIKELIHOOD_SAMPLES
    assert variance_of(points, "likelihood") in [pytest.approx(variance_of(points, "median") * f) for f in GRID]


def test_repeated_samples_leave_a_variance():
    assert variance_of(np.ones((30, 3)) / 3, "median") == 1
    assert variance_of(np.ones((30, 3)) / 3, "likelihood") == pytest.approx(GRID[0])
    assert variance_of(np.ones((1, 3)), "median") == variance_of(np.ones((1, 3)), "likelihood") == 1
    mostly = np.concatenate([np.zeros((30, 1)), [[2.0]]])
    assert variance_of(mostly, "median") == pytest.approx(2)  # half the only distance that is not zero


def test_choices_that_cannot_be_made_are_refused():
    points, labels = sphere(6, 3), np.zeros(6)
    with pytest.raises(DdbiasError, match=r"unknown choice of the kernel variance 'medain'.*Did you mean 'median'"):
        kde_density(points, labels, variance="medain")
    for kernel in ("epanechnikov", "tophat"):
        with pytest.raises(
            DdbiasError, match=f"likelihood needs a kernel that is positive everywhere .*, not {kernel}"
        ):
            kde_density(points, labels, variance="likelihood", kernel=kernel)
    with pytest.raises(DdbiasError, match="2 kernel variances for 1 classes"):
        kde_density(points, labels, variance=[0.1, 0.2])


def test_the_debias_keeps_the_variances_that_it_chose():
    columns = {"embedding": sphere(50, 4), "label": np.arange(50) % 2}
    options = {"temperature": 1.0, "leave_one_out": True, "clip": None, "chunk_size": 16, "kernel": "exponential"}
    found = kde.estimate(columns, variance="median", **options)
    expected = class_variances(columns["embedding"], columns["label"], variance="median")
    assert found.diagnostics == {"variances": expected}
    fixed = kde.estimate(columns, variance=0.1, **options)
    assert fixed.diagnostics == {}
    np.testing.assert_array_equal(
        fixed.log_density,
        kde_density(columns["embedding"], columns["label"], variance=0.1, kernel="exponential", leave_one_out=True),
    )


# --------------------------------------------------------------------------------------------------- class_members


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=40))
@settings(max_examples=40, deadline=None)
def test_members_are_the_rows_of_each_label(labels):
    found = dict(class_members(np.array(labels)))
    assert list(found) == sorted(set(labels))
    for label, rows in found.items():
        assert rows.tolist() == [row for row, other in enumerate(labels) if other == label]


def test_the_likelihood_of_a_large_class_is_that_of_its_part():
    points = np.random.default_rng(0).normal(size=(1500, 12))
    median = variance_of(points, "median")
    rows = np.unique(np.linspace(0, 1499, 500).round().astype(int))
    squares = ((points[rows, None] - points) ** 2).sum(2)
    squares[np.arange(500), rows] = np.inf
    scores = []
    for factor in GRID:
        h2 = factor * median
        scores.append(np.log(np.exp(-squares / (2 * h2)).sum(1) + 1e-300).sum() - 12 / 2 * 500 * np.log(h2))
    assert variance_of(points, "likelihood") == pytest.approx(GRID[int(np.argmax(scores))] * median)
