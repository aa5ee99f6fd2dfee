"""Groups of which some attributes are known: against a plain loop; which they are, and that no others are looked at."""

from collections import Counter

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.debias.balance import balanced_weights
from ddbias.debias.estimation import estimate_weights
from ddbias.debias.known_attributes import known_attributes, name_by_known
from hypothesis import given
from hypothesis import strategies as st

KINDS = ("group_balanced", "fairdd", "cobra")
GROUPS = ("clusters", "dbscan", "predicted")


def columns_of(count=200, seed=0):
    """Two classes and attributes that an embedding and a classifier show, wrongly for some."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    attributes = np.where(generator.random(count) < 0.8, labels, 1 - labels)
    seen = np.where(generator.random(count) < 0.9, attributes, 1 - attributes)
    return {
        "embedding": np.eye(3)[seen] + generator.normal(0, 0.02, (count, 3)),
        "logits": 9.0 * np.eye(2)[seen],
        "label": labels,
        "index": np.arange(count),
        "attribute": attributes,
    }


def estimated(kind, groups, columns, *, seed=0, **options):
    return estimate_weights({"kind": kind, "surrogate": "s", "groups": groups, **options}, columns, seed=seed)


def plain_names(groups, labels, known):
    names = []
    for group, label, own in zip(groups, labels, known, strict=True):
        cell = [k for g, c, k in zip(groups, labels, known, strict=True) if (g, c) == (group, label) and k >= 0]
        most = max(Counter(cell).values(), default=0)
        others = min((k for k, times in Counter(cell).items() if times == most), default=("own group", group))
        names.append(own if own >= 0 else others)
    return names


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(-1, 3)), min_size=1, max_size=60))
def test_names_equal_a_plain_loop(samples):
    groups, labels, known = np.array(samples).T
    found = name_by_known(groups, labels, known)
    expected = plain_names(groups.tolist(), labels.tolist(), known.tolist())
    for label in set(labels.tolist()):
        pairs = {(f, e) for f, e, c in zip(found.tolist(), expected, labels.tolist(), strict=True) if c == label}
        assert len(pairs) == len({f for f, _ in pairs}) == len({e for _, e in pairs})
        assert all(f == e for f, e in pairs if not isinstance(e, tuple))
    assert found.dtype == np.int64


@pytest.mark.parametrize("share", [0.01, 0.25, 0.5, 1])
def test_a_share_is_drawn_and_a_smaller_one_is_part_of_it(share):
    attributes = np.random.default_rng(0).integers(0, 5, 200)
    known = known_attributes(attributes, share, seed=3)
    assert (known >= 0).sum() == round(share * 200)
    assert set(np.flatnonzero(known >= 0)) <= set(np.flatnonzero(known_attributes(attributes, 1, seed=3) >= 0))
    half = known_attributes(attributes, min(1, 2 * share), seed=3)
    assert ((known < 0) | (half == known)).all()
    np.testing.assert_array_equal(known[known >= 0], attributes[known >= 0])
    if share < 1:
        assert (known_attributes(attributes, share, seed=4) != known).any()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", GROUPS)
def test_all_known_is_the_true_attribute_and_none_the_pseudo_groups(kind, groups):
    columns = columns_of()
    every = estimated(kind, groups, columns, known=1)
    np.testing.assert_array_equal(every.groups, columns["attribute"])
    np.testing.assert_allclose(every.weights, balanced_weights(columns["label"], columns["attribute"]))
    pseudo = estimated(kind, groups, columns)
    hardly = estimated(kind, groups, columns, known=0.001)  # rounds to no sample
    np.testing.assert_array_equal(hardly.groups, pseudo.groups)
    np.testing.assert_array_equal(estimated(kind, groups, columns, known=None).weights, pseudo.weights)


@pytest.mark.parametrize("groups", GROUPS)
def test_only_the_known_attributes_are_looked_at(groups):
    columns = columns_of()
    found = estimated("fairdd", groups, columns, known=0.3, seed=5)
    known = known_attributes(columns["attribute"], 0.3, seed=5) >= 0
    np.testing.assert_array_equal(found.groups[known], columns["attribute"][known])
    other = {**columns, "attribute": np.where(known, columns["attribute"], 1 - columns["attribute"])}
    changed = estimated("fairdd", groups, other, known=0.3, seed=5)
    np.testing.assert_array_equal(changed.groups, found.groups)
    np.testing.assert_array_equal(changed.weights, found.weights)
    # Names are attributes: more of the samples are in their group than are known, and than the classes tell.
    assert (found.groups == columns["attribute"]).mean() > 0.9
    for label in (0, 1):
        assert found.weights[columns["label"] == label].mean() == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "known", "said"),
    [
        (
            {"attribute": None},
            0.1,
            "debias fairdd: the option known needs attributes, which this data set does not have; leave known out",
        ),
        ({}, 0.0, "the share of known attributes must be above 0 and at most 1, not 0.0; null knows none"),
        ({}, 1.5, "the share of known attributes must be above 0 and at most 1, not 1.5; null knows none"),
    ],
)
def test_what_cannot_be_known_is_one_line(changes, known, said):
    with pytest.raises(DdbiasError, match=said):
        estimated("fairdd", "predicted", {**columns_of(), **changes}, known=known)
