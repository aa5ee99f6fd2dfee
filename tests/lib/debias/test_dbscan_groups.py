"""DBSCAN of a class against plain loops over all pairs; noise, borders, large classes, and what cannot be clustered."""

import math

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.debias import dbscan_groups as module
from ddbias.debias.balance import balanced_weights
from ddbias.debias.dbscan_groups import dbscan_groups
from ddbias.debias.estimation import estimate_weights
from hypothesis import given, settings
from hypothesis import strategies as st


def plain_groups(points, eps, min_samples):
    """Core samples joined by hand, everything else with its nearest core sample; 0 the largest group."""
    points = [np.array(p) / (math.hypot(*p) or 1) for p in points]
    near = [[j for j, q in enumerate(points) if math.dist(p, q) <= eps] for p in points]
    core = [i for i, found in enumerate(near) if len(found) >= min_samples]
    if not core:
        return [0] * len(points)
    parts = {i: i for i in core}
    changed = True
    while changed:
        changed = False
        for i in core:
            for j in near[i]:
                if j in parts and parts[j] < parts[i]:
                    parts[i], changed = parts[j], True
    belongs = [parts[min(core, key=lambda j: math.dist(p, points[j]))] for p in points]
    order = sorted(set(belongs), key=lambda part: (-belongs.count(part), part))
    return [order.index(part) for part in belongs]


def on_the_circle(degrees):
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], 1)


@given(
    st.lists(st.floats(0, 360), min_size=1, max_size=40, unique=True),
    st.sampled_from([0.03, 0.2, 0.7]),
    st.integers(1, 6),
)
@settings(max_examples=60, deadline=None)
def test_groups_equal_plain_loops(degrees, eps, min_samples):
    points = on_the_circle(np.sort(degrees)) * 3
    found, used = dbscan_groups(points, np.zeros(len(points), int), eps=eps, min_samples=min_samples)
    expected = plain_groups(points.tolist(), eps, min_samples)
    assert used == [eps]
    assert found.dtype == np.int64
    pairs = set(zip(found.tolist(), expected, strict=True))
    assert len(pairs) == len(set(expected)) == found.max() + 1  # the same parts; equal sizes may change names
    assert (np.diff(np.bincount(found)) <= 0).all()


def test_the_eps_that_is_found_makes_95_percent_core_samples():
    generator = np.random.default_rng(0)
    points = generator.normal(size=(200, 5))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for min_samples in (None, 3):
        _, (eps,) = dbscan_groups(points, np.zeros(200, int), min_samples=min_samples)
        within = [sum(math.dist(p, q) <= eps * (1 + 1e-9) for q in points) for p in points]
        assert sum(count >= (min_samples or 5) for count in within) == 191  # the next of 95 % of 0..199
        within = [sum(math.dist(p, q) < eps * (1 - 1e-9) for q in points) for p in points]
        assert sum(count >= (min_samples or 5) for count in within) == 190


def test_a_class_is_clustered_on_its_own_and_noise_goes_to_the_nearest_group():
    degrees = [*np.linspace(0, 20, 41), *np.linspace(90, 95, 11), 130.0, 350.0]  # two arcs, two far from both
    points = np.concatenate([on_the_circle(degrees), on_the_circle(np.linspace(0, 95, 191))])
    labels = np.repeat([5, 2], [54, 191])
    found, (second, first) = dbscan_groups(points, labels)
    assert found.tolist() == [0] * 41 + [1] * 12 + [0] + [0] * 191
    assert first > second
    order = np.random.default_rng(0).permutation(len(labels))
    moved, _ = dbscan_groups(7 * points[order], labels[order])
    np.testing.assert_array_equal(moved, found[order])


def test_of_a_large_class_a_part_is_clustered_and_the_others_follow(monkeypatch):
    generator = np.random.default_rng(0)
    names = generator.permutation(np.repeat([0, 1, 2], [300, 80, 40]))
    points = on_the_circle(np.array([0.0, 60, 200])[names] + generator.uniform(-5, 5, 420))
    monkeypatch.setattr(module, "LARGEST", 150)
    found, _ = dbscan_groups(points, np.zeros(420, int), eps=0.2)
    np.testing.assert_array_equal(found, names)
    other, _ = dbscan_groups(points, np.zeros(420, int), eps=0.2, seed=1)
    np.testing.assert_array_equal(other, names)


def test_classes_without_structure_or_with_few_samples_are_one_group():
    points = np.concatenate([np.tile([3.0, 4.0], (30, 1)), np.zeros((9, 2)), np.eye(2), [[1.0, 1.0]]])
    labels = np.repeat([0, 1, 2, 3], [30, 9, 2, 1])
    found, _ = dbscan_groups(points, labels)
    assert (found == 0).all()


@pytest.mark.parametrize("kind", ["group_balanced", "fairdd", "cobra"])
def test_a_debias_balances_them(kind):
    points = on_the_circle([*np.linspace(0, 20, 41), *np.linspace(90, 95, 11), *np.linspace(0, 9, 20)])
    columns = {"embedding": points.astype(np.float32), "label": np.repeat([0, 1], [52, 20])}
    found = estimate_weights({"kind": kind, "surrogate": "s", "groups": "dbscan", "clusters": None}, columns)
    assert found.groups.tolist() == [0] * 41 + [1] * 11 + [0] * 20
    np.testing.assert_allclose(found.weights, balanced_weights(columns["label"], found.groups))
    assert [found.weights[:41].sum(), found.weights[41:52].sum()] == pytest.approx([26, 26])
    assert len(found.diagnostics["eps"]) == 2
    wide = {"kind": kind, "surrogate": "s", "groups": "dbscan", "eps": 2.0, "min_samples": 2}
    np.testing.assert_allclose(estimate_weights(wide, columns).weights, 1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"eps": 0.0}, "the eps of dbscan must be above 0 and at most 2, not 0.0; leave it out to have it found"),
        ({"eps": math.nan}, "the eps of dbscan must be above 0 and at most 2, not nan"),
        ({"min_samples": 0}, "the min_samples of dbscan must be at least 1, not 0"),
        ({"embedding": np.zeros((3, 2))}, r"embeddings of shape \(3, 2\) do not fit 4 labels"),
        ({"embedding": np.full((4, 2), np.inf)}, "embeddings have values that are not finite: the surrogate diverged"),
    ],
)
def test_what_cannot_be_clustered_is_one_line(options, said):
    columns = {"embedding": np.ones((4, 2)), "label": np.zeros(4, int)}
    columns["embedding"] = options.pop("embedding", columns["embedding"])
    with pytest.raises(DdbiasError, match=said):
        estimate_weights({"kind": "cobra", "surrogate": "s", "groups": "dbscan", **options}, columns)
