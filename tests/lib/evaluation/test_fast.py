"""Evaluation under ``precision: fast``: against float32, where it cannot be had, and what repeats share."""

import numpy as np
import pytest
import torch
from ddbias.base.seeding import stream
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.evaluation import protocol
from ddbias.evaluation.fast import fast_network
from ddbias.learning import device, networks, training
from ddbias.learning.precision import compiling
from ddbias.learning.precision.compiled_network import CompiledNetwork
from ddbias.learning.training import Recipe
from torch import nn
from torch.nn.functional import cross_entropy

CPU = torch.device("cpu")
SMALL = {"kind": "convnet", "width": 32, "depth": 2}  # of config.yaml
PLAIN = {"kind": "none"}
IPC, POINTS = 10, 2.0  # what the mean accuracy of two networks may differ by
needs_fast = pytest.mark.skipif(
    device.machine_obstacle(CPU) is not None, reason=f"no fast path: {device.machine_obstacle(CPU)}"
)

pytestmark = pytest.mark.usefixtures("one_thread")


def small(seed=0, channels=3, **options):
    return networks.build("convnet", channels=channels, size=8, classes=3, seed=seed, width=8, depth=2, **options)


def drawn(count, channels=3):
    return torch.randn(count, channels, 8, 8, generator=stream(0, "images")), torch.arange(count) % 3


def gradients(network, images, labels):
    return torch.autograd.grad(cross_entropy(network(images), labels), list(network.parameters()))


def asked(test, network, *, count=20, debiasing=PLAIN):
    return fast_network(network, test, count=count, batch_size=16, debiasing=debiasing)


# ---- the parts, without rounding and compiler -----------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])  # the published network pads one channel in another way
@pytest.mark.parametrize("count", [1, 10, 33])
def test_micro_batches_give_what_the_whole_batch_gives(count, channels):
    """Filled up or not, of this network or of the one that follows it."""
    images, labels = drawn(count, channels)
    half = CompiledNetwork(small(channels=channels), dtype=torch.float32, compiled=lambda function: function, size=10)
    for seed in (0, 1):
        network = small(seed, channels)
        half.follow(network)
        loss, slopes = half.of_mean(images, labels)
        torch.testing.assert_close(loss, cross_entropy(network(images), labels))
        for given, wanted in zip(slopes, gradients(network, images, labels), strict=True):
            torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(half.logits(images), network(images), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("padding", [{"padding": "same"}, {"padding": 3}, {"padding": 3, "padding_mode": "circular"}])
def test_the_copy_pads_as_the_network_does(padding):
    layer = nn.Sequential(nn.Conv2d(1, 2, 3, **padding))
    images, _ = drawn(2, 1)
    torch.testing.assert_close(compiling.rounded_copy(layer, torch.float32)(images), layer(images))


@pytest.mark.parametrize("length", [{"epochs": 3}, {"steps": 5}])
def test_the_loop_is_the_same_with_gradients_of_another_way(length):
    """Same batches, augmentation, rates and momentum: with autograd's own gradients, the same bits."""
    images, labels = drawn(20)
    recipe, trained = Recipe(learning_rate=0.05, batch_size=8, augment="crop_cutout_scale_rotate"), (small(), small())
    for network, way in zip(
        trained, (None, lambda *batch: (torch.tensor(0.0), gradients(trained[1], *batch))), strict=True
    ):
        options = {"recipe": recipe, "prepare": lambda part: 2 * part, "generator": stream(0, "batches"), **length}
        training.train(network, images, labels, gradients=way, **options)
    for given, wanted in zip(*(network.parameters() for network in trained), strict=True):
        assert torch.equal(given, wanted)


@pytest.mark.parametrize(
    ("counts", "size"), [([100], 25), ([10], 10), ([1], 1), ([256, 244], 32), ([256], 32), ([50], 25), ([256, 1], 16)]
)
def test_micro_batches_are_as_full_as_can_be(counts, size):
    assert compiling.least_filled(counts) == size


# ---- where it cannot be had -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("network", "debiasing", "compiler", "reason"),
    [
        (small, {"kind": "lff"}, "c++", "debiasing lff has a loss of its own"),
        (lambda: small().to("meta"), PLAIN, "c++", "networks are not compiled for training on a GPU"),
        (lambda: small(norm="batch"), PLAIN, "c++", "the network has batch norm"),
        (small, PLAIN, None, "there is no C++ compiler"),
    ],
)
def test_an_obstacle_is_told(few_digits, monkeypatch, log_lines, network, debiasing, compiler, reason):
    monkeypatch.setattr(device.shutil, "which", lambda name: compiler)
    assert asked(few_digits("test"), network(), debiasing=debiasing) is None
    assert log_lines == [f"precision fast: {reason}, so the evaluation is computed exactly"]


def test_a_probe_decides(few_digits, monkeypatch, log_lines):
    from torch._dynamo.exc import TorchDynamoException

    def fails(function):
        def call(*given):
            raise TorchDynamoException("no")

        return call

    def wrong(function):
        """Right gradients and wrong logits."""
        if function.__name__ == "_every":
            return function
        return lambda *given: -function(*given)

    monkeypatch.setattr(device, "machine_obstacle", lambda device: None)
    reasons = {fails: "torch cannot compile this network", wrong: "its results for this network differ too much"}
    for compiled in reasons:
        monkeypatch.setattr(compiling, "compiled", compiled)
        assert asked(few_digits("test"), small()) is None
    instead = "so the evaluation is computed exactly"
    assert log_lines == [f"precision fast: {reason}, {instead}" for reason in reasons.values()]
    monkeypatch.setattr(compiling, "compiled", lambda function: function)
    assert asked(few_digits("test"), small()).size == 16  # of 16 and 4 images
    assert len(log_lines) == 2


# ---- all of it ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_fast
@pytest.mark.parametrize("dtype", [pytest.param(torch.bfloat16, marks=pytest.mark.thorough), torch.float32])
def test_accuracy_is_that_of_exact_within_points_with_one_compilation(multiply_in, log_lines, dtype):
    from torch._dynamo.utils import counters

    multiply_in(dtype)
    torch.compiler.reset()
    train, test = synthesize_dataset(
        source={"kind": "digits"}, bias={"kind": "none"}, ratio=None, test="natural", size=16, seed=0, data={}
    )
    rows = np.concatenate([np.flatnonzero(train.labels == label)[:IPC] for label in range(10)])
    images, labels = train.normalize(torch.from_numpy(train.images[rows])), torch.from_numpy(train.labels[rows])
    recipe = Recipe(batch_size=64, augment="crop_cutout_scale_rotate")  # batches of 64 and of 36 images

    def counted(fast):
        options = {"network": SMALL, "recipe": recipe, "epochs": 20, "steps": None, "repeats": 2, "seed": 0}
        return protocol.evaluate(images, labels, test, device=CPU, fast=fast, **options).counts

    graphs = counters["stats"]["unique_graphs"]
    first = protocol.build(SMALL, test, CPU, 0, "probe")
    fast = fast_network(first, test, count=len(labels), batch_size=recipe.batch_size, debiasing=PLAIN)
    assert log_lines == []
    exact, given = counted(None), counted(fast)
    np.testing.assert_array_equal(given, counted(fast))  # the same bits
    assert counters["stats"]["unique_graphs"] == graphs + 2  # gradients and logits, for four networks
    assert np.array_equal(exact, given) == (dtype == torch.float32)  # the order of sums changes no prediction here
    accuracy, fast_accuracy = (100 * np.einsum("rakk->", counts) / counts.sum() for counts in (exact, given))
    assert accuracy > 60  # chance is 10: there is something to lose
    assert abs(accuracy - fast_accuracy) < POINTS, (accuracy, fast_accuracy)
