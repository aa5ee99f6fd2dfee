"""The registry of corruptions: order, severity, what noise depends on, and errors."""

import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import derive
from ddbias.datasets import corruptions
from ddbias.datasets.bias.corruption import corrupt_by_attribute
from ddbias.datasets.corruptions import CORRUPTIONS, FAMILIES, corrupt
from ddbias.datasets.corruptions.pixels import truncate
from scipy import ndimage

COUNT = 24
SAME = {"seed": 3, "split": "train"}
RANDOM = ["snow", "frost", "fog", "spatter", "elastic", "glass_blur", "motion_blur"]
RANDOM += ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"]


def natural(count=COUNT):
    rng = np.random.default_rng(9)
    smooth = ndimage.gaussian_filter(rng.standard_normal((count, 3, 32, 32)), (0, 0.5, 2, 2))
    return np.clip(128 + 50 * smooth / smooth.std(), 0, 255).astype(np.uint8)


IMAGES = natural()
INDEX = np.arange(COUNT) * 7 + 1


def corrupted(name, images=IMAGES, index=INDEX, severity=2, **changed):
    return corrupt(images, name, severity=severity, index=index, **{**SAME, **changed})


@pytest.fixture(scope="module")
def whole():
    """Every corruption of the 24 images in one batch."""
    return {name: corrupted(name) for name in CORRUPTIONS}


def test_families_are_the_published_ones():
    published = {
        "type0": "snow frost fog brightness contrast spatter elastic jpeg pixelate saturate",
        "type1": "gaussian_noise shot_noise impulse_noise speckle_noise gaussian_blur defocus_blur glass_blur "
        "motion_blur zoom_blur original",
    }
    assert {family: " ".join(names) for family, names in FAMILIES.items()} == published
    assert set(CORRUPTIONS) == {name for family in FAMILIES.values() for name in family}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_shape_and_effect(name, whole):
    ours = whole[name]
    assert (ours.dtype, ours.shape) == (np.uint8, IMAGES.shape)
    assert ours.flags.c_contiguous
    changed = (ours != IMAGES).mean()
    assert changed == 0 if name == "original" else changed > 0.01
    assert not np.shares_memory(ours, IMAGES)
    # A corrupted image is still about its original.
    assert np.corrcoef(ours.reshape(-1), IMAGES.reshape(-1))[0, 1] > 0.3


@pytest.mark.parametrize("severity", corruptions.SEVERITIES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_is_one_column_further_and_noise_is_per_image(name, severity):
    """The documented generator and column of the table, image by image; images are only read."""
    key = derive(SAME["seed"], "corruption", name, SAME["split"])
    extra = (corruptions.substitute_textures(),) if name == "frost" else ()
    images = IMAGES[:3].copy()
    images.flags.writeable = False
    ours = corrupted(name, images, INDEX[:3], severity)
    assert np.array_equal(images, IMAGES[:3])
    for image, index, result in zip(images, INDEX, ours, strict=False):
        rng = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, index]))
        levels = CORRUPTIONS[name](np.ascontiguousarray(image.transpose(1, 2, 0)), rng, severity + 1, *extra)
        assert np.array_equal(truncate(levels), result.transpose(1, 2, 0))


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_an_image_does_not_depend_on_batch_or_order(name, whole):
    rows = np.random.default_rng(1).permutation(COUNT)[:7]
    assert np.array_equal(corrupted(name, IMAGES[rows], INDEX[rows]), whole[name][rows])


@pytest.mark.parametrize("name", RANDOM)
def test_every_severity_draws_the_same_numbers(name):
    after = set()
    for level in range(1, 6):
        rng = np.random.Generator(np.random.Philox(1))
        extra = (corruptions.substitute_textures(),) if name == "frost" else ()
        CORRUPTIONS[name](IMAGES[0].transpose(1, 2, 0).copy(), rng, level, *extra)
        after.add(rng.random())
    assert len(after) == 1


@pytest.mark.parametrize("name", RANDOM)
def test_seed_split_and_index_make_other_noise(name, whole):
    for changed in ({"seed": 4}, {"split": "test"}, {"index": INDEX + 1}):
        other = corrupted(name, **changed)
        # Not all: angles of motion blur that are close read the same pixels.
        assert (other != whole[name]).any((1, 2, 3)).mean() > 0.8, changed


@pytest.mark.parametrize("family", FAMILIES)
def test_by_attribute(family, whole):
    attributes = np.random.default_rng(0).integers(0, 10, COUNT)
    attributes[attributes == 4] = 5  # one is absent
    ours = corrupt_by_attribute(IMAGES, attributes, family=family, severity=2, index=INDEX, **SAME)
    for row, attribute in enumerate(attributes):
        assert np.array_equal(ours[row], whole[FAMILIES[family][attribute]][row])
    assert ours.dtype == np.uint8


def test_textures_are_used():
    textures = [np.full((40, 50, 3), 200, np.float32)] * 5
    plain, frosted = corrupted("frost"), corrupted("frost", textures=textures)
    assert (plain != frosted).any()
    expected = np.clip(0.9 * IMAGES.astype(np.float64) + 0.4 * 200, 0, 255)
    assert np.abs(frosted - expected).max() <= 1.01
    attributes = np.ones(COUNT, int)
    both = corrupt_by_attribute(IMAGES, attributes, family="type0", severity=2, index=INDEX, textures=textures, **SAME)
    assert np.array_equal(both, frosted)


def test_no_images():
    none = np.empty((0, 3, 32, 32), np.uint8)
    for name in CORRUPTIONS:
        assert corrupted(name, none, np.empty(0, np.int64)).shape == none.shape
    attributes = np.empty(0, np.int64)
    ours = corrupt_by_attribute(none, attributes, family="type0", severity=1, index=attributes, **SAME)
    assert ours.shape == none.shape


@pytest.mark.parametrize("severity", [0, 5, 2.5, True, "2"])
def test_wrong_severity(severity):
    with pytest.raises(DdbiasError, match="severity"):
        corrupted("fog", severity=severity)


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((COUNT, 1, 28, 28), np.uint8),
        np.zeros((COUNT, 1, 32, 32), np.uint8),
        np.zeros((COUNT, 3, 64, 64), np.uint8),
        np.zeros((COUNT, 32, 32, 3), np.uint8),
        np.zeros((COUNT, 3, 32, 32), np.float32),
    ],
)
def test_wrong_images(images):
    with pytest.raises(DdbiasError, match=r"32x32 RGB.*size: 32 or channels: 3"):
        corrupted("brightness", images)


def test_wrong_names():
    with pytest.raises(DdbiasError, match=r"unknown corruption 'fogg'.*Did you mean 'fog'"):
        corrupted("fogg")
    with pytest.raises(DdbiasError, match=r"unknown family of corruptions 'type2'.*type0, type1"):
        corrupt_by_attribute(IMAGES, INDEX % 10, family="type2", severity=1, index=INDEX, **SAME)


@pytest.mark.parametrize("index", [INDEX[1:], INDEX - 5, INDEX / 2])
def test_wrong_index(index):
    with pytest.raises(DdbiasError, match="index"):
        corrupted("fog", index=index)


@pytest.mark.parametrize(("attributes", "message"), [(INDEX, "0 to 9"), (INDEX[1:] % 10, "as many attributes")])
def test_wrong_attributes(attributes, message):
    with pytest.raises(DdbiasError, match=message):
        corrupt_by_attribute(IMAGES, attributes, family="type0", severity=1, index=INDEX, **SAME)
