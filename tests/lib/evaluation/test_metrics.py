"""Group metrics against plain loops over the samples, hand-made tables and the definition of equalised odds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from ddbias.evaluation import metrics
from ddbias.evaluation.metrics import METRICS, count, group_accuracy, group_metrics, group_support
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import mutual_info_score

SIZES = st.tuples(st.integers(1, 4), st.integers(2, 4))
# Small counts, so that empty cells, labels and groups are common.
TABLES = SIZES.flatmap(lambda s: arrays.arrays(np.int64, (s[0], s[1], s[1]), elements=st.integers(0, 3)))


def samples_of(counts):
    """One (attribute, label, prediction) a sample."""
    return [cell for cell in np.ndindex(counts.shape) for _ in range(counts[cell])]


def share(samples, condition, given_that=lambda a, y, p: True):
    """Share of the samples meeting `condition` among those meeting `given_that`, None without any of the latter."""
    among = [s for s in samples if given_that(*s)]
    return sum(condition(*s) for s in among) / len(among) if among else None


def correct(a, y, p):
    return y == p


def slow_metrics(counts):
    """The definitions, a sample at a time; None is missing."""
    groups, classes, _ = counts.shape
    samples = samples_of(counts)
    values = dict.fromkeys(METRICS)
    values["accuracy"] = share(samples, correct)
    if groups == 1:
        return values
    values["aligned_accuracy"] = share(samples, correct, lambda a, y, p: a == y)
    values["conflicting_accuracy"] = share(samples, correct, lambda a, y, p: a != y)
    cells, gaps, odds = [], [], []
    for label in range(classes):
        true_rates, false_rates = [], []
        for group in range(groups):
            true_rates.append(share(samples, correct, lambda a, y, p, g=group, c=label: a == g and y == c))
            false_rates.append(
                share(samples, lambda a, y, p, c=label: p == c, lambda a, y, p, g=group, c=label: a == g and y != c)
            )
        cells += true_rates
        gaps.append(gap(true_rates))
        odds += [gap(true_rates), gap(false_rates)]
    values["worst_group_accuracy"] = min(cell for cell in cells if cell is not None)
    if None not in cells:
        values["unbiased_accuracy"] = sum(cells) / len(cells)
    if None not in gaps:
        values["deo_max"], values["deo_mean"] = max(gaps), sum(gaps) / len(gaps)
    if None not in odds:
        values["equalized_odds"] = max(odds)
    values["attribute_accuracy"] = share(samples, lambda a, y, p: p == a)
    values["attribute_information"] = slow_information(samples)
    return values


def slow_information(samples):
    """I(attribute; prediction | label) / H(attribute | label) by the sums of its definition, over samples."""
    information = entropy = 0.0
    total = len(samples)
    for a, y, p in set(samples):
        joint = sum(s == (a, y, p) for s in samples)
        of_label = sum(s[1] == y for s in samples)
        of_group = sum(s[:2] == (a, y) for s in samples)
        of_prediction = sum(s[1:] == (y, p) for s in samples)
        information += joint / total * math.log(joint * of_label / (of_group * of_prediction))
        entropy -= joint / total * math.log(of_group / of_label)
    return information / entropy if entropy > 0 else None


def gap(rates):
    rates = [rate for rate in rates if rate is not None]
    return max(rates) - min(rates) if len(rates) > 1 else None


def perfect(groups, classes, size=5):
    counts = np.zeros((groups, classes, classes), np.int64)
    for label in range(classes):
        counts[:, label, label] = size
    return counts


@given(TABLES)
@settings(max_examples=200, deadline=None)
def test_metrics_are_their_definitions(counts):
    assume(counts.sum() > 0)
    expected = {name: value for name, value in slow_metrics(counts).items() if value is not None}
    assert group_metrics(counts) == pytest.approx(expected, abs=1e-12)


def test_perfect_predictions_have_no_gap():
    ones = ("accuracy", "unbiased_accuracy", "aligned_accuracy", "conflicting_accuracy", "worst_group_accuracy")
    assert group_metrics(perfect(3, 4)) == dict.fromkeys(ones, 1.0) | {
        "deo_max": 0.0,
        "deo_mean": 0.0,
        "equalized_odds": 0.0,
        "attribute_accuracy": 0.25,  # three groups of four classes: a quarter of the samples is aligned
        "attribute_information": 0.0,
    }


def test_a_network_that_reads_the_attribute_alone_tells_all_of_it():
    counts = np.zeros((4, 4, 4), np.int64)
    counts[np.arange(4), :, np.arange(4)] = 7
    values = group_metrics(counts)
    assert values["attribute_accuracy"] == 1.0
    assert values["attribute_information"] == pytest.approx(1.0, abs=1e-12)
    halved = group_metrics(counts, [0, 0, 1, 1])  # classes 0 and 1 are paired with attribute 0, 2 and 3 with 1
    assert halved["attribute_accuracy"] == 0.25


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_information_is_that_of_scikit_learn_within_each_label(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, (3, 4, 4))
    samples = np.array(samples_of(counts))
    information = entropy = 0.0
    for label in range(4):
        a, _, p = samples[samples[:, 1] == label].T
        information += len(a) * mutual_info_score(a, p)
        entropy += len(a) * mutual_info_score(a, a)
    assert group_metrics(counts)["attribute_information"] == pytest.approx(information / entropy, abs=1e-9)


@pytest.mark.parametrize(("groups", "classes"), [(2, 2), (10, 10), (3, 5), (5, 3)])
def test_one_group_wrong_in_one_class_is_the_largest_gap(groups, classes):
    counts = perfect(groups, classes)
    counts[1, 0] = np.eye(classes, dtype=int)[1] * 5  # group 1 of class 0 is taken for class 1
    values = group_metrics(counts)
    assert values["deo_max"] == 1.0
    assert values["deo_mean"] == pytest.approx(1 / classes, abs=1e-12)
    assert values["worst_group_accuracy"] == 0.0
    assert values["equalized_odds"] == 1.0
    assert values["unbiased_accuracy"] == pytest.approx(1 - 1 / (groups * classes), abs=1e-12)


def test_deo_sees_true_positives_only_and_equalized_odds_false_ones_too():
    counts = np.zeros((2, 3, 3), np.int64)
    counts[:, :, :] = np.diag([2, 2, 2])
    counts[0, 0], counts[1, 0] = [2, 2, 0], [2, 0, 2]  # the same hits, the mistakes fall elsewhere
    values = group_metrics(counts)
    assert values["deo_max"] == 0.0
    assert values["equalized_odds"] == pytest.approx(2 / 6)


def test_unbiased_accuracy_gives_every_cell_the_same_say():
    counts = np.zeros((2, 2, 2), np.int64)
    counts[0, 0], counts[1, 1] = [90, 0], [0, 90]  # aligned
    counts[0, 1], counts[1, 0] = [10, 0], [0, 10]  # conflicting
    values = group_metrics(counts)
    assert values["accuracy"] == pytest.approx(0.9)
    assert values["unbiased_accuracy"] == pytest.approx(0.5)
    assert (values["aligned_accuracy"], values["conflicting_accuracy"]) == (1.0, 0.0)


@given(arrays.arrays(np.int64, (2, 2, 2), elements=st.integers(1, 50)))
@settings(max_examples=100, deadline=None)
def test_equalized_odds_of_two_classes_is_the_usual_difference(counts):
    samples = samples_of(counts)
    rates = {
        (group, label): share(samples, lambda a, y, p: p == 1, lambda a, y, p, g=group, c=label: (a, y) == (g, c))
        for group in (0, 1)
        for label in (0, 1)
    }
    true_positive, false_positive = (abs(rates[0, label] - rates[1, label]) for label in (1, 0))
    expected = max(true_positive, false_positive)
    assert group_metrics(counts)["equalized_odds"] == pytest.approx(expected, abs=1e-12)


def test_what_needs_the_empty_diagonal_of_an_anti_test_set_is_missing():
    counts = np.full((4, 4, 4), 1)
    counts[np.arange(4), np.arange(4)] = 0
    values = group_metrics(counts)
    assert set(METRICS) - set(values) == {"unbiased_accuracy", "aligned_accuracy"}
    assert values["conflicting_accuracy"] == values["accuracy"] == 0.25


def test_what_needs_the_other_groups_of_an_aligned_test_set_is_missing():
    counts = perfect(3, 3) * np.eye(3, dtype=int)[:, :, None]
    values = group_metrics(counts)
    assert values == dict.fromkeys(("accuracy", "aligned_accuracy", "worst_group_accuracy", "attribute_accuracy"), 1.0)


def test_an_empty_cell_does_not_count_as_accuracy_zero():
    counts = perfect(3, 3)
    counts[2, 0] = 0
    values = group_metrics(counts)
    assert "unbiased_accuracy" not in values
    assert (values["worst_group_accuracy"], values["deo_max"], values["deo_mean"]) == (1.0, 0.0, 0.0)
    assert math.isnan(group_accuracy(counts)[2, 0])


def test_without_attributes_only_accuracy_is_told():
    assert group_metrics(np.array([[[3, 1], [0, 4]]])) == {"accuracy": 7 / 8}


def test_counts_that_say_nothing_are_refused():
    with pytest.raises(ValueError, match="no sample was tested"):
        group_metrics(np.zeros((2, 2, 2), int))
    for counts in (np.full((2, 2, 2), -1), np.ones((2, 2, 2)), np.full((2, 2, 2), np.nan)):
        with pytest.raises(ValueError, match="counts must be whole numbers from 0"):
            group_metrics(counts)
    for pairing in ([0, 5], [0], [0, 0.5]):
        with pytest.raises(ValueError, match="pairing must name one of 2 attributes for each of 2 labels"):
            group_metrics(np.ones((2, 2, 2), int), pairing)


def test_narrow_counts_do_not_overflow():
    counts = np.arange(48).reshape(3, 4, 4) + 150
    assert group_metrics(counts.astype(np.uint8), [0, 1, 2, 0]) == group_metrics(counts, [0, 1, 2, 0])


def test_shapes_are_checked():
    for shape in ((2, 2), (2, 3, 2), (1, 2, 2, 2)):
        with pytest.raises(ValueError, match="attributes, labels, labels"):
            group_metrics(np.ones(shape, int))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40))
@settings(max_examples=50, deadline=None)
def test_counts_are_a_tally_of_the_samples(samples):
    expected = np.zeros((3, 4, 4), np.int64)
    for sample in samples:
        expected[sample] += 1
    attributes, labels, predictions = np.array(samples).T
    np.testing.assert_array_equal(count(attributes, labels, predictions, 3, 4), expected)
    np.testing.assert_array_equal(count(None, labels, predictions, 1, 4), expected.sum(0, keepdims=True))


def test_counts_of_narrow_integers_do_not_overflow():
    many = np.full(4, 9, np.uint8)
    counts = count(many, many, many, 10, 10)
    assert counts[9, 9, 9] == counts.sum() == 4


def test_support_is_the_number_of_samples_behind_a_metric():
    counts = np.zeros((2, 3, 3), np.int64)
    counts[0] = [[4, 0, 0], [1, 2, 0], [0, 0, 0]]
    counts[1] = [[0, 1, 1], [5, 0, 2], [3, 3, 3]]
    assert group_support(counts) == {
        "accuracy": 25,
        "unbiased_accuracy": 25,
        "aligned_accuracy": 4 + 7,
        "conflicting_accuracy": 3 + 2 + 9,
        "worst_group_accuracy": 2,
        "deo_max": 2,
        "deo_mean": 2,
        "equalized_odds": 2,
        "attribute_accuracy": 25,
        "attribute_information": 25,
    }


@given(TABLES)
@settings(max_examples=50, deadline=None)
def test_every_metric_has_a_support(counts):
    assume(counts.sum() > 0)
    support = group_support(counts)
    assert tuple(support) == metrics.METRICS
    assert all(support[name] > 0 for name in group_metrics(counts))
    assert support["aligned_accuracy"] + support["conflicting_accuracy"] == support["accuracy"] == counts.sum()


def test_a_pairing_of_more_labels_than_were_tested_is_that_of_the_first():
    counts = np.random.default_rng(0).integers(1, 9, (2, 3, 3))
    assert group_metrics(counts, [1, 0, 1, 0, 0]) == group_metrics(counts, [1, 0, 1])
