"""Herding and k-center against plain greedy loops; what debias weights change; the embedding they work in."""

import numpy as np
import pytest
import torch
from ddbias.debias.real_side import RealSettings, RealSide
from ddbias.distill.controls import herding, kcenter
from ddbias.distill.controls.trained_embedding import trained_embedding
from ddbias.learning import networks
from ddbias.learning.training import predict
from hypothesis import given, settings
from hypothesis import strategies as st

CPU = torch.device("cpu")
NETWORK = {"kind": "convnet", "width": 8, "depth": 1}
SETTINGS = {"epochs": 2, "batch_size": 16, "learning_rate": 0.01}
MODULES = {"herding": herding, "kcenter": kcenter}

pytestmark = pytest.mark.usefixtures("one_thread")


def side_of(split, weights=None):
    weights = np.ones(len(split)) if weights is None else weights
    return RealSide(split.labels, RealSettings(weights), batch_size=1, seed=0)


def chosen(kind, split, weights=None, ipc=4, seed=0, **changes):
    options = {"settings": {**SETTINGS, **changes}, "network": NETWORK, "device": CPU}
    return MODULES[kind].Selection(split, side_of(split, weights), seed=seed, **options).select(ipc)


def uneven(count, seed=0):
    return np.random.default_rng(seed).exponential(size=count) ** 2


def plain_herding(points, weights, count):
    """Try every remaining point and keep the one that leaves the mean of the chosen nearest to the weighted mean."""
    mean, picked = np.average(points, axis=0, weights=weights), []
    for _ in range(count):
        rest = [i for i in range(len(points)) if i not in picked]
        gaps = [np.linalg.norm(mean - points[[*picked, i]].mean(0)) for i in rest]
        picked.append(rest[int(np.argmin(gaps))])
    return picked


def plain_kcenter(points, mean, count):
    """Take the point whose nearest centre is farthest, from the definition."""
    picked = [int(np.argmin([np.linalg.norm(point - mean) for point in points]))]
    while len(picked) < count:
        rest = [i for i in range(len(points)) if i not in picked]
        gaps = [min(np.linalg.norm(points[i] - points[j]) for j in picked) for i in rest]
        picked.append(rest[int(np.argmax(gaps))])
    return picked


# ---- the greedy choice ----------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 12), st.booleans())
def test_herding_is_the_plain_greedy_loop(seed, count, equal):
    generator = np.random.default_rng(seed)
    points = generator.normal(size=(12, 5))
    weights = np.ones(12) if equal else generator.exponential(size=12)
    found = herding.herd(torch.from_numpy(points), torch.from_numpy(weights), count)
    assert found.tolist() == plain_herding(points, weights, count)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10_000), st.integers(1, 12))
def test_kcenter_is_the_plain_greedy_loop(seed, count):
    generator = np.random.default_rng(seed)
    points, mean = generator.normal(size=(12, 5)), generator.normal(size=5)
    found = kcenter.centres(torch.from_numpy(points), torch.from_numpy(mean), count)
    assert found.tolist() == plain_kcenter(points, mean, count)


def test_equal_samples_are_never_chosen_twice():
    points = torch.tensor([[1.0, 2.0]] * 5 + [[3.0, 0.0]] * 5, dtype=torch.float64)
    for found in (
        herding.herd(points, torch.ones(10, dtype=torch.float64), 10),
        kcenter.centres(points, points.mean(0), 10),
    ):
        assert sorted(found.tolist()) == list(range(10))


def test_herding_scales_no_weights():
    points, weights = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)).double(), torch.rand(9).double()
    assert herding.herd(points, weights, 5).tolist() == herding.herd(points, 7 * weights, 5).tolist()


def test_integer_weights_are_repeated_samples():
    """The target of herding under weights is the mean of a class in which samples are repeated."""
    points = np.random.default_rng(3).normal(size=(8, 4))
    times = np.array([1, 3, 1, 2, 5, 1, 1, 4])
    repeated = np.repeat(points, times, axis=0)
    first = herding.herd(torch.from_numpy(points), torch.from_numpy(times).double(), 1)
    assert first[0] == np.linalg.norm(points - repeated.mean(0), axis=1).argmin()


# ---- whole selections -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "weighted"), [("herding", False), ("herding", True), ("kcenter", False)])
def test_a_selection_of_a_split_works_in_the_trained_embedding(split, kind, weighted):
    weights = uneven(len(split)) if weighted else np.ones(len(split))
    embed = trained_embedding(split, settings=SETTINGS, network=NETWORK, seed=0, device=CPU)
    for label, part in enumerate(chosen(kind, split, weights).split(4)):
        members = np.flatnonzero(split.labels == label)
        points = embed(torch.from_numpy(members)).numpy()
        herded = kind == "herding"
        wanted = plain_herding(points, weights[members], 4) if herded else plain_kcenter(points, points.mean(0), 4)
        assert part.tolist() == members[wanted].tolist()


@pytest.mark.parametrize("kind", MODULES)
def test_rows_are_different_of_their_class_and_depend_on_seed_and_training(split, kind):
    rows = chosen(kind, split, ipc=20)  # all there are
    assert sorted(rows.tolist()) == list(range(60))
    rows = chosen(kind, split)
    assert split.labels[rows.numpy()].tolist() == [c for c in range(3) for _ in range(4)]
    assert chosen(kind, split).tolist() == rows.tolist()
    assert chosen(kind, split, seed=1).tolist() != rows.tolist()
    assert chosen(kind, split, epochs=20, learning_rate=0.1).tolist() != rows.tolist()


@pytest.mark.parametrize("kind", MODULES)
def test_equal_weights_are_no_weights(split, kind):
    assert chosen(kind, split, np.full(len(split), 0.3)).tolist() == chosen(kind, split).tolist()


@pytest.mark.parametrize("kind", MODULES)
def test_weights_decide_what_is_selected(split, kind):
    """All mass on five images of each class: k-center has no other candidates, herding has their mean as target."""
    weights = np.where(np.arange(len(split)) % 20 < 5, 1.0, 0.0)
    rows = chosen(kind, split, weights, ipc=3)
    assert rows.tolist() != chosen(kind, split, ipc=3).tolist()
    if kind == "kcenter":
        assert (weights[rows.numpy()] == 1).all()
    more = chosen(kind, split, weights, ipc=9)
    assert len(set(more.tolist())) == 27


def test_candidates_are_as_many_as_the_weights_are_worth_and_follow_them():
    labels = np.zeros(1000, np.int64)
    weights = np.where(np.arange(1000) < 50, 19.0, 1.0)  # 5 % conflicting samples with half of the mass
    side = RealSide(labels, RealSettings(weights), batch_size=1, seed=0)
    drawn = kcenter.candidates(side, 0, 10, seed=0)
    assert len(drawn) == round(1900**2 / (50 * 19**2 + 950))
    assert len(set(drawn.tolist())) == len(drawn)
    assert drawn.tolist() == sorted(drawn.tolist())
    assert (drawn < 50).sum() > 40  # of 50; a uniform draw would hold about 10
    assert len(kcenter.candidates(side, 0, 400, seed=0)) == 400  # never fewer than images are asked for
    assert kcenter.candidates(side, 0, 10, seed=1).tolist() != drawn.tolist()
    even = RealSide(labels, RealSettings.plain(1000), batch_size=1, seed=0)
    assert kcenter.candidates(even, 0, 10, seed=0).tolist() == list(range(1000))


def test_on_real_digits_each_does_what_it_is_for(few_digits):
    """Against 50 random draws: herding is nearest to the weighted mean, k-center leaves nobody far away."""
    split = few_digits(per_class=60)
    weights = uneven(len(split))
    embed = trained_embedding(split, settings=SETTINGS, network=NETWORK, seed=0, device=CPU)
    herded, covering = chosen("herding", split, weights, ipc=10), chosen("kcenter", split, ipc=10)
    for label in range(3):
        members = np.flatnonzero(split.labels == label)
        points = embed(torch.from_numpy(members)).numpy()
        mean = np.average(points, axis=0, weights=weights[members])

        def gap(rows, members=members, points=points, mean=mean):
            return np.linalg.norm(points[np.searchsorted(members, rows)].mean(0) - mean)

        def radius(rows, members=members, points=points):
            there = points[np.searchsorted(members, rows)]
            return np.linalg.norm(points[:, None] - there[None], axis=2).min(1).max()

        draws = [np.random.default_rng(i).choice(members, 10, replace=False) for i in range(50)]
        assert gap(herded.split(10)[label].numpy()) < min(map(gap, draws))
        assert radius(covering.split(10)[label].numpy()) < min(map(radius, draws))


# ---- the embedding --------------------------------------------------------------------------------------------------


def test_the_embedding_is_that_of_a_network_that_learnt_the_labels(split, monkeypatch):
    built, build = [], networks.build
    monkeypatch.setattr(networks, "build", lambda *args, **options: built.append(build(*args, **options)) or built[-1])
    options = {"epochs": 60, "batch_size": 16, "learning_rate": 0.05}
    embed = trained_embedding(split, settings=options, network=NETWORK, seed=0, device=CPU)
    (model,) = built
    images, labels = split.tensors()
    assert (predict(model, images, prepare=split.normalize) == labels).float().mean() > 0.9
    rows = torch.tensor([5, 40, 5])
    features = embed(rows)
    assert features.dtype == torch.float64
    assert not features.requires_grad
    torch.testing.assert_close(features.float(), model.embed(split.normalize(images[rows])), rtol=1e-6, atol=1e-6)
    assert torch.equal(features[0], features[2])


def test_an_embedding_depends_on_its_image_alone(split):
    """With batch norm, too: the network is in evaluation mode."""
    network = {**NETWORK, "norm": "batch"}
    embed = trained_embedding(split, settings=SETTINGS, network=network, seed=0, device=CPU)
    together, alone = embed(torch.arange(8)), torch.cat([embed(torch.tensor([i])) for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)
