"""The draws of the real side against the weighted mean that they estimate, and the pooling of groups."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.debias.real_side import DRAWS, GROUP_DRAWS, RealSettings, RealSide
from hypothesis import given, settings
from hypothesis import strategies as st

LABELS = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [40, 25, 60]))
WEIGHTS = np.random.default_rng(1).exponential(size=125)
GROUPS = np.random.default_rng(2).choice(4, 125, p=[0.7, 0.15, 0.1, 0.05])

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(side, steps):
    """How often every row was drawn in a number of steps."""
    return torch.bincount(torch.cat([side.batch(step).index for step in range(steps)])).double()


def real_side(weights=WEIGHTS, labels=LABELS, batch_size=8, draw="proportional", seed=0):
    return RealSide(labels, RealSettings(weights, draw=draw), batch_size=batch_size, seed=seed)


def grouped(pooling="groups", *, weights=WEIGHTS, groups=GROUPS, labels=LABELS, batch_size=12, **options):
    return RealSide(
        labels, RealSettings(weights, groups, pooling, **{"draw": "uniform", **options}), batch_size=batch_size, seed=0
    )


@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("batch_size", [8, 30, 100])
def test_a_batch_is_class_after_class_and_every_target_is_a_mean(draw, batch_size):
    batch = real_side(draw=draw, batch_size=batch_size).batch(3)
    assert batch.classes.tolist() == [0, 1, 2]
    assert torch.equal(batch.labels, torch.from_numpy(LABELS)[batch.index])
    assert torch.equal(batch.labels, batch.labels.sort().values)
    assert batch.pool.dtype == torch.float32
    assert batch.pool.shape == (3, len(batch.index))
    assert torch.equal(batch.scale, torch.ones(3))
    if draw == "weighted_mean":  # what a batch holds of the weight of its class
        held = [WEIGHTS[batch.index[batch.labels == c].numpy()].mean() / WEIGHTS[c == LABELS].mean() for c in range(3)]
        np.testing.assert_allclose(batch.pool.sum(1), held, rtol=1e-6)
    else:
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


def estimates(weights, values, *, draw, size, steps, labels=LABELS):
    """What batches say about the mean of `values` in each class, (steps, classes) float64."""
    side = real_side(weights, labels, draw=draw, batch_size=size)
    return torch.stack([(b := side.batch(step)).pool.double() @ values[b.index] for step in range(steps)])


@pytest.mark.parametrize("draw", DRAWS)
def test_draws_estimate_the_weighted_mean_of_the_class(draw):
    # Five standard errors of 800 steps. The normalised mean of a part of a class is a ratio, whose bias is at most its
    # standard deviation times the coefficient of variation of the part's mean weight (Hartley and Ross, 1954); the
    # others have none. A draw that ignored the weights would be far outside (asserted below).
    steps, tolerance, size = 800, 5, 20
    values = torch.from_numpy(WEIGHTS) + torch.from_numpy(np.random.default_rng(2).normal(size=125))
    found = estimates(WEIGHTS, values, draw=draw, size=size, steps=steps)
    for label in range(3):
        members = torch.from_numpy(label == LABELS)
        weights = torch.from_numpy(WEIGHTS)[members]
        target = (weights @ values[members] / weights.sum()).item()
        spread = found[:, label].std().item()
        error = spread / math.sqrt(steps)
        variation = math.sqrt(1 / size - 1 / len(weights)) * (weights.std() / weights.mean()).item()
        bias = spread * variation if draw == "normalised_mean" else 0
        assert abs(found[:, label].mean().item() - target) < tolerance * error + bias
        assert abs(values[members].mean().item() - target) > 2 * (tolerance * error + bias)


def test_the_unbiased_draws_agree_and_importance_sampling_varies_less_for_heavy_weights():
    # 5 % of a class hold half of its weight, as conflicting samples do; values are 10 plus noise plus the group.
    heavy, steps = np.arange(200) < 10, 1500
    weights = np.where(heavy, 19.0, 1.0)
    values = torch.from_numpy(10 + heavy + np.random.default_rng(3).normal(size=200))
    target = (torch.from_numpy(weights) @ values).item() / weights.sum()
    labels, spread, mean = np.zeros(200, int), {}, {}
    for draw in DRAWS:
        found = estimates(weights, values, draw=draw, size=8, steps=steps, labels=labels)
        spread[draw], mean[draw] = found.std().item(), found.mean().item()
    for draw in ("proportional", "weighted_mean"):
        assert abs(mean[draw] - target) < 5 * spread[draw] / math.sqrt(steps)
    # Half of the batches have no heavy sample: their ratio is the mean of the light ones.
    assert target - mean["normalised_mean"] > 5 * spread["normalised_mean"] / math.sqrt(steps)
    assert spread["proportional"] < spread["normalised_mean"] < spread["weighted_mean"]
    # Independent draws in proportion: the weighted variance over the size of the batch.
    variance = (torch.from_numpy(weights) @ (values - target) ** 2).item() / weights.sum() / 8
    assert spread["proportional"] ** 2 == pytest.approx(variance, rel=0.15)


@pytest.mark.parametrize("draw", ["weighted_mean", "normalised_mean"])
def test_a_weighted_mean_is_over_a_uniform_draw(draw):
    weighted, plain = real_side(draw=draw), real_side(np.ones(125))
    for step in range(5):
        batch = weighted.batch(step)
        assert torch.equal(batch.index, plain.batch(step).index)
        for label in range(3):
            part = WEIGHTS[batch.index[batch.labels == label].numpy()]
            total = 8 * WEIGHTS[label == LABELS].mean() if draw == "weighted_mean" else part.sum()
            np.testing.assert_allclose(batch.pool[label][batch.labels == label], part / total, rtol=1e-6)


def test_draws_in_proportion_are_those_from_repeated_samples():
    # Integer weights are repetitions of a sample: 40,000 draws from both, compared by row.
    repeats = np.tile([1, 2, 5, 0], 5)
    side = real_side(repeats, np.zeros(20, int), batch_size=10)
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
    counts = drawn(side, 800)
    for label, size in enumerate((40, 25, 60)):
        share = counts[torch.from_numpy(label == LABELS)] / 800
        # Five standard deviations of a share of 800 steps.
        assert (share - 8 / size).abs().max() < 5 * math.sqrt(8 / size * (1 - 8 / size) / 800)


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


def test_a_draw_of_zero_weights_only_divides_by_nothing():
    weights = np.zeros(50)
    weights[7] = 1
    side = real_side(weights, np.zeros(50, int), draw="normalised_mean", batch_size=2)
    pools = torch.cat([side.batch(step).pool for step in range(20)])
    torch.testing.assert_close(pools.sum(1), torch.ones(20))
    assert (pools == 0.5).all(1).any()
    # Without division it counts nothing, and what is computed image by image still gets one.
    batch = next(
        b
        for b in map(real_side(weights, np.zeros(50, int), draw="weighted_mean", batch_size=2).batch, range(9))
        if not b.pool.any()
    )
    (one,) = batch.of_class(0)
    assert (one.images.tolist(), one.share.tolist(), one.scale) == ([0], [0], 1)


def test_what_cannot_be_drawn_from_is_refused():
    with pytest.raises(DdbiasError, match="not negative"):
        real_side(WEIGHTS - 1)
    with pytest.raises(DdbiasError, match="124 weights for 125 samples"):
        real_side(WEIGHTS[1:])
    with pytest.raises(DdbiasError, match="all weights of class 1 are zero"):
        real_side(np.where(LABELS == 1, 0, 1))
    with pytest.raises(DdbiasError, match="class 1 has no training images"):
        real_side(labels=np.where(LABELS == 1, 0, LABELS))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"draw": "proportion"}, "unknown draw 'proportion'.*Did you mean 'proportional'"),
        ({"draw": "uniform"}, "unknown draw 'uniform'"),
        ({"pooling": "group", "groups": GROUPS}, "unknown pooling 'group'.*Did you mean 'groups'"),
        ({"pooling": "groups", "groups": GROUPS, "draw": "weighted_mean"}, "unknown draw 'weighted_mean'"),
        ({"reduction": "avg"}, "unknown reduction 'avg'"),
        ({"pooling": "barycentre"}, "the pooling barycentre needs the group of every sample"),
        ({"groups": GROUPS}, "the pooling mean takes no groups"),
        ({"pooling": "groups", "groups": GROUPS[1:]}, "124 groups for 125 weights"),
    ],
)
def test_settings_that_contradict_are_one_line(options, said):
    if options.get("pooling") in ("groups", "barycentre"):
        options = {"draw": "uniform", **options}
    with pytest.raises(DdbiasError, match=said):
        RealSettings(WEIGHTS, **options)


# --------------------------------------------------------------------------------------------------------- groups


def plain_groups(batch, label):
    """Rows of the split of every group of a class that is present in a batch."""
    rows = batch.index[batch.labels == label].numpy()
    return {group: rows[GROUPS[rows] == group] for group in sorted(set(GROUPS[rows]))}


@pytest.mark.parametrize("draw", GROUP_DRAWS)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_every_group_present_is_a_target(draw, reduction):
    values = torch.from_numpy(np.random.default_rng(4).normal(size=(125, 3))).float()
    side, missing = grouped(draw=draw, reduction=reduction), 0
    for step in range(20):
        batch = side.batch(step)
        found = batch.pool @ values[batch.index]
        for label in range(3):
            groups = plain_groups(batch, label)
            expected = torch.stack([values[rows].mean(0) for rows in groups.values()])
            torch.testing.assert_close(found[batch.classes == label], expected)
            scale = 1 / len(groups) if reduction == "mean" else 1.0
            torch.testing.assert_close(batch.scale[batch.classes == label], torch.full((len(groups),), scale))
            missing += 4 - len(groups)
    assert missing > 0


@pytest.mark.parametrize("draw", GROUP_DRAWS)
def test_the_barycentre_is_the_mean_of_the_means_of_the_groups_present(draw):
    values = torch.from_numpy(np.random.default_rng(4).normal(size=(125, 3))).float()
    side = grouped("barycentre", draw=draw)
    for step in range(20):
        batch = side.batch(step)
        assert batch.classes.tolist() == [0, 1, 2]
        assert torch.equal(batch.scale, torch.ones(3))
        for label in range(3):
            means = [values[rows].mean(0) for rows in plain_groups(batch, label).values()]
            torch.testing.assert_close((batch.pool @ values[batch.index])[label], sum(means) / len(means))


@pytest.mark.parametrize("pooling", ["groups", "barycentre"])
def test_group_batches_are_the_uniform_ones_whatever_the_weights(pooling):
    plain = real_side(np.ones(125), batch_size=12)
    for step in range(5):
        assert torch.equal(grouped(pooling).batch(step).index, plain.batch(step).index)
        drawn_alike = grouped(pooling, draw="proportional").batch(step).index
        assert torch.equal(drawn_alike, real_side(batch_size=12).batch(step).index)


@pytest.mark.parametrize("pooling", ["groups", "barycentre"])
def test_a_class_of_one_group_has_the_plain_mean(pooling):
    """Then both are no debias."""
    side, plain = grouped(pooling, groups=LABELS), real_side(np.ones(125), batch_size=12)
    assert torch.equal(side.batch(0).pool, plain.batch(0).pool)
    assert torch.equal(side.batch(0).classes, plain.batch(0).classes)


@given(st.permutations(range(4)), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_the_names_of_groups_do_not_matter(names, step):
    renamed = np.array(names)[GROUPS] + 7
    a, b = grouped().batch(step), grouped(groups=renamed).batch(step)
    assert torch.equal(a.index, b.index)
    for label in range(3):
        rows = [batch.pool[batch.classes == label] for batch in (a, b)]
        assert sorted(rows[0].tolist()) == sorted(rows[1].tolist())
    a, b = (grouped("barycentre", groups=groups).batch(step) for groups in (GROUPS, renamed))
    torch.testing.assert_close(a.pool, b.pool)


def test_the_barycentre_of_a_whole_class_is_the_balanced_weighted_mean():
    sizes = np.array([[np.sum((c == LABELS) & (g == GROUPS)) for g in range(4)] for c in range(3)])
    assert (sizes > 0).all()
    batch = grouped("barycentre", batch_size=100).batch(0)
    balanced = real_side(1 / sizes[LABELS, GROUPS], batch_size=100).batch(0)
    assert torch.equal(batch.index, balanced.index)
    torch.testing.assert_close(batch.pool, balanced.pool)


def test_targets_are_the_rows_of_the_pool():
    batch = grouped(reduction="mean").batch(1)
    for label in range(3):
        rebuilt = torch.zeros(int((batch.classes == label).sum()), len(batch.index))
        for row, one in zip(rebuilt, batch.of_class(label), strict=True):
            row[one.images] = one.share
            assert (one.share > 0).all()
            assert one.scale == 1 / len(rebuilt)
        assert torch.equal(rebuilt, batch.pool[batch.classes == label])
    assert torch.equal(grouped().batch(1).scale, torch.ones(len(batch.classes)))


def test_a_batch_of_many_classes_is_no_matrix():
    labels = np.arange(3000) % 1000
    batch = RealSide(labels, RealSettings.plain(3000), batch_size=256, seed=0).batch(0)
    assert sum(len(one.images) for one in batch.targets) == 3000
    assert sum(one.share.nbytes + one.images.nbytes for one in batch.targets) < 50_000


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
    side = real_side(np.array([1.0, 2, 5, 0]), np.zeros(4, int))
    source = generator()
    first = torch.bincount(torch.cat([side.select(0, 1, source) for _ in range(8000)]), minlength=4)
    assert first[3] == 0
    statistic = ((first[:3] - torch.tensor([1000.0, 2000, 5000])) ** 2 / torch.tensor([1000.0, 2000, 5000])).sum()
    assert statistic < 13.8  # 99.9 % quantile of chi-square with 2 degrees of freedom


def test_rows_of_weight_zero_are_selected_last():
    weights = np.where(np.arange(30) < 10, 0, 1.0)
    side = real_side(weights, np.zeros(30, int))
    for seed in range(20):
        assert (side.select(0, 20, generator(seed)) >= 10).all()
    assert side.select(0, 30, generator()).sort().values.tolist() == list(range(30))
    # Among themselves they are drawn, not taken in their order.
    last = torch.cat([side.select(0, 21, generator(seed)).sort().values[:1] for seed in range(100)])
    assert set(last.tolist()) == set(range(10))


def test_only_too_few_rows_of_weight_are_told(log_lines):
    side = RealSide(np.zeros(30, int), RealSettings(np.where(np.arange(30) < 10, 0, 1.0)), batch_size=8, seed=0)
    side.select(0, 20, torch.Generator().manual_seed(0))
    assert log_lines == []
    side.select(0, 21, torch.Generator().manual_seed(0))
    assert log_lines == ["class 0 has 20 images of weight above 0, so 1 others are drawn"]
