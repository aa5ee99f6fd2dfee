"""The debias kinds: what each makes of attributes or of a surrogate's columns; how weights are read back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ddbias.base import plugins
from ddbias.base.errors import DdbiasError
from ddbias.data import store
from ddbias.data.split import Split
from ddbias.debias.apply import real_settings
from ddbias.debias.balance import balanced_weights, merge_small
from ddbias.debias.estimates import Estimate, mean_one
from ddbias.debias.estimation import estimate_weights
from ddbias.debias.kinds import dpr, group_balanced, kde, lff_weights, loss_weighted, uniform
from ddbias.debias.real_side import POOLINGS, RealSettings
from ddbias.debias.weights.density import kde_density
from ddbias.debias.weights.inverse_density import density_weights
from hypothesis import given, settings
from hypothesis import strategies as st

GROUPS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=60)


def split_of(labels, attributes=None, classes=4):
    count = len(labels)
    return Split(
        images=np.zeros((count, 1, 2, 2), np.uint8),
        labels=np.asarray(labels, np.int64),
        attributes=None if attributes is None else np.asarray(attributes, np.int64),
        index=np.arange(count) + 100,
        meta={"label_names": [str(c) for c in range(classes)]},
    )


# ----------------------------------------------------------------------------------------------------------- kinds


def test_uniform_weights_are_all_one():
    np.testing.assert_array_equal(uniform.sample_weights(split_of([0, 1, 1, 3])), np.ones(4))


@given(GROUPS)
@settings(max_examples=60, deadline=None)
def test_every_group_of_a_class_holds_the_same_weight(samples):
    labels, attributes = np.array(samples).T
    weights = group_balanced.sample_weights(split_of(labels, attributes))
    for label in np.unique(labels):
        members = labels == label
        assert weights[members].mean() == pytest.approx(1)
        totals = [weights[members & (attributes == group)].sum() for group in np.unique(attributes[members])]
        np.testing.assert_allclose(totals, members.sum() / len(totals))
        for group in np.unique(attributes[members]):
            assert np.ptp(weights[members & (attributes == group)]) == 0


@pytest.mark.parametrize("kind", ["group_balanced", "fairdd", "cobra"])
def test_groups_of_unknown_attributes_cannot_be_balanced(kind):
    with pytest.raises(DdbiasError, match=rf"{kind} needs the true attribute.*use kde, or groups: clusters"):
        real_settings({"kind": kind}, split_of([0, 1]), None)


def plain_balance(samples, smoothing, min_cell):
    """In words: class by class, cell by cell, sample by sample."""
    result = {}
    for label in {a for a, _ in samples}:
        cells = {}
        for place, (a, group) in enumerate(samples):
            if a == label:
                cells.setdefault(group, []).append(place)
        size = sum(map(len, cells.values()))
        largest = max(sorted(cells), key=lambda group: len(cells[group]))
        for group in [g for g in cells if len(cells[g]) < min_cell and g != largest]:
            cells[largest] = cells[largest] + cells.pop(group)
        each = {group: 1 / (len(places) + smoothing * size / len(cells)) for group, places in cells.items()}
        total = sum(each[group] * len(places) for group, places in cells.items())
        for group, places in cells.items():
            result |= dict.fromkeys(places, each[group] * size / total)
    return [result[place] for place in range(len(samples))]


@given(GROUPS, st.floats(0, 10), st.integers(1, 6))
@settings(max_examples=100, deadline=None)
def test_balanced_weights_equal_a_plain_loop(samples, smoothing, min_cell):
    labels, groups = np.array(samples).T
    found = balanced_weights(labels, groups, smoothing=smoothing, min_cell=min_cell)
    np.testing.assert_allclose(found, plain_balance(samples, smoothing, min_cell), rtol=1e-12)


@given(GROUPS, st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_whole_weights_of_a_group_count_as_repetitions(samples, times):
    """Repeating the samples of one cell changes what each of its copies weighs, and nothing that a cell holds."""
    labels, groups = np.array(samples).T
    chosen = (labels == labels[0]) & (groups == groups[0])
    repeats = np.where(chosen, times, 1)
    once, repeated = balanced_weights(labels, groups), balanced_weights(labels.repeat(repeats), groups.repeat(repeats))
    for label in np.unique(labels):
        for group in np.unique(groups[labels == label]):
            share = [
                w[(a == label) & (g == group)].sum() / w[a == label].sum()
                for w, a, g in ((once, labels, groups), (repeated, labels.repeat(repeats), groups.repeat(repeats)))
            ]
            assert share[0] == pytest.approx(share[1])


def test_smoothing_goes_from_balanced_to_equal_weights_and_bounds_their_ratio():
    labels, groups = np.zeros(100, int), np.repeat([0, 1, 2], [90, 9, 1])
    ratios = []
    for smoothing in (0, 0.1, 1, 10, 1e9):
        weights = balanced_weights(labels, groups, smoothing=smoothing)
        assert weights.mean() == pytest.approx(1)
        ratios.append(weights.max() / weights.min())
        assert smoothing == 0 or ratios[-1] <= 1 + 3 / smoothing
    assert ratios == sorted(ratios, reverse=True)
    assert ratios[0] == pytest.approx(90)
    assert ratios[-1] == pytest.approx(1)
    for wrong in (-0.1, np.nan, np.inf):
        with pytest.raises(DdbiasError, match=f"smoothing of groups must be a number of at least 0, not {wrong}"):
            balanced_weights(labels, groups, smoothing=wrong)


def test_small_cells_join_the_largest_of_their_class():
    labels = np.array([0] * 6 + [1] * 3)
    groups = np.array([5, 5, 5, 2, 2, 9, 4, 3, 1])
    assert merge_small(labels, groups, 1).tolist() == groups.tolist()
    assert merge_small(labels, groups, 2).tolist() == [5, 5, 5, 2, 2, 5, 1, 1, 1]  # of equal ones the lowest name
    assert merge_small(labels, groups, 4).tolist() == [5] * 6 + [1] * 3  # the largest stays, however small
    with pytest.raises(DdbiasError, match="8 groups for 9 samples"):
        merge_small(labels, groups[1:], 1)


@pytest.mark.parametrize("kind", ["group_balanced", "fairdd", "cobra"])
@pytest.mark.parametrize("groups", ["clusters", "predicted"])
def test_pseudo_groups_are_balanced_and_kept(kind, groups):
    columns = surrogate_columns()
    found = estimate_weights({"kind": kind, "surrogate": "s", "groups": groups, "clusters": None}, columns)
    assert found.groups.shape == columns["label"].shape
    np.testing.assert_allclose(found.weights, balanced_weights(columns["label"], found.groups))
    for label in range(2):  # the pseudo-groups are the true ones, up to their names
        members = columns["label"] == label
        pairs = set(zip(found.groups[members].tolist(), columns["attribute"][members].tolist(), strict=True))
        assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 2


@pytest.mark.parametrize("kind", ["group_balanced", "fairdd", "cobra"])
def test_predicted_groups_are_what_the_classifier_takes_a_sample_for(kind):
    labels = np.arange(40) % 2
    predicted = np.where(np.arange(40) < 6, 1 - labels, labels)
    chosen = {"kind": kind, "surrogate": "s", "groups": "predicted", "clusters": None, "min_evidence": None}
    undecided = estimate_weights(
        chosen, {"label": labels, "logits": np.eye(2)[predicted]}
    )  # exp(-1) is more than 1 / 4
    np.testing.assert_array_equal(undecided.groups, labels)  # one group a class
    np.testing.assert_array_equal(undecided.weights, 1)
    assert undecided.diagnostics == {"evidence": 0}
    found = estimate_weights(chosen, {"label": labels, "logits": 9 * np.eye(2)[predicted]})
    np.testing.assert_array_equal(found.groups, predicted)
    np.testing.assert_allclose(found.weights, balanced_weights(labels, predicted))


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_kde_weights_are_inverse_to_the_density(leave_one_out):
    generator = np.random.default_rng(0)
    embeddings, labels = generator.normal(size=(40, 3)), generator.integers(0, 2, 40)
    options = {"variance": 0.5, "leave_one_out": leave_one_out, "chunk_size": 9}
    found = kde.estimate({"embedding": embeddings, "label": labels}, temperature=2.0, clip=0.1, **options)
    weights, density = found.weights, found.log_density
    np.testing.assert_array_equal(density, kde_density(embeddings, labels, **options))
    np.testing.assert_array_equal(weights, density_weights(density, labels, temperature=2.0, clip=0.1))


@pytest.mark.parametrize("per", ["class", "data_set"])
def test_kde_counts_the_class_or_the_data_set_as_scikit_learn_does(per):
    from sklearn.neighbors import KernelDensity

    generator = np.random.default_rng(0)
    embeddings, labels = generator.normal(size=(60, 3)), generator.integers(0, 3, 60)
    found = kde.estimate(
        {"embedding": embeddings, "label": labels},
        variance=0.25, temperature=2.0, leave_one_out=False, clip=None, chunk_size=16, per=per,
    )  # fmt: skip
    expected = np.empty(60)
    for label in range(3):
        rows = labels == label
        among = embeddings[rows] if per == "class" else embeddings
        expected[rows] = KernelDensity(bandwidth=0.5, rtol=0, atol=0).fit(among).score_samples(embeddings[rows])
        power = np.exp(expected[rows]) ** -0.5
        np.testing.assert_allclose(found.weights[rows], power / power.mean(), rtol=1e-6)
    constant = 3 / 2 * np.log(2 * np.pi * 0.25)  # scikit-learn's kernel integrates to one
    np.testing.assert_allclose(found.log_density, expected + constant, rtol=1e-6)


@pytest.mark.parametrize(("per", "number"), [("class", 3), ("data_set", 1)])
def test_kde_tells_the_variances_that_it_chose(per, number):
    embeddings = np.random.default_rng(0).normal(size=(60, 3))
    found = kde.estimate(
        {"embedding": embeddings, "label": np.arange(60) % 3},
        variance="median", temperature=1.0, leave_one_out=True, clip=None, chunk_size=16, per=per,
    )  # fmt: skip
    assert len(found.diagnostics["variances"]) == number
    if number == 1:
        squares = ((embeddings[:, None] - embeddings) ** 2).sum(-1)[np.triu_indices(60, 1)]
        assert found.diagnostics["variances"][0] == pytest.approx(np.median(squares) / 2)


def test_kde_over_the_data_set_takes_a_conflicting_sample_among_another_class_for_dense():
    generator = np.random.default_rng(0)
    places = [(0, 0)] * 95 + [(1, 0)] * 5, [(1, 0)] * 95 + [(0, 0)] * 5  # a colour each; 5 of a class have the other's
    embeddings = np.concatenate([np.array(place, float) for place in places]) + generator.normal(0, 0.05, (200, 2))
    columns = {"embedding": embeddings, "label": np.repeat([0, 1], 100)}
    options = {"variance": 0.05, "temperature": 1.0, "leave_one_out": True, "clip": None, "chunk_size": 64}
    conflicting = np.arange(200) % 100 >= 95
    share = {
        per: kde.estimate(columns, **options, per=per).weights[conflicting].sum() / 200 for per in ("class", "data_set")
    }
    assert share["class"] > 0.3
    assert share["data_set"] == pytest.approx(0.05, abs=0.02)


def test_kde_knows_class_and_data_set_only():
    with pytest.raises(DdbiasError, match="unknown per 'all'; known: class, data_set"):
        kde.estimate(
            {"embedding": np.zeros((2, 1)), "label": np.zeros(2)},
            variance=1.0, temperature=1.0, leave_one_out=False, clip=None, chunk_size=1, per="all",
        )  # fmt: skip


def test_kde_lifts_the_few_samples_away_from_the_mass():
    generator = np.random.default_rng(0)
    aligned, conflicting = generator.normal(0, 0.1, (95, 2)), generator.normal([1, 0], 0.1, (5, 2))
    columns = {"embedding": np.concatenate([aligned, conflicting]), "label": np.zeros(100, int)}
    weights = kde.estimate(
        columns, variance=0.05, temperature=1.0, leave_one_out=True, clip=None, chunk_size=64
    ).weights
    assert weights[95:].min() > weights[:95].max()


def test_kinds_are_found_by_name():
    for kind in plugins.kinds("debias"):
        module = plugins.module("debias", kind)
        assert callable(getattr(module, "sample_weights", None)) or callable(module.estimate)
        assert getattr(module, "POOLING", "mean") in POOLINGS
    with pytest.raises(DdbiasError, match=r"unknown debias kind 'group_balance'.*Did you mean 'group_balanced'"):
        plugins.module("debias", "group_balance")


# ------------------------------------------------------------------------------------------- weights from a classifier


def surrogate_columns(count=60):
    """Two classes whose few conflicting samples lie apart and are taken for the other class."""
    rng = np.random.default_rng(0)
    labels = np.arange(count) % 2
    attribute = np.where(np.arange(count) % 10 < 8, labels, 1 - labels)
    points = np.stack([labels, 3 * attribute, np.ones(count)], 1) + rng.normal(0, 0.05, (count, 3))
    logits = np.eye(2)[attribute] * 4 + rng.normal(0, 0.1, (count, 2))
    return {
        "embedding": (points / np.linalg.norm(points, axis=1, keepdims=True)).astype(np.float32),
        "index": np.arange(count) + 100,
        "label": labels,
        "logits": logits.astype(np.float32),
        "difficulty": np.where(labels == attribute, 0.1, 0.9).astype(np.float32),
        "attribute": attribute,
    }


def test_lff_weights_are_the_difficulty_with_mean_one():
    columns = surrogate_columns()
    weights = lff_weights.estimate(columns).weights
    for label in range(2):
        members = columns["label"] == label
        difficulty = columns["difficulty"][members].astype(np.float64)
        np.testing.assert_allclose(weights[members], difficulty / difficulty.mean())
    thousandth = lff_weights.estimate({**columns, "difficulty": columns["difficulty"] / 1000}).weights
    np.testing.assert_allclose(thousandth, weights, rtol=1e-6)
    # A class that both networks know by heart says nothing.
    known = np.where(columns["label"] == 0, 0, columns["difficulty"])
    np.testing.assert_array_equal(
        lff_weights.estimate({**columns, "difficulty": known}).weights[columns["label"] == 0], 1
    )


@pytest.mark.parametrize(("power", "clip"), [(1.0, None), (0.5, None), (2.0, 0.8), (1.0, 1.0)])
def test_weights_of_a_loss_equal_a_plain_loop(power, clip):
    columns = surrogate_columns()
    found = loss_weighted.estimate(columns, power=power, clip=clip).weights
    labels = columns["label"]
    losses = np.array(
        [-np.log(np.exp(row)[label] / np.exp(row).sum()) for row, label in zip(columns["logits"], labels, strict=True)]
    )
    for label in range(2):
        part = losses[labels == label]
        part = np.minimum(part, np.quantile(part, 1 if clip is None else clip)) ** power
        np.testing.assert_allclose(found[labels == label], part / part.mean(), rtol=1e-5)
    conflicting = columns["attribute"] != labels
    assert found[conflicting].min() > found[~conflicting].max()


def test_the_loss_depends_on_differences_of_logits_and_keeps_its_range():
    columns = surrogate_columns()
    shifted = {**columns, "logits": columns["logits"].astype(np.float64) + 1e4}
    plain = loss_weighted.estimate(columns)
    np.testing.assert_allclose(loss_weighted.estimate(shifted).weights, plain.weights, rtol=1e-6)
    np.testing.assert_array_equal(loss_weighted.estimate(columns, power=0).weights, 1)
    np.testing.assert_array_equal(loss_weighted.estimate(columns, clip=0.0).weights.round(12), 1)
    extreme = loss_weighted.estimate({**columns, "logits": columns["logits"] * 1e4}, power=100.0).weights
    assert np.isfinite(extreme).all()
    for label in range(2):
        assert extreme[columns["label"] == label].mean() == pytest.approx(1)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_weights_of_a_disagreement_equal_a_plain_loop(temperature):
    columns = surrogate_columns()
    found, labels = dpr.estimate(columns, temperature=temperature).weights, columns["label"]
    odds = [[math.exp(value / temperature) for value in row] for row in columns["logits"].tolist()]
    disagreement = [1 - row[label] / sum(row) for row, label in zip(odds, labels.tolist(), strict=True)]
    for i, label in enumerate(labels.tolist()):
        of_class = [value for value, other in zip(disagreement, labels.tolist(), strict=True) if other == label]
        assert found[i] == pytest.approx(disagreement[i] * len(of_class) / sum(of_class), rel=1e-9)
    conflicting = columns["attribute"] != labels
    assert found[conflicting].min() > 2 * found[~conflicting].max()


def test_a_disagreement_is_right_at_its_ends():
    """Of a class that the classifier knows by heart all count alike, of one that it excludes, too (1e-8 of DPR)."""
    labels = np.array([0, 0, 0, 1, 1])
    logits = np.array([[50.0, 0], [90, 0], [400, 0], [50, 0], [900, 0]])
    np.testing.assert_allclose(dpr.estimate({"logits": logits, "label": labels}).weights, 1)
    logits[0] = [0, 50]
    np.testing.assert_allclose(dpr.estimate({"logits": logits, "label": labels}).weights[:3], [3, 0, 0], atol=1e-7)
    hot = dpr.estimate({"logits": logits, "label": labels}, temperature=1e9).weights
    np.testing.assert_allclose(hot, 1, rtol=1e-6)


@pytest.mark.parametrize("kind", ["dpr", "loss_weighted"])
def test_weights_from_logits_follow_their_samples_whatever_the_others_are(kind):
    columns = surrogate_columns()
    weights = estimate_weights({"kind": kind, "surrogate": "s"}, columns).weights
    order = np.random.default_rng(1).permutation(len(weights))
    moved = {name: values[order] for name, values in columns.items()}
    np.testing.assert_allclose(estimate_weights({"kind": kind, "surrogate": "s"}, moved).weights, weights[order])
    first = {name: values[columns["label"] == 0] for name, values in columns.items()}  # weights of a class are its own
    found = estimate_weights({"kind": kind, "surrogate": "s"}, first).weights
    np.testing.assert_allclose(found, weights[columns["label"] == 0])
    assert found.mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "changes", "said"),
    [
        ({"kind": "dpr"}, {"logits": None}, "dpr needs the logits of its surrogate, which stores none; use one of"),
        ({"kind": "dpr", "temperature": 0.0}, {}, "the temperature of dpr must be a number above 0, not 0.0"),
        ({"kind": "dpr"}, {"logits": np.full((60, 2), np.nan)}, "the logits have values that are not finite"),
        ({"kind": "lff_weights"}, {"difficulty": None}, "needs the difficulty of its surrogate.*use one of kind lff"),
        (
            {"kind": "loss_weighted"},
            {"logits": None},
            "needs the logits of its surrogate.*kind cross_fitted, generalis",
        ),
        ({"kind": "fairdd", "groups": "predicted"}, {"logits": None}, "fairdd needs the logits of its surrogate"),
        ({"kind": "cobra", "groups": "cluster"}, {}, "unknown groups of debias cobra.*Did you mean 'clusters'"),
        ({"kind": "group_balanced", "groups": "attribute"}, {}, "unknown groups of debias group_balanced with a surr"),
        ({"kind": "lff_weights"}, {"difficulty": np.full(60, np.nan)}, "must be finite and not negative"),
        ({"kind": "lff_weights"}, {"difficulty": np.full(60, -0.1)}, "must be finite and not negative"),
        ({"kind": "loss_weighted"}, {"logits": np.full((60, 2), np.inf)}, "the logits have values that are not finite"),
        ({"kind": "loss_weighted"}, {"logits": np.ones((60, 1))}, r"logits of shape \(60, 1\) do not fit 60 labels"),
        ({"kind": "loss_weighted", "power": -1.0}, {}, "the power of loss_weighted must be"),
        ({"kind": "uniform"}, {}, "debias uniform uses no surrogate"),
    ],
)
def test_what_a_surrogate_lacks_is_one_line(settings, changes, said):
    with pytest.raises(DdbiasError, match=said):
        estimate_weights({**settings, "surrogate": "s"}, {**surrogate_columns(), **changes})


def test_no_estimate_sees_the_attribute(monkeypatch):
    seen, columns = [], surrogate_columns()

    def estimate(given):
        seen.extend(sorted(given))
        return Estimate(np.ones(len(given["label"])))

    monkeypatch.setattr(lff_weights, "estimate", estimate)
    estimate_weights({"kind": "lff_weights", "surrogate": "s"}, columns)
    assert seen == ["difficulty", "embedding", "index", "label", "logits"]


# ---------------------------------------------------------------------------------------------------------------- load

KDE = {"kind": "kde", "surrogate": "supcon", "draw": "weighted_mean"}


def test_weights_come_from_the_file_of_the_same_split(tmp_path):
    split, weights = split_of([0, 0, 1]), np.array([0.5, 1.5, 1])
    path = tmp_path / "weights.parquet"
    store.write_table(path, {"index": split.index, "weight": weights, "group": np.array([1, 0, 0])}, {})
    found = real_settings(KDE, split, path)
    np.testing.assert_array_equal(found.weights, weights)
    assert (found.groups, found.pooling, found.draw) == (None, "mean", "weighted_mean")
    np.testing.assert_array_equal(real_settings({"kind": "uniform"}, split, None).weights, np.ones(3))
    grouped = real_settings({"kind": "cobra", "surrogate": "supcon", "groups": "clusters"}, split, path)
    assert grouped.groups.tolist() == [1, 0, 0]
    assert (grouped.pooling, grouped.draw) == ("barycentre", "uniform")


@pytest.mark.parametrize(
    ("kind", "pooling", "draw"),
    [
        ("uniform", "mean", "proportional"),
        ("group_balanced", "mean", "proportional"),
        ("fairdd", "groups", "uniform"),
        ("cobra", "barycentre", "uniform"),
    ],
)
def test_true_attributes_are_the_groups(kind, pooling, draw):
    split = split_of([0, 0, 0, 1], [2, 2, 0, 1])
    unused = {} if kind == "uniform" else {"groups": "attribute", "surrogate": None, "clusters": None}
    found = real_settings({"kind": kind, **unused}, split, None)
    assert isinstance(found, RealSettings)
    assert (found.pooling, found.draw, found.reduction) == (pooling, draw, "sum")
    assert (found.groups is None) == (pooling == "mean")
    expected = np.ones(4) if kind == "uniform" else [0.75, 0.75, 1.5, 1]
    np.testing.assert_allclose(found.weights, expected)
    if pooling != "mean":
        assert found.groups.tolist() == [2, 2, 0, 1]


def test_options_reach_the_weights_and_the_pooling():
    split = split_of([0] * 4, [0, 0, 0, 1])
    smooth = real_settings({"kind": "group_balanced", "smoothing": 1e9, "min_cell": 1}, split, None)
    np.testing.assert_allclose(smooth.weights, 1)
    merged = real_settings({"kind": "group_balanced", "smoothing": 0, "min_cell": 2}, split, None)
    np.testing.assert_allclose(merged.weights, 1)
    averaged = real_settings({"kind": "fairdd", "reduction": "mean", "draw": "proportional"}, split, None)
    assert (averaged.reduction, averaged.draw) == ("mean", "proportional")


@pytest.mark.parametrize("index", [[100, 102, 101], [100, 101], [0, 1, 2]])
def test_weights_of_another_split_are_refused(tmp_path, index):
    path = tmp_path / "weights.parquet"
    store.write_table(path, {"index": index, "weight": np.ones(len(index))}, {})
    with pytest.raises(DdbiasError, match="belongs to another training split; delete it"):
        real_settings(KDE, split_of([0, 0, 1]), path)


@pytest.mark.parametrize("chosen", [KDE, {"kind": "fairdd", "groups": "clusters", "surrogate": "supcon"}])
def test_a_debias_that_needs_a_file_says_so(chosen):
    with pytest.raises(DdbiasError, match=f"{chosen['kind']} needs the weights file"):
        real_settings(chosen, split_of([0, 0, 1], [0, 1, 0]), None)


def test_a_file_without_groups_cannot_be_pooled_by_group(tmp_path):
    path = tmp_path / "weights.parquet"
    store.write_table(path, {"index": np.arange(3) + 100, "weight": np.ones(3)}, {})
    with pytest.raises(DdbiasError, match="the pooling groups needs the group of every sample"):
        real_settings({"kind": "fairdd", "surrogate": "s", "groups": "clusters"}, split_of([0, 0, 1]), path)


def test_values_as_large_as_can_be_have_a_mean():
    np.testing.assert_allclose(mean_one(np.array([1e308, 1e308, 0.5e308]), np.zeros(3)), [1.2, 1.2, 0.6])
    np.testing.assert_allclose(mean_one(np.array([5e-324, 5e-324]), np.zeros(2)), 1)


def test_smoothing_min_cell_and_evidence_reach_pseudo_groups():
    labels = np.arange(40) % 2
    predicted = np.where(np.arange(40) < 6, 1 - labels, np.where(np.arange(40) < 8, 2, labels))
    asked = {"kind": "group_balanced", "surrogate": "s", "groups": "predicted", "smoothing": 0.5, "min_cell": 2}
    columns = {"label": labels, "logits": 9 * np.eye(3)[predicted]}
    found = estimate_weights(asked, columns)
    merged = merge_small(labels, predicted, 2)
    assert (merged != predicted).sum() == 2
    np.testing.assert_array_equal(found.groups, merged)
    np.testing.assert_allclose(found.weights, balanced_weights(labels, merged, smoothing=0.5))
    undecided = {"label": labels, "logits": np.eye(3)[predicted]}
    for least, groups in ((0.45, labels), (0.0, merged)):
        found = estimate_weights({**asked, "min_evidence": least}, undecided)
        np.testing.assert_array_equal(found.groups, groups)
