"""The debias kinds, and the draws of the real side against the weighted mean that they estimate."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ddbias import debias, store
from ddbias.data import Split
from ddbias.debias import group_balanced, kde, uniform
from ddbias.debias.real_side import DRAWS, RealSide
from ddbias.errors import DdbiasError
from ddbias.weights import density_weights, kde_density
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


def drawn(side, steps):
    """How often every row was drawn in a number of steps."""
    return torch.bincount(torch.cat([side.batch(step).index for step in range(steps)])).double()


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


def test_groups_of_unknown_attributes_cannot_be_balanced():
    with pytest.raises(DdbiasError, match=r"needs the true attribute.*use kde") as caught:
        debias.load_weights("group_balanced", split_of([0, 1]), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("leave_one_out", [False, True])
def test_kde_weights_are_inverse_to_the_density(leave_one_out):
    generator = np.random.default_rng(0)
    embeddings, labels = generator.normal(size=(40, 3)), generator.integers(0, 2, 40)
    options = {"variance": 0.5, "leave_one_out": leave_one_out, "chunk_size": 9}
    weights, density = kde.sample_weights(embeddings, labels, temperature=2.0, clip=0.1, **options)
    np.testing.assert_array_equal(density, kde_density(embeddings, labels, **options))
    np.testing.assert_array_equal(weights, density_weights(density, labels, temperature=2.0, clip=0.1))


def test_kde_lifts_the_few_samples_away_from_the_mass():
    generator = np.random.default_rng(0)
    aligned, conflicting = generator.normal(0, 0.1, (95, 2)), generator.normal([1, 0], 0.1, (5, 2))
    weights, _ = kde.sample_weights(
        np.concatenate([aligned, conflicting]),
        np.zeros(100, int),
        variance=0.05,
        temperature=1.0,
        leave_one_out=True,
        clip=None,
        chunk_size=64,
    )
    assert weights[95:].min() > weights[:95].max()


def test_kinds_are_found_by_name():
    for kind in debias.KINDS:
        module = debias.module(kind)
        assert isinstance(module.NEEDS_SURROGATE, bool)
        assert callable(module.sample_weights)
    with pytest.raises(DdbiasError, match=r"unknown debias kind 'group_balance'.*Did you mean 'group_balanced'"):
        debias.module("group_balance")


# -------------------------------------------------------------------------------------------------------- load_weights


def test_weights_come_from_the_file_of_the_same_split(tmp_path):
    split, weights = split_of([0, 0, 1]), np.array([0.5, 1.5, 1])
    path = tmp_path / "weights.parquet"
    store.write_table(path, {"index": split.index, "weight": weights}, {})
    np.testing.assert_array_equal(debias.load_weights("kde", split, path), weights)
    np.testing.assert_array_equal(debias.load_weights("uniform", split, None), np.ones(3))


@pytest.mark.parametrize("index", [[100, 102, 101], [100, 101], [0, 1, 2]])
def test_weights_of_another_split_are_refused(tmp_path, index):
    path = tmp_path / "weights.parquet"
    store.write_table(path, {"index": index, "weight": np.ones(len(index))}, {})
    with pytest.raises(DdbiasError, match="belongs to another training split; delete it") as caught:
        debias.load_weights("kde", split_of([0, 0, 1]), path)
    assert "\n" not in str(caught.value)


def test_a_kind_that_needs_a_file_says_so():
    with pytest.raises(DdbiasError, match="kde needs the weights file"):
        debias.load_weights("kde", split_of([0, 0, 1]), None)


# ------------------------------------------------------------------------------------------------------- RealSide

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [40, 25, 60]))
WEIGHTS = np.random.default_rng(1).exponential(size=125)


def real_side(weights=WEIGHTS, labels=LABELS, batch_size=8, draw="proportional", seed=0):
    return RealSide(labels, weights, batch_size=batch_size, draw=draw, seed=seed)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("batch_size", [8, 30, 100])
def test_a_batch_is_class_after_class_and_every_target_is_a_mean(draw, batch_size):
    batch = real_side(draw=draw, batch_size=batch_size).batch(3)
    assert batch.classes.tolist() == [0, 1, 2]
    assert torch.equal(batch.labels, torch.from_numpy(LABELS)[batch.index])
    assert torch.equal(batch.labels, batch.labels.sort().values)
    assert batch.pool.dtype == torch.float32
    assert batch.pool.shape == (3, len(batch.index))
    torch.testing.assert_close(batch.pool.sum(1), torch.ones(3))
    assert (batch.pool[batch.labels != batch.classes[:, None]] == 0).all()
    assert (batch.pool >= 0).all()


@pytest.mark.parametrize("draw", DRAWS)
def test_a_batch_depends_on_its_step_and_seed_only(draw):
    forward, backward = real_side(draw=draw), real_side(draw=draw)
    before = torch.random.get_rng_state()
    ahead = [forward.batch(step) for step in range(5)]
    back = [backward.batch(step) for step in reversed(range(5))][::-1]
    assert all(torch.equal(a.index, b.index) and torch.equal(a.pool, b.pool) for a, b in zip(ahead, back, strict=True))
    assert len({tuple(batch.index.tolist()) for batch in ahead}) == 5
    assert not torch.equal(real_side(draw=draw, seed=1).batch(0).index, ahead[0].index)
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_estimate_the_weighted_mean_of_the_class(draw):
    # Five standard errors of 1500 steps. The weighted mean of a part of a class is a ratio, whose bias is at most its
    # standard deviation times the coefficient of variation of the part's mean weight (Hartley and Ross, 1954). A draw
    # that ignored the weights would be far outside (asserted below).
    steps, tolerance, size = 1500, 5, 20
    values = torch.from_numpy(WEIGHTS) + torch.from_numpy(np.random.default_rng(2).normal(size=125))
    side = real_side(draw=draw, batch_size=size)
    estimates = torch.stack([(b := side.batch(step)).pool.double() @ values[b.index] for step in range(steps)])
    for label in range(3):
        members = torch.from_numpy(label == LABELS)
        weights = torch.from_numpy(WEIGHTS)[members]
        target = (weights @ values[members] / weights.sum()).item()
        found = estimates[:, label]
        error = found.std().item() / math.sqrt(steps)
        variation = math.sqrt(1 / size - 1 / len(weights)) * (weights.std() / weights.mean()).item()
        bias = found.std().item() * variation if draw == "weighted_mean" else 0
        assert abs(found.mean().item() - target) < tolerance * error + bias
        assert abs(values[members].mean().item() - target) > 2 * (tolerance * error + bias)


def test_the_weighted_mean_is_over_a_uniform_draw():
    weighted, plain = real_side(draw="weighted_mean"), real_side(np.ones(125))
    for step in range(5):
        batch = weighted.batch(step)
        assert torch.equal(batch.index, plain.batch(step).index)
        for label in range(3):
            part = WEIGHTS[batch.index[batch.labels == label].numpy()]
            np.testing.assert_allclose(batch.pool[label][batch.labels == label], part / part.sum(), rtol=1e-6)


def test_draws_in_proportion_are_those_from_repeated_samples():
    # Integer weights are repetitions of a sample: 40,000 draws from both, compared by row.
    repeats = np.tile([1, 2, 5, 0], 5)
    side = RealSide(np.zeros(20, int), repeats.astype(float), batch_size=10, draw="proportional", seed=0)
    found = torch.cat([drawn(side, 4000), torch.zeros(1)])[:20]  # the last row has weight zero
    expected = torch.from_numpy(repeats / repeats.sum() * 40_000)
    assert (found[repeats == 0] == 0).all()
    present = torch.from_numpy(repeats > 0)
    statistic = ((found - expected) ** 2 / expected.clamp(min=1))[present].sum()
    assert statistic < 36.1  # 99.9 % quantile of chi-square with 14 degrees of freedom


@pytest.mark.parametrize("draw", DRAWS)
def test_equal_weights_draw_without_repeats_and_pool_the_plain_mean(draw):
    side = real_side(np.ones(125), draw=draw)
    for step in range(20):
        batch = side.batch(step)
        assert len(batch.index) == len(batch.index.unique()) == 24
        torch.testing.assert_close(batch.pool[batch.pool > 0], torch.full((24,), 1 / 8))
    counts = drawn(side, 2000)
    for label, size in enumerate((40, 25, 60)):
        share = counts[torch.from_numpy(label == LABELS)] / 2000
        # Five standard deviations of a share of 2000 steps.
        assert (share - 8 / size).abs().max() < 5 * math.sqrt(8 / size * (1 - 8 / size) / 2000)


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("weight", [0.1, 1 / 3, 7.0])
def test_only_ratios_of_weights_within_a_class_matter(draw, weight):
    plain, scaled = real_side(np.ones(125), draw=draw), real_side(weight * (LABELS + 1.0), draw=draw)
    assert torch.equal(plain.batch(0).index, scaled.batch(0).index)
    torch.testing.assert_close(plain.batch(0).pool, scaled.batch(0).pool)
    uneven = real_side(WEIGHTS * weight * (LABELS + 1), draw=draw)
    assert torch.equal(real_side(draw=draw).batch(0).index, uneven.batch(0).index)
    torch.testing.assert_close(real_side(draw=draw).batch(0).pool, uneven.batch(0).pool)


def test_a_class_of_equal_weights_beside_others_is_drawn_without_repeats():
    side = real_side(np.where(LABELS == 2, 0.7, WEIGHTS), batch_size=20)
    for step in range(10):
        batch = side.batch(step)
        assert len(batch.index[batch.labels == 2].unique()) == 20


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("batch_size", [25, 26, 1000])
def test_a_class_no_larger_than_the_batch_gives_all_it_has(draw, batch_size):
    batch = real_side(draw=draw, batch_size=batch_size).batch(0)
    rows = batch.index[batch.labels == 1]
    assert rows.sort().values.tolist() == np.flatnonzero(LABELS == 1).tolist()
    expected = torch.from_numpy(WEIGHTS)[rows]
    torch.testing.assert_close(batch.pool[1][batch.labels == 1], (expected / expected.sum()).float())


@pytest.mark.parametrize("draw", DRAWS)
def test_a_sample_of_weight_zero_says_nothing(draw):
    weights = np.where(np.arange(125) % 2, WEIGHTS, 0)
    side = real_side(weights, draw=draw, batch_size=20)
    for step in range(20):
        batch = side.batch(step)
        assert (batch.pool.sum(0)[batch.index % 2 == 0] == 0).all()


def test_a_draw_of_zero_weights_only_is_still_a_mean():
    weights = np.zeros(50)
    weights[7] = 1
    side = RealSide(np.zeros(50, int), weights, batch_size=2, draw="weighted_mean", seed=0)
    pools = torch.cat([side.batch(step).pool for step in range(20)])
    torch.testing.assert_close(pools.sum(1), torch.ones(20))
    assert (pools == 0.5).all(1).any()


def test_what_cannot_be_drawn_from_is_refused():
    with pytest.raises(DdbiasError, match=r"unknown draw 'proportion'.*Did you mean 'proportional'"):
        real_side(draw="proportion")
    with pytest.raises(DdbiasError, match="not negative"):
        real_side(WEIGHTS - 1)
    with pytest.raises(DdbiasError, match="124 weights for 125 samples"):
        real_side(WEIGHTS[1:])
    with pytest.raises(DdbiasError, match="all weights of class 1 are zero"):
        real_side(np.where(LABELS == 1, 0, 1))
    with pytest.raises(DdbiasError, match="class 1 has no training images"):
        real_side(labels=np.where(LABELS == 1, 0, LABELS))


# --------------------------------------------------------------------------------------------------------- select


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("count", [1, 10, 25])
def test_selected_rows_are_different_ones_of_the_class(count):
    rows = real_side().select(1, count, generator())
    assert len(rows) == len(rows.unique()) == count
    assert (LABELS[rows.numpy()] == 1).all()
    assert torch.equal(rows, real_side().select(1, count, generator()))


def test_selection_is_in_proportion_to_the_weights():
    side = RealSide(np.zeros(4, int), np.array([1.0, 2, 5, 0]), batch_size=1, draw="proportional", seed=0)
    source = generator()
    first = torch.bincount(torch.cat([side.select(0, 1, source) for _ in range(8000)]), minlength=4)
    assert first[3] == 0
    statistic = ((first[:3] - torch.tensor([1000.0, 2000, 5000])) ** 2 / torch.tensor([1000.0, 2000, 5000])).sum()
    assert statistic < 13.8  # 99.9 % quantile of chi-square with 2 degrees of freedom


def test_rows_of_weight_zero_are_selected_last():
    weights = np.where(np.arange(30) < 10, 0, 1.0)
    side = RealSide(np.zeros(30, int), weights, batch_size=1, draw="proportional", seed=0)
    for seed in range(20):
        assert (side.select(0, 20, generator(seed)) >= 10).all()
    assert side.select(0, 30, generator()).sort().values.tolist() == list(range(30))
    # Among themselves they are drawn, not taken in their order.
    last = torch.cat([side.select(0, 21, generator(seed)).sort().values[:1] for seed in range(100)])
    assert set(last.tolist()) == set(range(10))
