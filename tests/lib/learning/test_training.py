"""The training loop: lengths as published, and equality with a plain loop around torch's optimiser."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.data.soft_labels import SoftLabels
from ddbias.data.split import normalize
from ddbias.learning import networks, training
from ddbias.learning.augment.cutmix import CutMix
from ddbias.learning.training import Recipe, epoch_phases, predict, shuffled_batches, step_phases, train
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

COUNT = 23
RECIPE = Recipe(learning_rate=0.05, batch_size=8)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.randn(COUNT, 1, 8, 8, generator=generator(5))


@pytest.fixture
def labels():
    return torch.arange(COUNT) % 3


def network(seed=0, name="convnet"):
    return networks.build(name, channels=1, size=8, classes=3, seed=seed, width=4, depth=2)


def weights(model):
    return torch.cat([value.double().flatten() for value in model.state_dict().values()])


def trained(images, labels, *, seed=0, recipe=RECIPE, name="convnet", **length):
    model = network(name=name)
    train(model, images, labels, recipe=recipe, generator=generator(seed), **length)
    return model


# --------------------------------------------------------------------------------------------------------- lengths


@pytest.mark.parametrize(
    ("epochs", "phases"), [(300, [152, 149]), (1000, [502, 499]), (1500, [752, 749]), (1, [2, 0]), (0, [1, 0])]
)
def test_epochs_at_each_rate_are_the_published_ones(epochs, phases):
    assert epoch_phases(epochs) == phases


@given(st.integers(0, 3000))
def test_epochs_follow_the_published_loop(epochs):
    rates, rate = [], 1
    for epoch in range(epochs + 1):
        rates.append(rate)
        if epoch == epochs // 2 + 1:
            rate = 2
    assert epoch_phases(epochs) == [rates.count(1), rates.count(2)]


@given(st.integers(0, 10_000))
def test_steps_are_halved(steps):
    first, second = step_phases(steps)
    assert first + second == steps
    assert first - second in (0, 1)


@pytest.mark.parametrize("length", [{"epochs": 3}, {"steps": 6}])
def test_a_constant_schedule_is_plain_sgd_for_so_many_epochs(length, images, labels):
    images, labels = images[:16], labels[:16]
    recipe = Recipe(learning_rate=0.05, batch_size=8, schedule="constant")
    found = trained(images, labels, recipe=recipe, **length)
    model, order = network(), generator(0)
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(3):
        for batch in torch.randperm(16, generator=order).split(8):
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimiser.step()
    for ours, theirs in zip(found.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-7)


@pytest.mark.parametrize("schedule", training.SCHEDULES)
def test_adam_takes_the_place_of_sgd_at_one_rate(images, labels, schedule):
    recipe = Recipe(learning_rate=0.05, batch_size=8, schedule=schedule)
    # Without a norm, before which biases have no gradient, which Adam would make steps of noise from.
    options = {"channels": 1, "size": 8, "classes": 3, "seed": 0, "width": 4, "depth": 2, "norm": "none"}
    found, model, batches = *(networks.build("convnet", **options) for _ in range(2)), []
    train(found, images, labels, recipe=recipe, generator=generator(0), steps=9, adam=1e-3)
    model.train()
    optimiser, order = torch.optim.Adam(model.parameters(), lr=1e-3), generator(0)
    for phase in training.phase_steps(COUNT, recipe, epochs=None, steps=9):
        batches += shuffled_batches(COUNT, 8, phase, order)
    for batch in batches:
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
        optimiser.step()
    torch.testing.assert_close(weights(found), weights(model), rtol=0, atol=1e-6)


@pytest.mark.parametrize("epochs", [1, 6, 10])
def test_two_drops_are_the_milestones_of_idc(images, labels, epochs):
    recipe = Recipe(learning_rate=0.05, batch_size=8, schedule="two_drops")
    plain, draws = network(), generator()
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    milestones = [2 * epochs // 3, 5 * epochs // 6]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, milestones, gamma=0.2)
    for _ in range(epochs):
        for batch in torch.randperm(COUNT, generator=draws).split(8):
            optimiser.zero_grad()
            nn.functional.cross_entropy(plain(images[batch]), labels[batch]).backward()
            optimiser.step()
        schedule.step()
    torch.testing.assert_close(weights(trained(images, labels, recipe=recipe, epochs=epochs)), weights(plain))


def test_two_drops_of_a_number_of_steps():
    recipe = Recipe(schedule="two_drops")
    assert training.phase_steps(1000, recipe, epochs=None, steps=100) == [66, 17, 17]


def test_cutmix_is_its_loss_on_the_batches_of_the_loop(images, labels):
    recipe = Recipe(learning_rate=0.05, batch_size=8, schedule="constant", cutmix=0.5)
    plain, draws = network(), generator()
    optimiser = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(3):
        for batch in torch.randperm(COUNT, generator=draws).split(8):
            optimiser.zero_grad()
            CutMix(0.5).loss(plain, images[batch], labels[batch], draws).backward()
            optimiser.step()
    mixed = trained(images, labels, recipe=recipe, epochs=3)
    torch.testing.assert_close(weights(mixed), weights(plain))
    assert not torch.equal(weights(mixed), weights(trained(images, labels, recipe=replace(recipe, cutmix=0), epochs=3)))


def test_cutmix_has_a_loss_of_its_own(images, labels):
    with pytest.raises(ValueError, match="CutMix has a loss of its own"):
        trained(images, labels, recipe=Recipe(cutmix=0.5), epochs=1, loss=lambda *_: None)


def test_unknown_schedule(images, labels):
    with pytest.raises(DdbiasError, match="unknown schedule 'cosine'"):
        trained(images, labels, recipe=Recipe(schedule="cosine"), epochs=1)


@given(st.integers(1, 40), st.integers(1, 50), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_every_sample_is_seen_once_an_epoch(count, batch_size, epochs):
    per_epoch = math.ceil(count / batch_size)
    batches = list(shuffled_batches(count, batch_size, epochs * per_epoch, generator()))
    assert len(batches) == epochs * per_epoch
    assert max(len(batch) for batch in batches) <= batch_size
    for epoch in range(epochs):
        seen = torch.cat(batches[epoch * per_epoch : (epoch + 1) * per_epoch])
        assert seen.sort().values.tolist() == list(range(count))


def test_epochs_are_shuffled_anew_and_cut_where_the_steps_end():
    batches = list(shuffled_batches(20, 20, 3, generator()))
    assert not torch.equal(batches[0], batches[1])
    assert not torch.equal(batches[1], batches[2])
    cut = list(shuffled_batches(20, 6, 5, generator()))
    assert [len(batch) for batch in cut] == [6, 6, 6, 2, 6]
    assert list(shuffled_batches(20, 6, 0, generator())) == []


# ----------------------------------------------------------------------------------------------------------- train


def plain_loop(model, images, labels, recipe, epochs, order):
    """The evaluation loop of dataset condensation as published."""
    rate = recipe.learning_rate

    def make():
        return torch.optim.SGD(model.parameters(), lr=rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay)

    optimiser = make()
    model.train()
    for epoch in range(epochs + 1):
        shuffled = torch.randperm(len(labels), generator=order)
        for start in range(0, len(labels), recipe.batch_size):
            batch = shuffled[start : start + recipe.batch_size]
            optimiser.zero_grad()
            nn.functional.cross_entropy(model(images[batch]), labels[batch]).backward()
            optimiser.step()
        if epoch == epochs // 2 + 1:
            rate *= 0.1
            optimiser = make()


@pytest.mark.parametrize("epochs", [1, 4, 5])
@pytest.mark.parametrize("name", ["convnet", "convnet_bn"])
def test_training_is_the_published_loop(images, labels, epochs, name):
    expected = network(name=name)
    plain_loop(expected, images, labels, RECIPE, epochs, generator(3))
    model = trained(images, labels, epochs=epochs, seed=3, name=name)
    assert torch.equal(weights(model), weights(expected))


def test_a_network_that_was_evaluated_is_trained_all_the_same(images, labels):
    expected, model = network(name="convnet_bn"), network(name="convnet_bn").eval()
    for each in (expected, model):
        train(each, images, labels, recipe=RECIPE, steps=3, generator=generator())
    assert torch.equal(weights(model), weights(expected))


def test_the_optimiser_is_made_anew_when_the_rate_drops(images, labels, monkeypatch):
    made = []

    class Spy(training.SGD):
        def __init__(self, parameters, **options):
            super().__init__(parameters, **options)
            made.append([options["learning_rate"], 0])

        def step(self, loss):
            super().step(loss)
            made[-1][1] += 1

    monkeypatch.setattr(training, "SGD", Spy)
    trained(images, labels, epochs=4)
    assert made == [[0.05, 4 * 3], [pytest.approx(0.005), 1 * 3]]
    made.clear()
    trained(images, labels, steps=7)
    assert made == [[0.05, 4], [pytest.approx(0.005), 3]]


@pytest.mark.parametrize("augment", ["none", "crop_cutout_scale_rotate"])
def test_the_seed_decides_the_result(images, labels, augment):
    recipe = Recipe(learning_rate=0.05, batch_size=8, augment=augment)
    before = torch.random.get_rng_state()
    first, again, other = (trained(images, labels, recipe=recipe, seed=seed, steps=6) for seed in (1, 1, 2))
    assert torch.equal(weights(first), weights(again))
    assert not torch.equal(weights(first), weights(other))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_augmentation_changes_what_is_learnt_but_not_the_images(images, labels):
    kept = images.clone()
    plain = trained(images, labels, steps=4)
    augmented = trained(images, labels, steps=4, recipe=Recipe(learning_rate=0.05, batch_size=8, augment="crop"))
    assert not torch.equal(weights(plain), weights(augmented))
    assert torch.equal(images, kept)


def test_raw_pixels_prepared_batch_by_batch_are_the_same_as_normalised_ones(labels):
    raw = torch.randint(256, (COUNT, 1, 8, 8), generator=generator(), dtype=torch.uint8)

    def prepare(batch):
        return normalize(batch, [0.3], [0.2])

    whole = trained(prepare(raw), labels, steps=6)
    parts = trained(raw, labels, steps=6, prepare=prepare)
    assert torch.equal(weights(whole), weights(parts))
    assert torch.equal(predict(whole, prepare(raw)), predict(parts, raw, prepare=prepare, batch_size=5))


def test_easy_classes_are_learnt(labels):
    images = torch.zeros(COUNT, 1, 8, 8)
    for row, label in enumerate(labels.tolist()):
        images[row, 0, 2 * label] = 1
    model = trained(images, labels, epochs=20)
    assert torch.equal(predict(model, images), labels)


@pytest.mark.parametrize("length", [{}, {"epochs": 1, "steps": 1}])
def test_epochs_or_steps_but_not_both(images, labels, length):
    with pytest.raises(ValueError, match="exactly one of epochs and steps"):
        trained(images, labels, **length)


def test_predictions_do_not_depend_on_the_batch(images, labels):
    model = trained(images, labels, steps=6, name="convnet_bn")
    state = weights(model)
    expected = torch.cat([predict(model, image[None]) for image in images])
    for batch_size in (1, 5, 256):
        assert torch.equal(predict(model, images, batch_size=batch_size), expected)
    assert not model.training
    assert torch.equal(weights(model), state)  # the running statistics are used, not moved


def test_batches_that_cutmix_mixes_have_the_temperature_of_soft_labels():
    images, targets = torch.randn(12, 1, 8, 8, generator=generator(1)), torch.rand(12, 3, generator=generator(2))
    targets, temperature = targets / targets.sum(1, keepdim=True), 4.0
    recipe = Recipe(learning_rate=0.05, batch_size=4, schedule="constant", cutmix=1.0)
    model, plain = (
        networks.build("convnet", channels=1, size=8, classes=3, seed=0, width=4, depth=2) for _ in range(2)
    )
    train(
        model,
        images,
        targets,
        recipe=recipe,
        steps=6,
        generator=generator(),
        criterion=SoftLabels(targets, temperature).loss,
    )

    def loss(logits, wanted):
        return -(temperature**2) * (wanted * (logits / temperature).log_softmax(1)).sum(1).mean()

    optimiser, draws = torch.optim.SGD(plain.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4), generator()
    for _ in range(2):
        for rows in torch.randperm(12, generator=draws).split(4):
            optimiser.zero_grad()
            CutMix(1.0).loss(plain, images[rows], targets[rows], draws, loss).backward()
            optimiser.step()
    for ours, theirs in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)
