"""What pixels are normalised with, and what that does to a step of a distiller."""

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.data.split import channel_statistics
from ddbias.datasets import normalisation
from ddbias.datasets.synthesis import synthesize_dataset
from ddbias.debias.real_side import RealSettings
from ddbias.distill import engine
from ddbias.runtime.checkpoint import Checkpoint

pytestmark = pytest.mark.slow

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), dtype=np.uint8)


@pytest.mark.parametrize(
    ("asked", "published", "expected"),
    [
        (None, "own", channel_statistics(IMAGES)),
        (None, "none", ([0] * 3, [1] * 3)),
        (None, (0.5, 0.25), ([0.5] * 3, [0.25] * 3)),
        (None, ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])),
        (None, ((0.1, 0.2), (0.4, 0.5)), channel_statistics(IMAGES)),  # published for another number of channels
        ("own", (0.5, 0.5), channel_statistics(IMAGES)),
        ([0.5, [0.1, 0.2, 0.3]], "own", ([0.5] * 3, [0.1, 0.2, 0.3])),
    ],
)
def test_constants_are_those_asked_for_else_the_published_ones(asked, published, expected):
    assert normalisation.constants(asked, published, IMAGES) == expected


@pytest.mark.parametrize("asked", ["mine", [0.5], [[0.1, 0.2], 0.5], [0.5, 0], [0.5, [0.5, -1, 0.5]]])
def test_wrong_constants_are_refused(asked):
    with pytest.raises(DdbiasError, match="normalise"):
        normalisation.constants(asked, "own", IMAGES)


def made(source="digits", bias=None, **more):
    settings = {"ratio": 0.9, "test": "balanced", "seed": 0, "data": {"root": "data", "mirrors": []}, **more}
    bias = bias or {"kind": "foreground", "severity": 1}
    return synthesize_dataset(source={"kind": source}, bias=bias, **settings)


def test_a_bias_declares_what_its_published_code_does():
    train, test = made()
    assert (train.meta["mean"], train.meta["std"]) == ([0] * 3, [1] * 3)
    assert (train.meta["own_mean"], train.meta["own_std"]) == channel_statistics(train.images)
    assert test.meta["std"] == train.meta["std"]
    assert made(bias={"kind": "c_mnist", "where": "background"})[0].meta["std"] == [0.5] * 3
    plain, _ = made(bias={"kind": "none"}, ratio=None, test="natural")
    assert plain.meta["mean"] == channel_statistics(plain.images)[0]
    assert made(normalise=[0.1, 0.2])[0].meta["std"] == [0.2] * 3


@pytest.mark.usefixtures("one_thread")
@pytest.mark.thorough
@pytest.mark.parametrize(
    ("source", "bias", "ratio"),
    [
        ("mnist", {"kind": "c_mnist", "where": "foreground"}, 0.23),
        ("mnist", {"kind": "c_mnist", "where": "background"}, 0.89),
        ("mnist", {"kind": "foreground", "severity": 1}, 0.028),
    ],
)
def test_own_statistics_shorten_a_step_of_the_published_learning_rate(data_home, source, bias, ratio):
    """Measured with the public codes' constants: width 32, ten images per class, learning rate 1, one step."""
    split, _ = made(source, bias, data={"root": str(data_home), "mirrors": []})

    def step(constants):
        one = type(split)(split.images, split.labels, split.attributes, split.index, {**split.meta, **constants})
        return engine.run(
            one,
            real=RealSettings.plain(len(one)),
            settings={"kind": "dm", "iterations": 1, "real_batch": 256, "learning_rate": 1.0, "momentum": 0.5}
            | {"init": "real", "augment": "none"},
            network={"kind": "convnet", "width": 32},
            ipc=10,
            seed=0,
            device=torch.device("cpu"),
            precision="exact",
            checkpoint=Checkpoint(None),
        ).record["moved"]

    own = step({"mean": split.meta["own_mean"], "std": split.meta["own_std"]})
    assert own / step({}) == pytest.approx(ratio, rel=0.1)


@pytest.mark.parametrize("asked", [[125.3, 0.2], [-0.1, 0.5], [0.5, 63.0], [[0.1, 0.2, 1.5], 0.5]])
def test_constants_of_pixels_up_to_255_are_refused(asked):
    with pytest.raises(
        DdbiasError, match=r"means of pixels in 0\.\.1 are from 0 to 1, deviations above 0 and at most 1"
    ):
        normalisation.constants(asked, "own", np.zeros((1, 3, 2, 2), np.uint8))
