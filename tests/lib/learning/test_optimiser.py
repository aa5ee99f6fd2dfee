"""The optimiser against torch's own, bit for bit."""

from __future__ import annotations

import itertools

import pytest
import torch
from ddbias.learning import networks
from ddbias.learning.optimiser import SGD
from torch import nn

STEPS = 6


def network():
    return networks.build("convnet", channels=1, size=8, classes=3, seed=0, width=4, depth=2)


def losses(model, steps=range(STEPS)):
    """Yield the loss of a fresh batch for every step, each computed when it is asked for."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(10, 1, 8, 8, generator=generator)
        labels = torch.randint(3, (10,), generator=generator)
        yield nn.functional.cross_entropy(model(images), labels)


def identical(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))


@pytest.mark.parametrize(
    ("momentum", "weight_decay", "rate"), list(itertools.product((0, 0.5, 0.9), (0, 5e-4), (0.01, 1.0)))
)
def test_steps_are_those_of_torch_bit_for_bit(momentum, weight_decay, rate):
    ours, theirs = network(), network()
    optimiser = SGD(ours.parameters(), learning_rate=rate, momentum=momentum, weight_decay=weight_decay)
    reference = torch.optim.SGD(theirs.parameters(), lr=rate, momentum=momentum, weight_decay=weight_decay)
    for loss, reference_loss in zip(losses(ours), losses(theirs), strict=True):
        optimiser.step(loss)
        reference.zero_grad()
        reference_loss.backward()
        reference.step()
        assert identical(ours, theirs)
    assert not identical(ours, network())


def test_a_restored_state_goes_on_where_it_was():
    options = {"learning_rate": 0.1, "momentum": 0.9, "weight_decay": 1e-4}
    whole, halves = network(), network()
    optimiser = SGD(whole.parameters(), **options)
    for loss in losses(whole):
        optimiser.step(loss)
    first = SGD(halves.parameters(), **options)
    for loss in losses(halves, range(3)):
        first.step(loss)
    state = {name: tensor.clone() for name, tensor in first.state_dict().items()}
    kept = {name: tensor.clone() for name, tensor in state.items()}
    second = SGD(halves.parameters(), **options)
    second.load_state_dict(state | {"model.weight": torch.zeros(1)})
    for loss in losses(halves, range(3, STEPS)):
        second.step(loss)
    assert identical(whole, halves)
    assert all(torch.equal(state[name], kept[name]) for name in kept)  # the state is a copy


def test_a_state_from_before_the_first_step_starts_over():
    options = {"learning_rate": 0.1, "momentum": 0.9}
    fresh, used = network(), network()
    assert SGD(fresh.parameters(), **options).state_dict() == {}
    optimiser = SGD(used.parameters(), **options)
    optimiser.step(next(losses(used)))
    used.load_state_dict(network().state_dict())
    optimiser.load_state_dict({})
    other = SGD(fresh.parameters(), **options)
    for loss, expected in zip(losses(used), losses(fresh), strict=True):
        optimiser.step(loss)
        other.step(expected)
    assert identical(fresh, used)


def test_without_momentum_there_is_no_state():
    model = network()
    optimiser = SGD(model.parameters(), learning_rate=0.1, momentum=0)
    optimiser.step(next(losses(model)))
    assert optimiser.state_dict() == {}


def test_gradients_are_neither_needed_nor_left_behind():
    model = network()
    optimiser = SGD(model.parameters(), learning_rate=0.1, momentum=0.9)
    optimiser.step(next(losses(model)))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(tensor.requires_grad for tensor in optimiser.state_dict().values())
