"""Kernel densities against scikit-learn and slow loops; weights and what describes them."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.debias.real_side import check_weights
from ddbias.debias.weights.density import kde_density
from ddbias.debias.weights.diagnosis import diagnose
from ddbias.debias.weights.inverse_density import density_weights
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

# Points on a lattice of 1/16: duplicates are common, and squared distances are exact.
LATTICE = st.integers(-64, 64).map(lambda k: k / 16)
CLOUDS = st.tuples(st.integers(1, 25), st.integers(1, 4)).flatmap(
    lambda s: st.tuples(
        arrays.arrays(np.float64, s, elements=LATTICE), arrays.arrays(np.int64, s[0], elements=st.integers(0, 2))
    )
)


def slow_density(points, labels, variance, leave_one_out=False):
    """The definition in plain loops; the largest exponent is taken out, so that nothing underflows."""
    result = []
    for i, point in enumerate(points):
        exponents = [
            -sum((a - b) ** 2 for a, b in zip(point, other, strict=True)) / (2 * variance)
            for j, other in enumerate(points)
            if labels[j] == labels[i] and not (leave_one_out and i == j)
        ]
        if not exponents:
            result.append(-math.inf)
            continue
        largest = max(exponents)
        total = math.fsum(math.exp(exponent - largest) for exponent in exponents)
        result.append(largest + math.log(total) - math.log(len(exponents)))
    return np.array(result)


def sphere(count, dimensions, seed=0):
    points = np.random.default_rng(seed).normal(size=(count, dimensions))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def three_classes(count, seed=0):
    return np.random.default_rng(seed).integers(0, 3, count)


# ---------------------------------------------------------------------------------------------------- kde_density


@pytest.mark.parametrize(("dimensions", "variance"), [(1, 0.5), (3, 0.01), (20, 0.1), (128, 0.01)])
def test_density_is_that_of_scikit_learn(dimensions, variance):
    from sklearn.neighbors import KernelDensity

    points, labels = sphere(150, dimensions), three_classes(150)
    expected = np.empty(150)
    for label in range(3):
        members = labels == label
        model = KernelDensity(kernel="gaussian", bandwidth=math.sqrt(variance), rtol=0, atol=0)
        expected[members] = model.fit(points[members]).score_samples(points[members])
    # scikit-learn's kernel integrates to one, ours is one at zero.
    expected += dimensions / 2 * math.log(2 * math.pi * variance)
    np.testing.assert_allclose(kde_density(points, labels, variance=variance), expected, rtol=1e-6, atol=1e-9)


@given(CLOUDS, st.sampled_from([1e-4, 0.03, 1.0, 50.0]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_density_is_its_definition(cloud, variance, leave_one_out):
    points, labels = cloud
    density = kde_density(points, labels, variance=variance, leave_one_out=leave_one_out)
    np.testing.assert_allclose(density, slow_density(points, labels, variance, leave_one_out), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("chunk_size", [1, 7, 50, 1000])
def test_chunks_change_nothing(chunk_size, leave_one_out):
    points, labels = sphere(100, 5), three_classes(100)
    options = {"variance": 0.05, "leave_one_out": leave_one_out}
    whole = kde_density(points, labels, **options)
    np.testing.assert_allclose(kde_density(points, labels, chunk_size=chunk_size, **options), whole, rtol=1e-12)


@given(CLOUDS, st.booleans(), st.randoms(use_true_random=False))
@settings(max_examples=30, deadline=None)
def test_order_of_the_samples_changes_nothing(cloud, leave_one_out, random):
    points, labels = cloud
    order = list(range(len(labels)))
    random.shuffle(order)
    density = kde_density(points, labels, variance=0.5, leave_one_out=leave_one_out)
    shuffled = kde_density(points[order], labels[order], variance=0.5, leave_one_out=leave_one_out)
    np.testing.assert_allclose(shuffled, density[order], rtol=1e-9, atol=1e-9)


def test_names_of_the_classes_and_other_classes_change_nothing():
    points, labels = sphere(60, 4), three_classes(60)
    density = kde_density(points, labels, variance=0.1)
    np.testing.assert_array_equal(kde_density(points, labels * 7 - 3, variance=0.1), density)
    alone = labels == 1
    np.testing.assert_array_equal(kde_density(points[alone], labels[alone], variance=0.1), density[alone])


def test_a_common_shift_far_from_the_origin_changes_nothing():
    points, labels = sphere(80, 6), three_classes(80)
    shifted = np.array(points + 1e6)
    density = kde_density(shifted - 1e6, labels, variance=0.01)  # what the rounding of the shift left of the points
    np.testing.assert_allclose(kde_density(shifted, labels, variance=0.01), density, rtol=1e-7, atol=1e-7)


def test_repeated_samples_are_equally_dense():
    points = np.array([[0.0, 0], [0, 0], [0, 0], [3, 4]])
    near = math.exp(-12.5)
    expected = np.log([(3 + near) / 4] * 3 + [(1 + 3 * near) / 4])
    np.testing.assert_allclose(kde_density(points, np.zeros(4), variance=1), expected, rtol=1e-12)
    without = np.log([(2 + near) / 3] * 3 + [near])
    np.testing.assert_allclose(kde_density(points, np.zeros(4), variance=1, leave_one_out=True), without, rtol=1e-12)


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_collapsed_features_have_equal_weights(leave_one_out):
    points, labels = np.tile(sphere(1, 16), (30, 1)), three_classes(30)
    density = kde_density(points, labels, variance=1e-4, leave_one_out=leave_one_out)
    np.testing.assert_allclose(density, 0, atol=1e-9)
    np.testing.assert_allclose(density_weights(density, labels), 1, rtol=1e-9)


def test_a_class_of_one():
    points, labels = sphere(5, 3), np.array([0, 0, 1, 0, 0])
    assert kde_density(points, labels, variance=0.1)[2] == 0
    lonely = kde_density(points, labels, variance=0.1, leave_one_out=True)
    assert lonely[2] == -np.inf
    assert np.isfinite(np.delete(lonely, 2)).all()
    weights = density_weights(lonely, labels)
    assert weights[2] == 1
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("dimensions", [128, 512])
def test_narrow_kernels_in_many_dimensions_do_not_underflow(dimensions):
    points, labels = sphere(90, dimensions), three_classes(90)
    density = kde_density(points, labels, variance=1e-4, leave_one_out=True)
    assert (density < -1000).all()  # e^-1000 is zero in double precision
    np.testing.assert_allclose(density, slow_density(points, labels, 1e-4, leave_one_out=True), rtol=1e-9)
    assert len(np.unique(density)) >= 45  # only two samples that are each other's nearest have the same density
    weights = density_weights(density, labels)
    assert np.isfinite(weights).all()
    assert all(weights[labels == label].mean() == pytest.approx(1) for label in range(3))


def test_single_precision_is_computed_in_double():
    points, labels = sphere(50, 64).astype(np.float32), three_classes(50)
    density = kde_density(points, labels, variance=0.01)
    assert density.dtype == np.float64
    np.testing.assert_array_equal(density, kde_density(points.astype(np.float64), labels, variance=0.01))


def test_a_memory_mapped_embedding_is_taken_silently_and_left_as_it_is(tmp_path):
    stored = sphere(20, 4)
    np.save(tmp_path / "points.npy", stored)
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kde_density(mapped, np.zeros(20), variance=0.1)
    writable = stored.copy()
    kde_density(writable, np.zeros(20), variance=0.1)
    np.testing.assert_array_equal(writable, stored)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_diverged_embedding_is_refused(value):
    points = sphere(6, 3)
    points[4, 1] = value
    with pytest.raises(DdbiasError, match="not finite: the surrogate diverged"):
        kde_density(points, np.zeros(6), variance=0.1)


def test_settings_that_make_no_density_are_refused():
    points = sphere(6, 3)
    for variance in (0, -1, np.nan):
        with pytest.raises(DdbiasError, match="variance must be positive"):
            kde_density(points, np.zeros(6), variance=variance)
    with pytest.raises(DdbiasError, match="do not fit 5 labels"):
        kde_density(points, np.zeros(5), variance=1)
    with pytest.raises(DdbiasError, match="do not fit 6 labels"):
        kde_density(points[:, 0], np.zeros(6), variance=1)


# ------------------------------------------------------------------------------------------------ density_weights

DENSITIES = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        arrays.arrays(np.float64, n, elements=st.floats(-1e6, 1e6) | st.just(-np.inf)),
        arrays.arrays(np.int64, n, elements=st.integers(0, 3)),
    )
)


@given(DENSITIES, st.floats(1e-3, 1e3), st.none() | st.floats(0, 1))
@settings(max_examples=100, deadline=None)
def test_weights_have_mean_one_in_every_class(sample, temperature, clip):
    density, labels = sample
    weights = density_weights(density, labels, temperature=temperature, clip=clip)
    assert np.isfinite(weights).all()
    assert (weights >= 0).all()
    for label in np.unique(labels):
        assert weights[labels == label].mean() == pytest.approx(1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_weights_are_inverse_powers_of_the_density(temperature):
    density, labels = np.random.default_rng(0).normal(size=40), three_classes(40)
    weights = density_weights(density, labels, temperature=temperature)
    for label in range(3):
        power = np.exp(density[labels == label]) ** (-1 / temperature)
        np.testing.assert_allclose(weights[labels == label], power / power.mean(), rtol=1e-12)


def test_a_high_temperature_makes_equal_weights_and_a_low_one_a_single_winner():
    density, labels = np.array([-3.0, -1, 0, -2]), np.zeros(4)
    np.testing.assert_allclose(density_weights(density, labels, temperature=1e9), 1, rtol=1e-8)
    np.testing.assert_allclose(density_weights(density, labels, temperature=1e-3), [4, 0, 0, 0], atol=1e-12)


@given(st.floats(-1e5, 1e5))
@settings(max_examples=30, deadline=None)
def test_the_scale_of_the_density_changes_nothing(constant):
    density, labels = np.random.default_rng(1).normal(size=30), three_classes(30)
    shifted = density + constant * (labels + 1)  # by class: only ratios within a class matter
    np.testing.assert_allclose(density_weights(shifted, labels), density_weights(density, labels), rtol=1e-9)


def test_clipping_stops_outliers_at_the_quantile_of_their_class():
    density = np.array([-50.0, -3, -2, -1, 0, -7, -7, -7, -7, -7])
    labels = np.repeat([0, 1], 5)
    power = np.exp([3.0, 3, 2, 1, 0])
    expected = np.concatenate([power / power.mean(), np.ones(5)])
    np.testing.assert_allclose(density_weights(density, labels, clip=0.25), expected, rtol=1e-12)
    np.testing.assert_allclose(density_weights(density, labels, clip=1.0), 1, rtol=1e-12)
    np.testing.assert_array_equal(density_weights(density, labels, clip=0.0), density_weights(density, labels))


def test_a_density_of_zero_counts_as_the_lowest_that_is_not():
    labels = np.zeros(4)
    with_zero = density_weights(np.array([-np.inf, -2.0, -1, 0]), labels)
    np.testing.assert_array_equal(with_zero, density_weights(np.array([-2.0, -2, -1, 0]), labels))
    np.testing.assert_array_equal(density_weights(np.full(4, -np.inf), labels), 1)


def test_settings_that_make_no_weights_are_refused():
    for temperature in (0, -1, np.nan):
        with pytest.raises(DdbiasError, match="temperature must be positive"):
            density_weights(np.zeros(3), np.zeros(3), temperature=temperature)
    for value in (np.nan, np.inf):
        with pytest.raises(DdbiasError, match="below infinity"):
            density_weights(np.array([0, value, 1]), np.zeros(3))


# -------------------------------------------------------------------------------------------------- check_weights


def test_user_weights_are_scaled_to_mean_one_by_class():
    weights = check_weights(np.array([1, 3, 5, 5, 0]), np.array([0, 0, 1, 1, 1]))
    np.testing.assert_allclose(weights, [0.5, 1.5, 1.5, 1.5, 0])
    assert weights.dtype == np.float64


@pytest.mark.parametrize("size", [1e308, 1e-320])
def test_only_ratios_of_weights_count_whatever_their_size(size):
    weights = check_weights(np.array([1, 0.5, 0]) * size, np.array([0, 0, 0]))
    np.testing.assert_allclose(weights, [2, 1, 0], rtol=1e-3)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2], "2 weights for 3 samples"),
        ([1, np.nan, 1], "finite and not negative"),
        ([1, np.inf, 1], "finite and not negative"),
        ([1, 1, -1e-9], "finite and not negative"),
        ([1, 1, 0], "all weights of class 4 are zero"),
    ],
)
def test_what_cannot_be_weights_is_refused(weights, message):
    with pytest.raises(DdbiasError, match=message):
        check_weights(np.array(weights), np.array([0, 0, 4]))


# -------------------------------------------------------------------------------------------------------- diagnose


@given(
    arrays.arrays(np.float64, 25, elements=st.integers(-6, 0).map(float) | st.just(-np.inf)),
    arrays.arrays(np.bool_, 25),
)
@settings(max_examples=50, deadline=None)
def test_auc_is_the_share_of_pairs_in_order(density, conflicting):
    conflicting[:2] = [True, False]  # one of each at least
    pairs = [(a < b) + 0.5 * (a == b) for a in density[conflicting].tolist() for b in density[~conflicting].tolist()]
    found = diagnose(np.ones(25), density, conflicting, np.zeros(25, int))
    assert found["auc"] == pytest.approx(sum(pairs) / len(pairs))


def test_diagnosis_of_known_weights():
    found = diagnose(
        np.array([1.0, 1, 1, 5]), np.array([0.0, 0, 0, -2]), np.array([False, False, False, True]), np.zeros(4, int)
    )
    expected = {
        "auc": 1.0,
        "conflicting_share": 5 / 8,
        "conflicting_ratio": 1 / 4,
        "effective_sample_size": pytest.approx(64 / 28),
        "largest_share": 5 / 8,
    }
    assert found == expected | {"classes": [{"label": 0, "samples": 4, **expected}]}
    assert diagnose(np.ones(9), None, None, np.zeros(9, int))["effective_sample_size"] == 9


def test_every_class_is_described_as_if_it_were_alone():
    generator = np.random.default_rng(0)
    labels, weights = generator.integers(0, 3, 200) * 4 - 4, generator.exponential(size=200)
    density, conflicting = -weights + generator.normal(size=200), generator.random(200) < 0.3
    found = diagnose(weights, density, conflicting, labels)["classes"]
    assert [entry["label"] for entry in found] == [-4, 0, 4]
    for entry in found:
        rows = labels == entry["label"]
        alone = diagnose(weights[rows], density[rows], conflicting[rows], labels[rows])
        assert alone.pop("classes") == [entry]
        assert entry == {"label": entry["label"], "samples": rows.sum(), **alone}
        assert isinstance(entry["label"], int)  # it is written as JSON


@pytest.mark.parametrize(("count", "largest"), [(1, 1), (50, 1), (100, 1), (101, 2), (1000, 10)])
def test_the_largest_share_is_that_of_one_percent_of_the_samples(count, largest):
    weights = np.random.default_rng(count).exponential(size=count)
    expected = sum(sorted(weights.tolist())[-largest:]) / weights.sum()
    assert diagnose(weights, None, None, np.zeros(count, int))["largest_share"] == pytest.approx(expected)


def test_what_is_not_known_is_not_told():
    weights, density, labels = np.ones(3), np.zeros(3), np.array([0, 0, 1])
    unknown = diagnose(weights, density, None, labels)
    for found in (unknown, *unknown["classes"]):
        assert found["auc"] is found["conflicting_share"] is found["conflicting_ratio"] is None
    aligned = diagnose(weights, density, np.zeros(3, bool), labels)
    assert aligned["auc"] is None
    assert aligned["conflicting_ratio"] == 0
    mixed = diagnose(weights, density, np.array([True, False, True]), labels)
    assert mixed["classes"][0]["auc"] == 0.5
    assert mixed["classes"][1]["auc"] is None  # of one class, all conflict
    assert diagnose(weights, None, np.array([True, False, True]), labels)["auc"] is None
