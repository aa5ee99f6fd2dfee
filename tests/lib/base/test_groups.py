import numpy as np
import pytest
from ddbias.base import groups
from ddbias.evaluation import metrics

LABELS, ATTRIBUTES = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 1, 0, 0])


@pytest.mark.parametrize(
    ("pairing", "expected"), [("identity", [0, 1, 0, 1, 1]), ([1, 0, 0], [1, 0, 1, 0, 0]), (None, None)]
)
def test_conflicting(pairing, expected):
    found = groups.conflicting(LABELS, ATTRIBUTES, pairing)
    assert found is None if expected is None else found.tolist() == [bool(x) for x in expected]
    cells = groups.aligned_cells(pairing, 2, 3)
    if expected is None:
        assert cells is None
    else:
        np.testing.assert_array_equal(~cells[ATTRIBUTES, LABELS], found)


def test_unknown_attributes_conflict_with_nothing():
    assert groups.conflicting(LABELS, None, "identity") is None


def test_counts():
    assert groups.counts(LABELS, ATTRIBUTES, 3, 2).tolist() == [[1, 1], [1, 1], [1, 0]]


def test_metrics_follow_the_pairing():
    counts = np.array([[[3, 1], [2, 2]], [[1, 3], [0, 4]]])  # attribute, label, prediction
    straight = metrics.group_metrics(counts)
    assert (straight["aligned_accuracy"], straight["conflicting_accuracy"]) == (7 / 8, 3 / 8)
    crossed = metrics.group_metrics(counts, [1, 0])
    assert (crossed["aligned_accuracy"], crossed["conflicting_accuracy"]) == (3 / 8, 7 / 8)
    unpaired = metrics.group_metrics(counts, None)
    assert (straight["attribute_accuracy"], crossed["attribute_accuracy"]) == (12 / 16, 4 / 16)
    paired = ("aligned_accuracy", "conflicting_accuracy", "attribute_accuracy")
    assert straight == {**crossed, **{k: straight[k] for k in paired}}
    assert set(straight) - set(unpaired) == set(paired)
    assert metrics.group_support(counts, [1, 1])["aligned_accuracy"] == 8
