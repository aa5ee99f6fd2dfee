"""Grey copies of one image in every colour are the same, and tell a classifier nothing about the colour."""

import numpy as np
import pytest
import torch
from ddbias.data.split import channel_statistics, normalize
from ddbias.datasets import bias, sources
from ddbias.evaluation.grey import grey_copies
from sklearn.linear_model import LogisticRegression

COLOURS = 10
KINDS = [
    {"kind": "foreground", "severity": 1},
    {"kind": "background", "severity": 1},
    {"kind": "foreground", "severity": 4},
    {"kind": "c_mnist", "where": "foreground"},
    {"kind": "c_mnist", "where": "background"},
    {"kind": "c_fmnist", "where": "foreground"},
    {"kind": "c_fmnist", "where": "background", "variant": "corrected"},
]


@pytest.fixture(scope="module")
def digits():
    part = sources.load({"kind": "digits"}, data={})["test"]
    return part.images, part.labels


def coloured(images, attributes, settings):
    return bias.build(settings).apply(images, attributes, np.arange(len(images)), bias.Context("test", 0.1, seed=3))


def levels(images):
    """Return by how much of 255 levels one step of a byte moves the grey copy of each image."""
    ranges = np.ptp(images.astype(np.int64), axis=(2, 3)).max(1)
    return 255 / np.maximum(ranges, 1)


@pytest.mark.parametrize("settings", KINDS)
def test_a_digit_has_one_grey_copy_whatever_its_colour(digits, settings):
    images = digits[0][:60]
    # White garments before a white ground are no garments.
    colours = COLOURS - 1 if settings.get("variant") == "corrected" else COLOURS
    copies, steps = [], []
    for colour in range(colours):
        made = coloured(images, np.full(len(images), colour), settings)
        copies.append(grey_copies(torch.from_numpy(made), [0.0] * 3, [1.0] * 3).numpy().astype(np.int64))
        steps.append(levels(made))
    copies, step = np.stack(copies), np.max(steps)
    assert (copies == copies[:, :, :1]).all()  # channels
    assert (copies.min((2, 3, 4)) == 0).all()
    assert (copies.max((2, 3, 4)) == 255).all()
    # Two roundings to a byte, of the pixel and of the end of the range; the last one to 255 levels.
    assert np.ptp(copies, axis=0).max() <= 2 * step + 1
    assert np.ptp(copies, axis=0).mean() < 2.5
    assert step < 5


def test_a_digit_on_black_is_the_digit_itself(digits):
    images, _ = digits
    attributes = np.random.default_rng(0).integers(0, COLOURS, len(images))
    made = coloured(images, attributes, KINDS[0])
    copies = grey_copies(torch.from_numpy(made), [0.0] * 3, [1.0] * 3).numpy()[:, 0].astype(float)
    low, high = images.min((2, 3), keepdims=True), images.max((2, 3), keepdims=True)
    itself = (255.0 * (images - low) / (high - low))[:, 0]
    assert (np.abs(copies - itself).max((1, 2)) <= levels(made) + 1).all()


def test_a_classifier_finds_the_colour_in_luminance_and_not_in_grey_copies(digits):
    images, _ = digits
    attributes = np.random.default_rng(0).permutation(np.arange(len(images)) % COLOURS)
    made = coloured(images, attributes, KINDS[0])

    def found(values):
        """Accuracy on the second half of what was learnt on the first."""
        values = values.reshape(len(values), -1) / 255
        half = len(values) // 2
        model = LogisticRegression(max_iter=300).fit(values[:half], attributes[:half])
        return model.score(values[half:], attributes[half:])

    copies = grey_copies(torch.from_numpy(made), [0.0] * 3, [1.0] * 3).numpy()[:, 0]
    deviation = np.sqrt(0.1 * 0.9 / (len(images) / 2))
    assert found(copies) < 0.1 + 3 * deviation
    assert found(sources.channels.luminance(made)) > 0.1 + 6 * deviation


def test_stored_and_raw_images_have_the_same_copies_and_one_value_is_black(digits):
    made = coloured(digits[0][:50], np.arange(50) % COLOURS, KINDS[1])
    made[7] = 99
    mean, std = channel_statistics(made)
    raw = grey_copies(torch.from_numpy(made), mean, std)
    stored = grey_copies(normalize(torch.from_numpy(made), mean, std), mean, std)
    assert (raw.dtype, stored.dtype) == (torch.uint8, torch.float32)
    scale, shift = (torch.tensor(values).view(-1, 1, 1) for values in (std, mean))
    others = [i for i in range(50) if i != 7]
    assert (raw.float() - 255 * (stored * scale + shift))[others].abs().max() < 0.51  # rounding
    assert not raw[7].any()
    assert (stored[7] * scale + shift).abs().max() < 1e-6
    single = grey_copies(torch.from_numpy(made[:, :1]), mean[:1], std[:1])
    assert single.shape == (50, 1, 8, 8)
