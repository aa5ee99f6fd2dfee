"""The rules by which evaluations augment: IDC's chain, MTT's grid, and DC's one change for each image."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
import torch
from ddbias.base.errors import DdbiasError
from ddbias.learning import networks
from ddbias.learning.augment.chained import Chain
from ddbias.learning.augment.dsa import DSA
from ddbias.learning.augment.one_per_image import OnePerImage
from ddbias.learning.augment.rules import RULES, augmentation
from ddbias.learning.training import Recipe, train
from scipy import ndimage


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(count=40, channels=1, side=28):
    return torch.randn(count, channels, side, side, generator=draws(9)) + 2


def explained(image, found, candidates):
    return [key for key, expected in candidates if np.allclose(found, expected, atol=1e-5)]


def frames(image, mean):
    """Every window of the framed image, by its offsets."""
    channels, side = image.shape[:2]
    framed = np.broadcast_to(mean[:, None, None], (channels, side + 8, side + 8)).copy()
    framed[:, 4:-4, 4:-4] = image
    return [((r, c), framed[:, r : r + side, c : c + side]) for r in range(8) for c in range(8)]


def resizes(image):
    """Every nearest-neighbour resize by less than a fifth, pasted on zeros and cut from their middle, by its sides."""
    channels, side = image.shape[:2]
    for height in range(int(0.8 * side), int(1.2 * side) + 1):
        for width in range(int(0.8 * side), int(1.2 * side) + 1):
            rows, columns = (np.arange(n) * side // n for n in (height, width))
            largest = max(height, width, side)
            sheet = np.zeros((channels, largest, largest), np.float32)
            top, left = (largest - height) // 2, (largest - width) // 2
            sheet[:, top : top + height, left : left + width] = image[:, rows][:, :, columns]
            start = (largest - side) // 2
            yield (height, width), sheet[:, start : start + side, start : start + side]


def turns(image, mean):
    """Every rotation by a whole angle, cut from the middle of the larger image that holds it, by its angle."""
    side = image.shape[1]
    for angle in range(-45, 45):
        turned = np.stack([ndimage.rotate(plane, angle, order=3, cval=mean.mean()) for plane in image])
        start = (turned.shape[1] - side) // 2
        yield angle, turned[:, start : start + side, start : start + side]


@pytest.mark.parametrize("channels", [1, 3])
def test_dc_crops_from_a_frame_of_the_mean_of_the_batch(channels):
    images = pictures(60, channels, 12)
    mean = images.mean((0, 2, 3)).numpy()
    found = OnePerImage("crop").per_sample(images, draws())
    offsets = [explained(a, b, frames(a, mean)) for a, b in zip(images.numpy(), found.numpy(), strict=True)]
    assert all(len(each) == 1 for each in offsets)
    for axis in range(2):
        assert {each[0][axis] for each in offsets} == set(range(8))


def test_dc_scales_each_side_of_each_image_by_itself():
    images = pictures(60, 1, 14)
    found = OnePerImage("scale").per_sample(images, draws())
    sides = [explained(a, b, resizes(a)) for a, b in zip(images.numpy(), found.numpy(), strict=True)]
    assert all(sides)
    heights, widths = zip(*(each[0] for each in sides), strict=True)
    assert min(heights) == min(widths) == 11
    assert max(heights) == max(widths) == 16
    assert any(height != width for height, width in zip(heights, widths, strict=True))


@pytest.mark.parametrize("channels", [1, 2])
def test_dc_turns_each_image_by_whole_degrees(channels):
    images = pictures(40, channels, 13)
    mean = images.mean((0, 2, 3)).numpy()
    found = OnePerImage("rotate").per_sample(images, draws())
    angles = [explained(a, b, turns(a, mean)) for a, b in zip(images.numpy(), found.numpy(), strict=True)]
    assert all(len(each) == 1 for each in angles)
    assert min(angles)[0] < -30
    assert max(angles)[0] > 30


def test_dc_draws_one_piece_for_every_image():
    images = pictures(300, 1, 28)
    kept = images.clone()
    found = OnePerImage("crop_scale_rotate").per_sample(images, draws())
    assert torch.equal(images, kept)
    # A crop keeps the values of the image or shows the mean, a scaled image has no other values but 0.
    values = [set(image.flatten().tolist()) for image in images]
    mean = {float(images.mean((0, 2, 3)))}
    kinds = [
        "crop" if got <= own | mean and not {0.0} & got else "scale" if got <= own | {0.0} else "rotate"
        for own, got in zip(values, (set(image.flatten().tolist()) for image in found), strict=True)
    ]
    assert all(70 < kinds.count(name) < 130 for name in ("crop", "scale", "rotate"))


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_depends_on_its_generator_only(rule):
    images = pictures(8, 3, 16)
    before = torch.get_rng_state()
    first, again, other = (augmentation("crop_scale_rotate", rule).per_sample(images, draws(s)) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert first.dtype == images.dtype
    assert torch.equal(torch.get_rng_state(), before)
    assert augmentation("none", rule).per_sample(images, draws()) is images


def test_training_augments_by_the_rule_of_its_recipe():
    images, labels = pictures(10, 1, 8), torch.arange(10) % 2
    pieces = "flip_color_scale_rotate_crop"
    expected = {
        "dsa": DSA(pieces),
        "mtt": DSA(pieces, align_corners=True),
        "idc": Chain(pieces),
        "dc": OnePerImage("crop_scale_rotate"),
    }
    for rule, augment in expected.items():
        strategy = "crop_scale_rotate" if rule == "dc" else pieces
        recipe = Recipe(batch_size=10, augment=strategy, schedule="constant", augment_rule=rule)
        seen = []

        def note(inputs, targets, rows, network, seen=seen):
            seen.append(inputs)
            return torch.nn.functional.cross_entropy(network(inputs), targets)

        network = networks.build("convnet", channels=1, size=8, classes=2, seed=0, width=4, depth=1)
        train(
            network, images, labels, recipe=recipe, steps=3, generator=draws(3),
            loss=lambda *batch, network=network, note=note: note(*batch, network),
        )  # fmt: skip
        order = draws(3)
        for inputs in seen:
            rows = torch.randperm(10, generator=order)
            torch.testing.assert_close(inputs, augment.per_sample(images[rows], order), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("pieces", "rule", "message"),
    [
        ("crop", "idk", r"unknown augment_rule 'idk'; known: dc, dsa, idc, mtt.*Did you mean"),
        ("color_crop", "dc", "unknown augmentation 'color'; known: crop, rotate, scale"),
    ],
)
def test_what_no_rule_has_is_refused(pieces, rule, message):
    with pytest.raises(DdbiasError, match=message):
        augmentation(pieces, rule)


def test_dc_turns_by_less_than_45_degrees_to_one_side(monkeypatch):
    """``np.random.randint(-45, 45)``."""
    angles = []
    monkeypatch.setattr(scipy.ndimage, "rotate", lambda image, angle, **_: angles.append(angle) or image)
    OnePerImage("rotate").per_sample(torch.zeros(4000, 1, 2, 2), torch.Generator().manual_seed(0))
    assert set(angles) == set(range(-45, 45))


@pytest.mark.parametrize("piece", ["scale", "rotate"])
def test_mtt_s_grid_changes_nothing_but_the_rounding_of_square_images(piece):
    images = torch.rand(60, 3, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dsa, mtt = (
        augmentation(piece, rule).per_sample(images, torch.Generator().manual_seed(1)) for rule in ("dsa", "mtt")
    )
    assert not torch.equal(dsa, images)
    torch.testing.assert_close(mtt, dsa, rtol=0, atol=1e-11)
