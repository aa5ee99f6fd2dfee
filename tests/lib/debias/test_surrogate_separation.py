"""The label-free criterion against plain loops and scipy, and the early stopping that it decides."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from ddbias.debias import surrogate
from ddbias.debias.surrogate import early_stopping
from ddbias.debias.surrogate.separation import bimodality, margins, separation
from ddbias.runtime.checkpoint import Checkpoint
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KernelDensity

CPU = torch.device("cpu")


def sphere(count, dimensions, seed=0):
    points = np.random.default_rng(seed).normal(size=(count, dimensions))
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def slow_margin(points, labels, i):
    """Means of cosine similarities over single pairs."""
    alike = [points[i] @ points[j] for j in range(len(points)) if j != i and labels[j] == labels[i]]
    others = {
        k: [points[i] @ points[j] for j in range(len(points)) if labels[j] == k] for k in set(labels) - {labels[i]}
    }
    nearest = max((sum(values) / len(values) for values in others.values()), default=0.0)
    return (sum(alike) / len(alike) if alike else 0.0) - nearest


@given(st.lists(st.sampled_from([0, 2, 3, 7]), min_size=1, max_size=12), st.integers(0, 100))
@settings(max_examples=50, deadline=None)
def test_margins_are_their_definition(labels, seed):
    points = sphere(len(labels), 3, seed)
    expected = [slow_margin(points, labels, i) for i in range(len(labels))]
    np.testing.assert_allclose(margins(points, np.array(labels)), expected, atol=1e-12)


@pytest.mark.parametrize("name", ["normal", "uniform", "exponential"])
def test_bimodality_is_that_of_the_moments(name):
    values = getattr(np.random.default_rng(0), name)(size=200_000)
    expected = (stats.skew(values) ** 2 + 1) / stats.kurtosis(values, fisher=False)
    assert bimodality(values) == pytest.approx(expected, rel=1e-9)
    known = {"normal": 1 / 3, "uniform": 5 / 9, "exponential": 5 / 9}[name]
    assert bimodality(values) == pytest.approx(known, rel=0.03)


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0.1, 100), st.floats(-50, 50))
@settings(max_examples=50, deadline=None)
def test_two_points_are_as_bimodal_as_can_be_whatever_their_shares_scale_and_place(few, many, scale, shift):
    values = np.repeat([0.0, 1.0], [few, many])
    assert bimodality(values * scale + shift) == pytest.approx(1 if few + many >= 4 else 0, abs=1e-6)


@given(st.lists(st.floats(-2, 2), min_size=0, max_size=30).filter(len))
@settings(max_examples=100, deadline=None)
def test_bimodality_is_a_number_from_0_to_1(values):
    assert 0 <= bimodality(np.array(values)) <= 1 + 1e-9


def test_separation_is_the_mean_over_the_classes():
    labels = np.array([4] * 10 + [1] * 30 + [2])
    scores = np.random.default_rng(0).normal(size=41)
    expected = (bimodality(scores[:10]) + bimodality(scores[10:40]) + 0) / 3
    assert separation(scores, labels) == pytest.approx(expected, rel=1e-12)


def colours_and_shapes(share, conflicting=0.05, count=3000):
    """An embedding that shows the attribute, and with a growing `share` the label; the labels and who conflicts."""
    generator = np.random.default_rng(1)
    labels = generator.integers(5, size=count)
    conflicts = generator.random(count) < conflicting
    attributes = np.where(conflicts, (labels + generator.integers(1, 5, size=count)) % 5, labels)
    seen = (1 - share) * np.eye(5)[attributes] + share * np.eye(5)[labels]
    points = seen + 0.15 * generator.normal(size=(count, 5))
    return points / np.linalg.norm(points, axis=1, keepdims=True), labels, conflicts


def test_separation_falls_as_the_labels_are_learnt_and_rises_as_the_bias_is():
    found, truth = [], []
    for share in (0.0, 0.3, 0.5, 0.7, 1.0):
        points, labels, conflicts = colours_and_shapes(share)
        scores = margins(points, labels)
        found.append(separation(scores, labels))
        truth.append(roc_auc_score(conflicts, -scores))
    assert found == sorted(found, reverse=True)
    assert truth == sorted(truth, reverse=True)
    assert found[0] > 0.8
    assert found[-1] < 0.5
    points, labels, _ = colours_and_shapes(0.0)
    noise = sphere(len(points), 5, seed=2)
    blurred = [
        separation(margins(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), labels), labels)
        for mixed in ((1 - amount) * points + amount * noise for amount in (0.0, 0.4, 0.8))
    ]
    assert blurred == sorted(blurred, reverse=True)


# ---------------------------------------------------------------------------------------------------- early stopping

NETWORK = {"kind": "convnet", "width": 8, "depth": 2}
SETTINGS = {"kind": "cross_entropy", "epochs": 1, "steps": 25, "batch_size": 16, "learning_rate": 0.05, "momentum": 0.9}
SETTINGS |= {"weight_decay": 1e-4, "augment": "none", "early_stopping": True, "check_every": 4}


def fit(split, **changed):
    return surrogate.train_surrogate(
        split, network=NETWORK, settings=SETTINGS | changed, seed=0, device=CPU, checkpoint=Checkpoint(None)
    )


@pytest.fixture(scope="module")
def split(few_digits):
    return few_digits(classes=4, per_class=25)


@pytest.fixture(scope="module")
def stopped(split):
    return fit(split)


def test_the_state_of_the_best_separation_is_kept(split, stopped):
    """A run that ends at that step gives the same network; `auc` and `separation` are those of its embedding."""
    objective, history = stopped
    measured = [step for step in history["step"] if step % 4 == 0 or step == 25]
    assert history["step"][np.isfinite(history["separation"])].tolist() == measured
    assert np.isfinite(history["loss"]).all()
    best = int(history["step"][np.nanargmax(history["separation"])])
    until, _ = fit(split, steps=best, early_stopping=False)
    for name, value in until.model.state_dict().items():
        assert torch.equal(value, objective.model.state_dict()[name])
    found = margins(surrogate.embed(objective, split, device=CPU)["embedding"], split.labels)
    assert history["separation"][best - 1] == pytest.approx(separation(found, split.labels), rel=1e-9)
    assert history["auc"][best - 1] == pytest.approx(roc_auc_score(split.conflicting, -found), rel=1e-9)


def test_the_weight_of_conflicting_samples_is_that_of_inverse_densities(split, stopped):
    objective, history = stopped
    points = surrogate.embed(objective, split, device=CPU)["embedding"].astype(np.float64)
    weights = np.empty(len(split))
    for label in range(4):
        members = split.labels == label
        density = KernelDensity(bandwidth=0.02**0.5).fit(points[members]).score_samples(points[members])
        inverse = np.exp(-np.maximum(density, np.quantile(density, 0.01)))
        weights[members] = inverse / inverse.mean()
    share = weights[split.conflicting].sum() / weights.sum()
    best = int(np.nanargmax(history["separation"]))
    assert history["conflicting_share"][best] == pytest.approx(share, rel=1e-6)


def test_looking_changes_nothing_but_the_choice(split, stopped):
    _, without = fit(split, early_stopping=False)
    np.testing.assert_array_equal(without["loss"], stopped[1]["loss"])


def test_attributes_give_the_auc_and_decide_nothing(split, stopped):
    swapped = dataclasses.replace(split, attributes=split.attributes[::-1].copy())
    for other in (swapped, dataclasses.replace(split, attributes=None)):
        objective, history = fit(other)
        np.testing.assert_array_equal(history["separation"], stopped[1]["separation"])
        assert not np.array_equal(history["auc"], stopped[1]["auc"], equal_nan=True)
        for name, value in objective.model.state_dict().items():
            assert torch.equal(value, stopped[0].model.state_dict()[name])
    assert np.isnan(history["auc"]).all()
    assert np.isnan(history["conflicting_share"]).all()


def test_the_last_step_is_measured_even_if_it_is_the_only_one(split):
    _, history = fit(split, steps=3, check_every=10)
    assert np.isfinite(history["separation"]).tolist() == [False, False, True]


def test_a_fixed_part_of_a_large_split_is_looked_at(split, monkeypatch):
    monkeypatch.setattr(early_stopping, "IMAGES", 30)
    looked = []
    embed = early_stopping.embed
    monkeypatch.setattr(
        early_stopping, "embed", lambda o, part, **options: (looked.append(part.index), embed(o, part, **options))[1]
    )
    fit(split)
    assert len(looked) == 7
    assert len(set(looked[0])) == 30
    assert all(np.array_equal(rows, looked[0]) for rows in looked)
    assert set(looked[0]) <= set(split.index)
