"""Metrics of images against hand-made sets with known answers and plain loops over points."""

import math

import numpy as np
import pytest
from ddbias.evaluation.images import image_metrics
from ddbias.evaluation.images.image_metrics import (
    aligned_share,
    attribute_entropy,
    coverage_and_density,
    mean_distance,
    relative_distance,
)
from ddbias.planning.config import load_schema
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

# Whole numbers: sums of squares are exact, so that a point on the surface of a ball is there in both computations.
POINTS = st.integers(4, 12).flatmap(lambda n: arrays.arrays(np.int64, (n, 2), elements=st.integers(-6, 6)))


def distance(a, b):
    return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def slow_coverage_and_density(points, real):
    """The definitions of the paper, one ball at a time."""
    k = min(5, len(real) // 2)
    covered = hits = 0
    for i, centre in enumerate(real):
        others = sorted(distance(centre, other) for j, other in enumerate(real) if j != i)
        inside = sum(distance(centre, point) < others[k - 1] for point in points)
        covered += inside > 0
        hits += inside
    return covered / len(real), hits / (k * len(points))


def test_mean_distance_by_hand():
    assert mean_distance(np.array([[0, 0], [3, 4], [0, 0]])) == pytest.approx((5 + 0 + 5) / 3)
    assert mean_distance(np.ones((4, 3))) == 0
    assert np.isnan(mean_distance(np.ones((1, 3))))


def test_relative_distance_is_one_for_the_same_images_and_zero_for_copies_of_one():
    rng = np.random.default_rng(0)
    real = [rng.normal(size=(6, 4)) for _ in range(3)]
    assert relative_distance([(r, r) for r in real]) == 1
    assert relative_distance([(r / 2, r) for r in real]) == pytest.approx(0.5)
    assert relative_distance([(r[[0, 0]], r) for r in real]) == 0
    assert np.isnan(relative_distance([(r[:1], r) for r in real]))
    assert np.isnan(relative_distance([(real[0], np.zeros((6, 4)))]))


def test_relative_distance_is_a_quotient_of_means():
    near, far = np.array([[0.0], [1.0]]), np.array([[0.0], [9.0]])
    assert relative_distance([(near, far), (far, near)]) == 1


@given(points=POINTS, real=POINTS)
def test_coverage_and_density_are_those_of_a_plain_loop(points, real):
    assert coverage_and_density(points, real) == pytest.approx(slow_coverage_and_density(points, real))


@given(points=POINTS, real=POINTS, order=st.randoms(use_true_random=False))
def test_coverage_and_density_depend_on_neither_order_nor_scale(points, real, order):
    expected = coverage_and_density(points, real)
    shuffled = [order.sample(part.tolist(), len(part)) for part in (points, real)]
    assert coverage_and_density(*(np.array(part) for part in shuffled)) == pytest.approx(expected)
    assert coverage_and_density(4 * points, 4 * real) == pytest.approx(expected)


@pytest.mark.parametrize("count", [8, 10, 50])
def test_points_of_the_same_distribution_have_the_published_expectation(count):
    """Coverage is 1 - (N-1)...(N-k) / ((M+N-1)...(M+N-k)), density 1, whatever the distribution."""
    rng, k = np.random.default_rng(0), min(5, count // 2)
    values = np.array([coverage_and_density(*rng.normal(size=(2, count, 3))) for _ in range(300)])
    expected = 1 - math.prod((count - i) / (2 * count - i) for i in range(1, k + 1))
    error = values.std(0) / math.sqrt(len(values))
    assert abs(values[:, 0].mean() - expected) < 4 * error[0]
    assert abs(values[:, 1].mean() - 1) < 4 * error[1]


def test_one_mode_of_two_covers_half():
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.normal(size=(20, 2)), rng.normal(size=(20, 2)) + 100])
    coverage, density = coverage_and_density(real[:20] + 1e-9, real)
    assert coverage == 0.5
    assert density > 0.9
    assert coverage_and_density(real + 1000, real) == (0, 0)


def test_too_few_real_points_say_nothing():
    points = np.arange(6.0).reshape(-1, 1)
    assert np.isnan(coverage_and_density(points, points[:3])).all()
    assert np.isnan(coverage_and_density(points[:0], points)).all()
    assert not np.isnan(coverage_and_density(points[:1], points[:4])).any()


def test_aligned_share_by_hand():
    labels = np.array([0, 0, 1, 1])
    assert aligned_share(np.array([0, 0, 1, 1]), labels, "identity") == 1
    assert aligned_share(np.array([0, 2, 1, 0]), labels, "identity") == 0.5
    assert aligned_share(np.array([2, 2, 0, 1]), labels, [2, 0]) == 0.75
    assert np.isnan(aligned_share(labels, labels, None))


def entropy(attributes, labels, groups=4, classes=3):
    return attribute_entropy(np.array(attributes), np.array(labels), classes=classes, groups=groups)


def test_entropy_of_one_colour_is_zero_and_of_equal_colours_one():
    assert entropy([2] * 8, [0] * 8) == 0
    assert entropy([0, 1, 2, 3] * 2, [0] * 8) == pytest.approx(1)
    assert entropy([0, 1, 2, 3, 1, 1, 1, 1], [0] * 4 + [1] * 4) == pytest.approx(0.5)
    assert entropy([0, 1], [0, 0]) == pytest.approx(1), "two images cannot have more than two colours"
    three_to_one = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / math.log(4)
    assert entropy([0, 0, 0, 3], [1] * 4) == pytest.approx(three_to_one)


def test_entropy_that_cannot_be_said_is_missing():
    assert np.isnan(entropy([0, 1], [0, 1])), "one image of a class"
    assert np.isnan(entropy([0, 0], [0, 0], groups=1)), "one attribute"


def test_names_of_metrics_are_those_of_the_schemas():
    from ddbias.evaluation import metrics, records

    assert set(image_metrics.ABOVE_ONE) < set(image_metrics.METRICS)
    assert not set(image_metrics.METRICS) & set(metrics.METRICS)
    assert set(image_metrics.METRICS) <= set(load_schema()["$defs"]["metric"]["enum"])
    row = records.schema()
    assert set(image_metrics.METRICS) <= set(row["properties"]["metric"]["enum"])
    assert row["if"]["properties"]["metric"]["enum"] == list(image_metrics.ABOVE_ONE)
