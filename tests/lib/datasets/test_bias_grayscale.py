import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.base.groups import counts
from ddbias.data.split import channel_statistics
from ddbias.datasets import bias
from ddbias.datasets.sources.channels import luminance, to_channels
from ddbias.datasets.sources.record import RawImages
from ddbias.datasets.synthesis import synthesize_dataset
from PIL import Image

NAMES = [str(i) for i in range(10)]


def part_of(labels, side=2):
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 3, side, side), np.uint8)
    return RawImages(images, np.asarray(labels), NAMES)


@pytest.fixture(scope="module")
def cifar():
    return part_of(np.random.default_rng(1).permutation(np.repeat(np.arange(10), 5000)), side=1)


def test_published_sizes_of_groups(cifar):
    found = bias.build({"kind": "grayscale"}).assign(cifar, bias.Context("train", 0.9, seed=0))
    expected = [[4500, 500]] * 5 + [[500, 4500]] * 5
    assert counts(cifar.labels, found.attributes, 10, 2).tolist() == expected
    # The published draw: in NumPy's permutation of seed 0, the first of each class are gray.
    order = np.random.RandomState(0).permutation(50_000)
    for label, gray in ((0, 4500), (9, 500)):
        members = order[cifar.labels[order] == label]
        assert (found.attributes[members[:gray]] == 0).all()


def test_sizes_of_groups_are_the_nearest_whole_numbers():
    part = part_of(np.repeat(np.arange(10), 8))
    found = bias.build({"kind": "grayscale"}).assign(part, bias.Context("train", 0.95, seed=0))  # 7.6 of 8
    assert counts(part.labels, found.attributes, 10, 2).tolist() == [[8, 0]] * 5 + [[0, 8]] * 5


def made(source, mirrors=(), **more):
    settings = {"ratio": 0.9, "test": "balanced", "seed": 0, "data": {"root": "data", "mirrors": list(mirrors)}}
    return synthesize_dataset(source={"kind": source}, bias={"kind": "grayscale"}, **settings, **more)[0]


def test_other_sources_are_normalised_as_they_say():
    train = made("digits", channels=3)
    assert (train.meta["mean"], train.meta["std"]) == channel_statistics(train.images)


def test_cifar10_is_normalised_as_published(data_home):
    """FairDD's constants are those of its training split, which differs from ours by the JPEG copies and the draw."""
    train = made("cifar10", [str(data_home)])
    assert train.meta["mean"] == pytest.approx(train.meta["own_mean"], abs=5e-3)
    assert train.meta["std"] == pytest.approx(train.meta["own_std"], abs=2e-3)
    assert train.meta["mean"] != train.meta["own_mean"]


def test_conventions_of_the_test_split(cifar):
    made = bias.build({"kind": "grayscale"})
    both = made.assign(cifar, bias.Context("test", 0.9, "balanced"))
    assert both.rows.tolist() == [*range(50_000), *range(50_000)]
    assert both.attributes.tolist() == [0] * 50_000 + [1] * 50_000
    anti = made.assign(cifar, bias.Context("test", 0.9, "anti"))
    assert counts(cifar.labels, anti.attributes, 10, 2).tolist() == [[0, 5000]] * 5 + [[5000, 0]] * 5
    natural = made.assign(cifar, bias.Context("test", 0.9, "natural"))
    assert counts(cifar.labels, natural.attributes, 10, 2)[0].tolist() == [4500, 500]


def test_gray_is_pillows():
    part = part_of(np.arange(50) % 10, side=8)
    made = bias.build({"kind": "grayscale"})
    attributes = np.arange(50) % 2
    out = made.apply(part.images, attributes, np.arange(50), bias.Context("train", 0.9))
    for before, after, attribute in zip(part.images, out, attributes, strict=True):
        picture = Image.fromarray(before.transpose(1, 2, 0))
        expected = picture.convert("L").convert("RGB") if attribute == 0 else picture
        np.testing.assert_array_equal(after.transpose(1, 2, 0), np.asarray(expected))


def test_every_colour_has_pillows_luminance():
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 5, np.uint8)] * 3), axis=-1).reshape(1, -1, 1, 3)
    expected = np.asarray(Image.fromarray(grid[0]).convert("L"))
    np.testing.assert_array_equal(luminance(grid.transpose(0, 3, 1, 2))[0], expected)


def test_channels():
    rgb = part_of(np.arange(10)).images
    assert to_channels(rgb, 3) is rgb
    grey = to_channels(rgb, 1)
    np.testing.assert_array_equal(grey[:, 0], luminance(rgb))
    np.testing.assert_array_equal(to_channels(grey, 3), np.repeat(grey, 3, 1))
    with pytest.raises(DdbiasError, match="channels is 2; it must be 1"):
        to_channels(rgb, 2)


def test_grey_images_are_refused():
    with pytest.raises(DdbiasError, match="needs RGB images"):
        bias.build({"kind": "grayscale"}).apply(
            np.zeros((1, 1, 2, 2), np.uint8), np.zeros(1, int), np.arange(1), bias.Context("train", 0.9)
        )
