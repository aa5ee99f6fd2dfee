"""Pseudo-groups within a class: known mixtures, unequal sizes, one single group, and what cannot be clustered."""

from __future__ import annotations

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.debias.merging import Component, distance, merge, separation
from ddbias.debias.pseudo_groups import MOST, cluster_groups, predicted_groups
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

UNEQUAL = [950] + [6] * 9  # 95 % and nine times 0.6 %


def mixture(sizes, dimensions, apart, seed=0):
    """Normal blobs of the given sizes around random directions, on the unit sphere, shuffled; and their names."""
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(len(sizes), dimensions))
    centres *= apart / np.linalg.norm(centres, axis=1, keepdims=True)
    names = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    points = centres[names] + generator.normal(size=(len(names), dimensions))
    return points / np.linalg.norm(points, axis=1, keepdims=True), names


def groups_of_one_class(points, **options):
    return cluster_groups(points, np.zeros(len(points), int), **options)


# -------------------------------------------------------------------------------------------------- cluster_groups


@pytest.mark.parametrize(
    ("sizes", "dimensions", "apart"),
    [
        ([500, 500], 16, 10),
        ([900, 100], 20, 10),
        ([300, 200, 100], 16, 12),
        ([100] * 10, 32, 12),
        (UNEQUAL, 20, 12),
        (UNEQUAL, 64, 20),
        ([60] * MOST, 32, 15),
    ],
)
def test_a_known_mixture_is_found_with_its_number_of_groups(sizes, dimensions, apart):
    points, names = mixture(sizes, dimensions, apart)
    found = groups_of_one_class(points)
    assert found.dtype == np.int64
    assert found.max() + 1 == len(sizes)
    assert adjusted_rand_score(names, found) > 0.99
    if sizes is UNEQUAL:  # of so unequal groups the index says little about the small ones
        assert adjusted_rand_score(names[names > 0], found[names > 0]) > 0.99


def test_a_big_group_that_is_not_normal_is_not_cut_before_small_ones_are_found():
    """A mass along a bent line, as that of trained embeddings is; k-means and mixtures cut it into pieces."""
    from sklearn.cluster import KMeans

    points, names = mixture(UNEQUAL, 20, 14)
    angle = np.random.default_rng(1).uniform(-1, 1, len(points))
    bent = np.stack([np.sin(2 * angle), np.cos(2 * angle)], 1) * 0.25
    points[names == 0, :2] += bent[names == 0]
    found = groups_of_one_class(points)
    assert adjusted_rand_score(names, found) > 0.95
    assert adjusted_rand_score(names[names > 0], found[names > 0]) > 0.95
    # As many k-means clusters as there are groups do not come near.
    assert adjusted_rand_score(names, KMeans(10, n_init=3, random_state=0).fit_predict(points)) < 0.5


@pytest.mark.parametrize(("size", "dimensions"), [(30, 20), (400, 3), (1000, 20), (1000, 128), (3000, 8)])
def test_one_single_blob_is_one_group(size, dimensions):
    points, _ = mixture([size], dimensions, 10)
    assert (groups_of_one_class(points) == 0).all()


def test_points_without_any_structure_are_one_group():
    points = np.random.default_rng(0).normal(size=(1000, 20))
    assert (groups_of_one_class(points) == 0).all()


def test_groups_are_numbered_by_size_within_each_class():
    first, names = mixture([300, 150, 50], 16, 12)
    second, _ = mixture([200, 100], 16, 12, seed=3)
    labels = np.repeat([7, 2], [500, 300])
    order = np.random.default_rng(0).permutation(800)
    found = cluster_groups(np.concatenate([first, second])[order], labels[order])
    assert np.bincount(found[labels[order] == 7]).tolist() == [300, 150, 50]
    assert np.bincount(found[labels[order] == 2]).tolist() == [200, 100]
    # Within a class, nothing depends on the others.
    np.testing.assert_array_equal(
        cluster_groups(first, labels[:500]), cluster_groups(np.concatenate([first, second]), labels)[:500]
    )
    np.testing.assert_array_equal(names, cluster_groups(first, labels[:500]))


@pytest.mark.slow
@pytest.mark.parametrize("clusters", [1, 2, 5, 10, 30])
def test_as_many_groups_as_asked_for(clusters):
    points, names = mixture(UNEQUAL, 20, 12)
    found = groups_of_one_class(points, clusters=clusters)
    assert sorted(set(found.tolist())) == list(range(clusters))
    assert (np.diff(np.bincount(found)) <= 0).all()
    if clusters <= 10:  # asking for fewer merges groups and cuts none
        assert len(set(zip(names.tolist(), found.tolist(), strict=True))) == 10
    if clusters >= 10:  # asking for more cuts some and mixes none
        assert len(set(zip(names.tolist(), found.tolist(), strict=True))) == clusters


def test_a_class_of_few_different_samples_has_no_more_groups_than_those():
    points = np.repeat(np.eye(3), [4, 3, 2], axis=0)
    assert groups_of_one_class(points, clusters=5).tolist() == [0] * 4 + [1] * 3 + [2] * 2
    assert groups_of_one_class(points, clusters=2).max() == 1
    assert groups_of_one_class(points[:1], clusters=4).tolist() == [0]
    assert groups_of_one_class(points).tolist() == [0] * 9  # too few to be told from outliers
    many = np.repeat(np.eye(3), [40, 30, 20], axis=0)
    assert groups_of_one_class(many).tolist() == [0] * 40 + [1] * 30 + [2] * 20


def test_collapsed_features_are_one_group():
    assert (groups_of_one_class(np.tile(np.arange(5.0), (200, 1))) == 0).all()
    assert (groups_of_one_class(np.zeros((200, 5))) == 0).all()


def test_scale_and_rotation_change_nothing_and_the_same_seed_is_the_same():
    points, _ = mixture([400, 60, 40], 16, 12)
    found = groups_of_one_class(points, seed=5)
    np.testing.assert_array_equal(groups_of_one_class(points, seed=5), found)
    np.testing.assert_array_equal(groups_of_one_class(7 * points, seed=5), found)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(16, 16)))[0]
    np.testing.assert_array_equal(groups_of_one_class(points @ rotation, seed=5), found)
    np.testing.assert_array_equal(groups_of_one_class(points, seed=6), found)  # such gaps need no luck
    before = np.random.get_state()[1].tolist()  # noqa: NPY002 - what must not change
    groups_of_one_class(points)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_what_cannot_be_clustered_is_refused():
    points = np.ones((4, 2))
    with pytest.raises(DdbiasError, match="number of clusters must be at least 1, not 0"):
        groups_of_one_class(points, clusters=0)
    with pytest.raises(DdbiasError, match=r"embeddings of shape \(4, 2\) do not fit 3 labels"):
        cluster_groups(points, np.zeros(3))
    points[2, 1] = np.nan
    with pytest.raises(DdbiasError, match="embeddings have values that are not finite: the surrogate diverged"):
        groups_of_one_class(points)


# --------------------------------------------------------------------------------------------------------- merging


@given(st.lists(st.integers(1, 8), min_size=1, max_size=6), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_moments_of_merged_components_are_those_of_their_samples(sizes, seed):
    generator = np.random.default_rng(seed)
    parts = [generator.normal(size=(size, 3)) + generator.normal(size=3) for size in sizes]
    joint = Component.of(0, parts[0])
    for number, part in enumerate(parts[1:], start=1):
        joint = joint + Component.of(number, part)
    whole = np.concatenate(parts)
    assert joint.parts == tuple(range(len(sizes)))
    assert joint.size == len(whole)
    np.testing.assert_allclose(joint.mean, whole.mean(0), atol=1e-12)
    np.testing.assert_allclose(joint.covariance, np.cov(whole.T, bias=True), atol=1e-12)


def test_distance_is_the_mean_over_all_pairs():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(7, 4)), generator.normal(size=(5, 4)) + 1
    pairs = [((a - b) ** 2).sum() for a in first for b in second]
    assert distance(Component.of(0, first), Component.of(1, second)) == pytest.approx(np.mean(pairs))


def test_separation_is_in_standard_deviations_along_the_line():
    generator = np.random.default_rng(0)
    first = generator.normal(size=(20_000, 2)) * [1, 5]
    second = generator.normal(size=(20_000, 2)) * [2, 7] + [12, 0]
    found = separation(Component.of(0, first), Component.of(1, second))
    assert found == pytest.approx(12 / (1 + 2), rel=0.03)  # the spread across the line does not count
    normal = generator.normal(size=(20_000, 2)) * [1, 0.1]
    halves = [normal[normal[:, 0] < 0], normal[normal[:, 0] >= 0]]
    # The halves of a normal cluster: means sqrt(2 / pi) from the middle, variance 1 - 2 / pi each.
    expected = np.sqrt(2 / np.pi) / np.sqrt(1 - 2 / np.pi)
    assert separation(*(Component.of(0, half) for half in halves)) == pytest.approx(expected, rel=0.03)
    assert separation(Component.of(0, np.zeros((3, 2))), Component.of(1, np.zeros((3, 2)))) == 0
    assert separation(Component.of(0, np.zeros((3, 2))), Component.of(1, np.ones((3, 2)))) > 1e6


def test_merged_groups_are_pairwise_apart_and_not_too_small():
    points, _ = mixture(UNEQUAL, 4, 3)
    parts = np.random.default_rng(0).integers(0, 40, len(points))
    components = [Component.of(part, points[parts == part]) for part in range(40)]
    for threshold in (0.0, 0.05, 0.2):
        found = merge(components, threshold=threshold, smallest=30, at_most=None)
        assert sorted(part for group in found for part in group.parts) == list(range(40))
        assert [group.size for group in found] == sorted((group.size for group in found), reverse=True)
        assert min(group.size for group in found) >= 30
        for i, group in enumerate(found):
            assert all(separation(group, other) > threshold for other in found[:i])
    assert len(merge(components, threshold=0.0, smallest=1, at_most=7)) == 7


# ------------------------------------------------------------------------------------------------ predicted_groups


def test_predicted_groups_are_what_the_classifier_says():
    logits = np.array([[3.0, 1, 0], [0, 2, 1], [1, 1, 0], [-5, -4, -3]], np.float32)
    found = predicted_groups(logits, np.array([0, 0, 1, 2]))
    assert found.tolist() == [0, 1, 0, 2]
    assert found.dtype == np.int64


def test_logits_that_say_nothing_are_refused():
    with pytest.raises(DdbiasError, match=r"logits of shape \(2, 3\) do not fit 4 labels"):
        predicted_groups(np.zeros((2, 3)), np.zeros(4))
    with pytest.raises(DdbiasError, match="logits have values that are not finite"):
        predicted_groups(np.array([[0, np.inf]]), np.zeros(1))


def test_there_are_twelve_groups_at_most():
    points, names = mixture([60] * 14, 32, 15)
    found = groups_of_one_class(points)
    assert found.max() + 1 == MOST == 12
    assert len(set(zip(names.tolist(), found.tolist(), strict=True))) == 14  # groups are merged, none is cut


@pytest.mark.parametrize(("few", "groups"), [(6, 1), (14, 2)])
def test_a_group_has_a_share_of_its_class_at_least(few, groups):
    points, names = mixture([3000, few], 8, 14)  # .3 % are nine
    found = groups_of_one_class(points)
    assert found.max() + 1 == groups
    if groups == 2:
        np.testing.assert_array_equal(found, names)


def test_clusters_are_merged_in_the_order_of_the_mean_over_all_pairs():
    from ddbias.debias import merging

    for seed in range(5):
        rng = np.random.default_rng(seed)
        parts = [
            rng.normal(rng.normal(scale=2, size=3), rng.uniform(0.1, 2), (size, 3)) for size in rng.integers(1, 30, 8)
        ]
        found = merging._average_linkage([merging.Component.of(i, part) for i, part in enumerate(parts)])
        sets, expected = dict(enumerate(parts)), []
        while len(sets) > 1:
            means = {(a, b): ((sets[a][:, None] - sets[b]) ** 2).sum(2).mean() for a in sets for b in sets if a < b}
            first, second = min(means, key=means.get)
            sets[first] = np.concatenate([sets[first], sets.pop(second)])
            expected.append((first, second))
        assert found == expected
