"""The trial of weights: its arithmetic against plain loops, and what passes it where the truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.debias import estimation
from ddbias.debias import trial as module
from ddbias.debias.balance import balanced_weights
from ddbias.debias.estimates import Estimate
from ddbias.debias.estimation import estimate_weights
from ddbias.debias.kinds import kde
from ddbias.debias.trial import Trial, choose, doubted, let_go, trial
from hypothesis import given, settings
from hypothesis import strategies as st

KDE = {"kind": "kde", "surrogate": "s", "variance": "trial", "temperature": 1.0, "leave_one_out": True, "clip": None}
KDE |= {"chunk_size": 64, "trial": None}


@given(st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_gains_and_errors_are_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    gains, candidates = rng.integers(-1, 2, (3, 20)).astype(float), rng.exponential(size=(3, 20))
    found = choose(list(gains), list(candidates))
    for k in range(3):
        parts = [gains[k, i] * (candidates[k, i] / sum(candidates[k]) + 1 / 20) for i in range(20)]
        assert found.gains[k] == pytest.approx(sum(parts))
        mean = sum(gains[k]) / 20
        squares = [((candidates[k, i] / sum(candidates[k]) + 1 / 20) * (gains[k, i] - mean)) ** 2 for i in range(20)]
        assert found.errors[k] == pytest.approx(sum(squares) ** 0.5)
    if found.chosen is None:
        assert all(gain <= max(2 * error, 0.08) for gain, error in zip(found.gains, found.errors, strict=True))
    else:
        assert found.gains[found.chosen] > max(2 * found.errors[found.chosen], 0.08)


@pytest.mark.parametrize(("share", "evident"), [(0.3, False), (0.4, True), (0.5, True)])
def test_labels_that_equal_weights_exclude_are_evidence(few_digits, monkeypatch, share, evident):
    split = few_digits()
    wrong = np.arange(len(split)) % 2 == 0
    alike = np.where(wrong, 0.0, 1.0), wrong & (np.cumsum(wrong) <= np.ceil(share * wrong.sum()))
    given = [alike, (np.ones(len(split)), ~wrong)]  # with weights all are right, whatever they exclude
    monkeypatch.setattr(module, "_right", lambda *_: given.pop(0))
    found = trial(split, [np.ones(len(split))], seed=0)
    assert found.evident == evident
    assert found.gains[0] == pytest.approx(2 * wrong.mean())


@pytest.mark.thorough
def test_digits_without_a_bias_give_no_evidence():
    for ratio, evident in ((0.95, True), (0.1, False)):
        split, _ = synthesize_dataset(
            source={"kind": "digits"},
            bias={"kind": "foreground", "severity": 1},
            ratio=ratio,
            test="balanced",
            size=16,
            seed=21,
            data={},
        )
        assert trial(split, [], seed=21).evident == evident


def test_the_scale_of_weights_does_not_matter():
    rng = np.random.default_rng(0)
    gains, weights = rng.integers(0, 2, 50).astype(float), rng.exponential(size=50)
    once, twice = choose([gains], [weights]), choose([gains], [2 * weights])
    assert once.gains == pytest.approx(twice.gains)
    assert once.errors == pytest.approx(twice.errors)


def test_of_those_that_pass_the_surest_is_taken():
    lift = np.zeros(100)
    lift[:20] = 1
    weights = np.where(np.arange(100) < 20, 4.0, 0.25)
    few = np.where(np.arange(100) < 10, 1.0, 0.0)
    assert choose([few, lift], [weights, weights]).chosen == 1
    assert choose([lift, few], [weights, weights]).chosen == 0
    assert choose([-lift], [weights]).chosen is None
    one = np.where(np.arange(100) == 0, 1.0, 0.0)
    found = choose([one, lift], [one, weights])  # a single sample with all the weight gains most
    assert found.gains[0] > found.gains[1]
    assert found.chosen == 1
    assert choose([np.zeros(100)], [weights]).chosen is None


def test_half_the_gain_is_enough_where_there_is_evidence():
    gain, weights = np.where(np.arange(1000) < 50, 1.0, 0.0), np.ones(1000)
    gain[50:75] = -1
    found = choose([gain], [weights])
    assert 0.04 < found.gains[0] < 0.08
    assert found.gains[0] > 2 * found.errors[0]
    assert found.chosen is None
    assert choose([gain], [weights], evident=True).chosen == 0
    assert choose([gain / 2], [weights], evident=True).chosen is None
    unsure = np.array([1.0] * 4 + [-1.0] * 3 + [0.0] * 33)  # .05, and .13 is one standard error
    assert choose([unsure], [np.ones(40)], evident=True).chosen is None


def digits(ratio):
    bias = {"kind": "foreground", "severity": 1}
    return synthesize_dataset(source={"kind": "digits"}, bias=bias, ratio=ratio, test="balanced", seed=0, data={})[0]


@pytest.mark.slow
def test_weights_of_conflicting_samples_pass():
    split = digits(0.95)
    found = trial(split, [balanced_weights(split.labels, split.attributes), np.ones(len(split))], seed=0)
    assert found.chosen == 0
    assert found.gains[1] == 0  # nothing was changed


@pytest.mark.slow
def test_weights_of_wrong_labels_do_not_pass():
    """They are lifted as much as the truth lifts conflicting samples, and nothing can be learnt from them."""
    split, rng = digits(0.1), np.random.default_rng(0)
    wrong = rng.random(len(split)) < 0.05
    labels = np.where(wrong, (split.labels + rng.integers(1, 10, len(split))) % 10, split.labels)
    found = trial(replace(split, labels=labels), [balanced_weights(labels, wrong)], seed=0)
    assert found.chosen is None
    assert found.gains[0] < -found.errors[0]


def test_doubted_are_lifted_and_excluded_if_enough_are_confirmed():
    rng = np.random.default_rng(0)
    for confirmed, classes, believed in ((8, 4, False), (9, 4, True), (9, 5, False)):
        weights = np.where(np.arange(100) < 40, 2.0, 0.5)
        right, out = np.arange(100) >= 100 - 30, np.isin(np.arange(100), [0, 1, 2, 3, 4, 5, 50, 51])
        right[20 : 20 + confirmed] = True
        order = rng.permutation(100)
        found = doubted(weights[order], right[order], out[order], classes)
        np.testing.assert_array_equal(np.sort(order[found]), np.arange(6) if believed else [])


def test_the_doubted_count_as_the_lightest_of_their_class():
    labels, groups = np.array([0, 0, 0, 0, 1, 1, 1]), np.array([7, 7, 3, 4, 1, 0, 5])
    weights = np.array([0.25, 0.25, 2.0, 1.5, 0.5, 1.0, 1.5])
    out = let_go(Estimate(weights, groups=groups), np.array([0, 0, 1, 0, 0, 0, 1], bool), labels)
    np.testing.assert_allclose(out.weights, [4 / 9, 4 / 9, 4 / 9, 24 / 9, 0.75, 1.5, 0.75])
    np.testing.assert_array_equal(out.groups, [7, 7, 7, 4, 1, 0, 1])
    np.testing.assert_array_equal(weights, [0.25, 0.25, 2.0, 1.5, 0.5, 1.0, 1.5])
    np.testing.assert_array_equal(groups, [7, 7, 3, 4, 1, 0, 5])


@pytest.mark.slow
def test_wrong_labels_are_doubted_and_conflicting_samples_are_not():
    split, rng = digits(0.9), np.random.default_rng(0)
    wrong, conflicting = rng.random(len(split)) < 0.03, split.labels != split.attributes
    labels = np.where(wrong, (split.labels + rng.integers(1, 10, len(split))) % 10, split.labels)
    weights = balanced_weights(labels, split.attributes)
    found = trial(replace(split, labels=labels), [weights], seed=0)
    assert found.chosen == 0
    assert found.doubted[wrong & (weights > 1)].mean() > 0.8
    assert found.doubted[conflicting & ~wrong].mean() < 0.15
    assert not found.doubted[weights <= 1].any()


def test_published_weights_keep_the_doubted(few_digits, tried):
    split = few_digits()
    tried(Trial([0.1], [0.01], 0, doubted=np.arange(len(split)) < 9))
    columns = columns_of(split) | {"logits": np.random.default_rng(2).normal(size=(len(split), 3)).astype(np.float32)}
    for asked in (
        {"kind": "spare", "surrogate": "s", "clusters": 2},
        {"kind": "group_balanced", "surrogate": "s", "groups": "clusters", "clusters": 2},
    ):
        untried, found = (estimate_weights({**asked, "trial": wanted}, columns, split) for wanted in (False, True))
        assert found.groups is not None
        assert "trial_doubted" not in found.diagnostics
        np.testing.assert_array_equal(found.weights, untried.weights)


def test_predicted_groups_lose_the_doubted(few_digits, tried):
    split = few_digits()
    out = np.arange(len(split)) < 2
    tried(Trial([0.1], [0.01], 0, doubted=out))
    columns = columns_of(split) | {"logits": 9 * np.eye(10, dtype=np.float32)[split.attributes]}
    fixed = {**KDE, "variance": 0.1, "trial": True}
    assert "trial_doubted" not in estimate_weights(fixed, columns, split).diagnostics
    settings = {"kind": "group_balanced", "surrogate": "s", "groups": "predicted", "trial": None}
    columns["label"] = np.where(out, (split.labels + 1) % 3, split.labels)  # their labels are contradicted
    kept = estimate_weights({**settings, "trial": False}, columns, split)
    found = estimate_weights(settings, columns, replace(split, labels=columns["label"]))
    assert found.diagnostics["trial_doubted"] == 2
    assert (found.weights < kept.weights)[out].all()
    assert (found.groups[~out] == kept.groups[~out]).all()


def test_a_trial_is_the_same_again_and_looks_at_no_attribute(few_digits, monkeypatch):
    monkeypatch.setattr(module, "STEPS", 5)
    split = few_digits()
    weights = np.random.default_rng(0).exponential(size=len(split))
    blind = replace(split, attributes=None)
    once, again = trial(split, [weights], seed=3), trial(blind, [weights], seed=3)
    assert (once.gains, once.errors) == (again.gains, again.errors)
    assert once.gains != trial(split, [weights], seed=4).gains


@pytest.fixture
def tried(monkeypatch):
    """Put a result in place of the trial; what was tried is listed."""
    seen = []

    def put(result):
        monkeypatch.setattr(estimation, "trial", lambda split, candidates, **asked: seen.append(candidates) or result)
        return seen

    return put


def columns_of(split):
    rng = np.random.default_rng(1)
    return {"embedding": rng.normal(size=(len(split), 4)).astype(np.float32), "label": split.labels}


@pytest.mark.parametrize(("clip", "used"), [(None, 0.02), (0.01, 0.02), (0.1, 0.1)])
def test_the_kernel_that_passes_is_taken(few_digits, tried, clip, used):
    split = few_digits()
    seen = tried(Trial([0.1, 0.3, 0.2, 0, 0, 0], [0.01] * 6, 1))
    columns = columns_of(split)
    found = estimate_weights({**KDE, "clip": clip}, columns, split)
    fixed = {name: value for name, value in KDE.items() if name not in ("kind", "surrogate", "trial")}
    expected = kde.estimate(columns, **{**fixed, "variance": 0.2, "clip": used})
    np.testing.assert_array_equal(found.weights, expected.weights)
    assert found.diagnostics["trial_chosen"] == 1
    assert len(seen[0]) == len(kde.TRIED)


def test_what_does_not_pass_is_uniform_and_it_is_said(few_digits, tried, log_lines):
    split = few_digits()
    tried(Trial([0.1] * 6, [0.2] * 6, None))
    found = estimate_weights(KDE, columns_of(split), split)
    np.testing.assert_array_equal(found.weights, 1)
    assert "they find no bias, and all samples count alike" in log_lines[0]


@pytest.mark.parametrize(("variance", "wanted", "count"), [(0.1, None, 0), (0.1, True, 1), ("trial", False, 0)])
def test_published_weights_are_tried_on_demand_only(few_digits, tried, variance, wanted, count):
    split = few_digits()
    seen = tried(Trial([0.1], [0.01], 0))
    estimate_weights({**KDE, "variance": variance, "trial": wanted}, columns_of(split), split)
    assert len(seen) == count


def test_groups_that_do_not_pass_are_one_a_class(few_digits, tried, log_lines):
    split = few_digits()
    tried(Trial([-0.1], [0.01], None))
    settings = {"kind": "fairdd", "surrogate": "s", "groups": "predicted", "trial": None}
    columns = {"label": split.labels, "logits": 9 * np.eye(10, dtype=np.float32)[split.attributes]}
    found = estimate_weights(settings, columns, split)
    np.testing.assert_array_equal(found.groups, split.labels)
    assert isinstance(found, Estimate)
    untried = estimate_weights({**settings, "trial": False}, columns, split)
    np.testing.assert_array_equal(untried.groups, split.attributes)


@pytest.mark.parametrize("kind", ["contradiction", "group_balanced"])
@pytest.mark.parametrize("confidence", [9.0, 0.5])
def test_a_trial_is_told_the_seed_and_the_evidence(few_digits, monkeypatch, kind, confidence):
    split, asked = few_digits(), []
    monkeypatch.setattr(estimation, "trial", lambda *_, **told: asked.append(told) or Trial([0.0], [0.1], None))
    columns = columns_of(split) | {"logits": confidence * np.eye(10, dtype=np.float32)[split.attributes]}
    settings = {"kind": kind, "surrogate": "s", "min_evidence": 0.0, "trial": True}
    settings |= {"groups": "predicted"} if kind == "group_balanced" else {}
    estimate_weights(settings, columns, split, seed=5)
    estimate_weights(KDE, columns, split, seed=6)
    assert asked == [{"seed": 5, "evident": confidence == 9}, {"seed": 6, "evident": False}]


def test_only_ratios_of_weights_within_a_class_count_in_a_trial(few_digits, tried):
    split, rng = few_digits(), np.random.default_rng(0)
    seen = tried(Trial([0.1], [0.2], None))
    given, scale = rng.uniform(0.1, 3, len(split)), np.array([1.0, 1e6, 1e-3])[split.labels]
    for weights in (given, given * scale):
        estimation._tried("mine", [Estimate(weights)], split, 0)
    np.testing.assert_allclose(*(candidates[0] for candidates in seen), rtol=1e-12)


def test_what_was_estimated_is_kept_where_the_weights_fail(few_digits, tried):
    split = few_digits()
    tried(Trial([0.1] * 5, [0.2] * 5, None))
    columns = columns_of(split)
    kept, found = (estimate_weights({**KDE, "trial": wanted}, columns, split) for wanted in (False, None))
    np.testing.assert_array_equal(found.log_density, kept.log_density)
    settings = {"kind": "fairdd", "surrogate": "s", "groups": "predicted", "trial": None}
    columns["logits"] = 9 * np.eye(10, dtype=np.float32)[split.attributes]
    told = estimate_weights(settings, columns, split).diagnostics
    assert told == {"evidence": 1, "trial_gains": [0.1] * 5, "trial_errors": [0.2] * 5, "trial_chosen": None}


@pytest.mark.parametrize(("kernel", "per"), [("exponential", "class"), ("gaussian", "data_set")])
def test_every_variance_is_tried_with_the_kernel_and_the_samples_asked_for(few_digits, kernel, per):
    columns = columns_of(few_digits())
    options = {"temperature": 1.0, "leave_one_out": True, "chunk_size": 64, "kernel": kernel, "per": per}
    found = kde.estimate(columns, variance="trial", clip=None, **options)
    for one, variance in zip(found, kde.TRIED, strict=True):
        alone = kde.estimate(columns, variance=variance, clip=0.02, **options)
        np.testing.assert_array_equal(one.log_density, alone.log_density)
        np.testing.assert_array_equal(one.weights, alone.weights)


def test_classifiers_that_are_always_right_are_no_evidence(few_digits, monkeypatch):
    split = few_digits()
    right = np.ones(len(split)), np.zeros(len(split), bool)
    monkeypatch.setattr(module, "_right", lambda *_: right)
    assert not trial(split, [np.ones(len(split))], seed=0).evident


def test_doubted_are_samples_of_the_candidate_that_is_taken(few_digits, monkeypatch):
    split = few_digits()
    number = np.arange(len(split))
    weights = [np.where(number < 30, 0.5, 1.5), np.where(number < 30, 1.5, 0.5)]
    none, first = np.zeros(len(split), bool), number < 2
    answers = [(number * 0.0, none), (number * 0.0, number > 50), (np.where(first, 0.0, 1.0), first)]
    monkeypatch.setattr(module, "_right", lambda *_: answers.pop(0))
    found = trial(split, weights, seed=0)
    assert found.chosen == 1
    np.testing.assert_array_equal(found.doubted, first)
