"""SPARE against plain loops: silhouettes over all pairs, weights sample by sample; what cannot be clustered."""

import math

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.debias.estimation import estimate_weights
from ddbias.debias.kinds import spare


def outputs(sizes, *, spread=0.2, seed=0):
    """Logits of a classifier of as many classes, that takes so many samples for each: shuffled, and what it says."""
    generator = np.random.default_rng(seed)
    names = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return 6 * np.eye(len(sizes))[names] + generator.normal(0, spread, (len(names), len(sizes))), names


def softmax(row):
    odds = [math.exp(value) for value in row]
    return [odd / sum(odds) for odd in odds]


def plain_silhouette(points, groups):
    """Mean over the samples of (b - a) / max(a, b), by the definition; 0 for a sample that is alone."""
    scores = []
    for i, own in enumerate(groups):
        means = {}
        for name in set(groups):
            others = [points[j] for j, group in enumerate(groups) if group == name and j != i]
            means[name] = sum(math.dist(points[i], other) for other in others) / len(others) if others else None
        a = means.pop(own)
        b = min(value for value in means.values() if value is not None)
        scores.append(0 if a is None else (b - a) / max(a, b))
    return sum(scores) / len(scores)


def plain_weights(labels, groups, powers):
    raw = []
    for label, group in zip(labels, groups, strict=True):
        size = sum(1 for pair in zip(labels, groups, strict=True) if pair == (label, group))
        raw.append(size ** -powers[label])
    return [
        value * labels.count(label) / sum(r for r, other in zip(raw, labels, strict=True) if other == label)
        for value, label in zip(raw, labels, strict=True)
    ]


def test_clusters_silhouettes_and_weights_equal_plain_loops():
    clean, names = outputs([40, 9, 4])
    blurred = np.random.default_rng(1).normal(size=(30, 3))
    logits, labels = np.concatenate([clean, blurred]), np.repeat([0, 1], [53, 30])
    found = spare.estimate({"logits": logits, "label": labels}, power=3.0, max_clusters=5)
    assert found.groups[:53].tolist() == names.tolist()  # 0 is the largest
    silhouettes = [
        plain_silhouette([softmax(row) for row in logits[labels == c]], found.groups[labels == c].tolist())
        for c in (0, 1)
    ]
    assert silhouettes[1] < 0.9 < silhouettes[0]
    assert found.diagnostics["silhouettes"] == pytest.approx(silhouettes)
    assert found.diagnostics["clusters"] == [3, found.groups[53:].max() + 1]
    expected = plain_weights(labels.tolist(), found.groups.tolist(), {0: 1, 1: 3})
    np.testing.assert_allclose(found.weights, expected, rtol=1e-9)
    held = [found.weights[:53][names == name].sum() for name in range(3)]
    assert held == pytest.approx([53 / 3] * 3)  # a clean class: its clusters hold the same weight


def test_the_number_is_that_of_the_highest_silhouette():
    logits, _ = outputs([30, 12, 8, 6], spread=0.4)
    labels = np.zeros(len(logits), int)
    points = [softmax(row) for row in logits]
    scores = {}
    for number in range(2, 7):
        one = spare.estimate({"logits": logits, "label": labels}, clusters=number)
        assert one.diagnostics["clusters"] == [number]
        scores[number] = plain_silhouette(points, one.groups.tolist())
    assert max(scores, key=scores.get) == 4
    chosen = spare.estimate({"logits": logits, "label": labels}, max_clusters=6).diagnostics
    assert chosen == {"clusters": [4], "silhouettes": [pytest.approx(scores[4])]}
    least = spare.estimate({"logits": logits, "label": labels}, max_clusters=3).diagnostics["clusters"]
    assert least == [max((2, 3), key=scores.get)]


@pytest.mark.slow
def test_weights_follow_their_samples_and_have_mean_one():
    parts = [outputs(sizes, seed=seed)[0] for seed, sizes in enumerate([(50, 8, 3), (20, 20, 20), (70, 1, 5)])]
    logits, labels = np.concatenate(parts), np.repeat([4, 1, 2], [61, 60, 76])
    weights = spare.estimate({"logits": logits, "label": labels}).weights
    for label in (1, 2, 4):
        assert weights[labels == label].mean() == pytest.approx(1)
    order = np.random.default_rng(5).permutation(len(labels))
    moved = spare.estimate({"logits": logits[order], "label": labels[order]}).weights
    np.testing.assert_allclose(moved, weights[order])
    shifted = spare.estimate({"logits": logits + 300, "label": labels}).weights  # a softmax does not see it
    np.testing.assert_allclose(shifted, weights)
    np.testing.assert_array_equal(spare.estimate({"logits": logits, "label": labels}).weights, weights)


@pytest.mark.parametrize("order", ["mixed", "ascending", "descending"])
def test_a_large_class_is_judged_by_a_part_of_its_pairs(monkeypatch, order):
    """Drawn from all of the class, whose attributes may ascend with the position."""
    logits, names = outputs([600, 60, 40])
    if order != "mixed":
        rows = np.argsort(names if order == "ascending" else -names, kind="stable")
        logits, names = logits[rows], names[rows]
    columns = {"logits": logits, "label": np.zeros(700, int)}
    whole = spare.estimate(columns)
    monkeypatch.setattr(spare, "PAIRS_OF", 150)
    part = spare.estimate(columns)
    np.testing.assert_array_equal(part.weights, whole.weights)
    np.testing.assert_array_equal(part.groups, names)
    assert part.diagnostics["silhouettes"] == pytest.approx(whole.diagnostics["silhouettes"], abs=0.03)
    assert part.diagnostics["silhouettes"] != whole.diagnostics["silhouettes"]


def test_outputs_that_cannot_be_told_apart_weigh_alike():
    logits = np.concatenate([np.ones((7, 3)), [[5, 0, 0]], [[5, 0, 0], [0, 5, 0]], np.eye(3).repeat(2, 0) * 9])
    labels = np.repeat([0, 1, 2, 3], [7, 1, 2, 6])
    found = spare.estimate({"logits": logits, "label": labels}, max_clusters=4)
    np.testing.assert_allclose(found.weights, 1)
    assert found.diagnostics["clusters"] == [1, 1, 2, 3]
    assert found.diagnostics["silhouettes"] == pytest.approx([0, 0, 0, 1])


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ({}, {"logits": None}, "spare needs the logits of its surrogate, which stores none; use one of kind"),
        ({}, {"logits": np.full((9, 2), np.nan)}, "the logits have values that are not finite"),
        ({}, {"logits": np.zeros((8, 2))}, r"logits of shape \(8, 2\) do not fit 9 labels"),
        ({"clusters": 1}, {}, "the clusters of spare must be at least 2, not 1"),
        ({"clusters": 0}, {}, "the clusters of spare must be at least 2, not 0"),
        ({"max_clusters": 1}, {}, "the clusters of spare must be at least 2, not 1"),
        ({"power": -1.0}, {}, "the power of spare must be a number of at least 0, not -1.0"),
    ],
)
def test_what_cannot_be_done_is_one_line(settings, changes, said):
    columns = {"logits": np.zeros((9, 2)), "label": np.zeros(9, int), **changes}
    with pytest.raises(DdbiasError, match=said):
        estimate_weights({"kind": "spare", "surrogate": "s", **settings}, columns)
