"""Snow and its motion blur: against a plain loop per image, and what the layer looks like."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from ddbias.datasets.corruptions.motion import motion_blur, motion_kernel
from ddbias.datasets.corruptions.smoothing import zoom_matrix
from ddbias.datasets.corruptions.snow import CONSTANTS, draw_snow, snow, snow_layer
from scipy import ndimage

LEVELS = (1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    smooth = ndimage.gaussian_filter(rng.standard_normal((20, 3, 32, 32)), (0, 0, 4, 4))
    smooth = (255 * (smooth - smooth.min()) / np.ptp(smooth)).astype(np.uint8)
    flat = np.full((3, 3, 32, 32), np.array([0, 128, 255], np.uint8)[:, None, None, None])
    return np.concatenate([noise, smooth, flat])


@pytest.fixture(scope="module")
def draws():
    drawn = [draw_snow(np.random.Generator(np.random.Philox(i)), 1) for i in range(43)]
    return tuple(np.stack(part) for part in zip(*drawn, strict=True))


def plain_motion_blur(image, angle, radius, sigma):
    """Sum of shifted copies of one image (H, W): shift by (dx, dy) = -ceil(i cos - 1/2), -ceil(i sin - 1/2)."""
    weights = [math.exp(-(i**2) / (2 * sigma**2)) for i in range(2 * radius + 1)]
    total = np.zeros(image.shape)
    for i, weight in enumerate(weights):
        dx = -math.ceil(i * math.cos(math.radians(angle)) - 0.5)
        dy = -math.ceil(i * math.sin(math.radians(angle)) - 0.5)
        if abs(dx) >= image.shape[1] or abs(dy) >= image.shape[0]:
            break
        total += weight / sum(weights) * ndimage.shift(image, (dy, dx), order=0, mode="nearest")
    return total


def plain_snow(image, noise, angle, level):
    """Snow on one image (H, W, 3) as published, with SciPy and OpenCV."""
    mean, std, zoom, threshold, radius, sigma, mix = CONSTANTS[level]
    x = image / np.float32(255)
    layer = mean + std * noise.astype(np.float64)
    crop = int(np.ceil(32 / zoom))
    top = (32 - crop) // 2
    layer = ndimage.zoom(layer[top : top + crop, top : top + crop], (zoom, zoom), order=1)
    trim = (layer.shape[0] - 32) // 2
    layer = layer[trim : trim + 32, trim : trim + 32]
    layer[layer < threshold] = 0
    layer = (np.clip(layer, 0, 1) * 255).astype(np.uint8).astype(np.float64)
    layer = np.round(plain_motion_blur(layer, angle, radius, sigma))[..., None] / 255
    grey = cv2.cvtColor(x, cv2.COLOR_RGB2GRAY)[..., None]
    x = mix * x + (1 - mix) * np.maximum(x, grey * 1.5 + 0.5)
    return (np.clip(x + layer + np.rot90(layer, k=2), 0, 1) * 255).astype(np.uint8)


@pytest.mark.parametrize("level", LEVELS)
def test_snow_is_the_published_rule(images, draws, level):
    made = snow(images, draws, level)
    expected = np.stack(
        [plain_snow(*row, level) for row in zip(images.transpose(0, 2, 3, 1), *draws, strict=True)]
    ).transpose(0, 3, 1, 2)
    # One grey level: single precision before the truncation; two where the 8-bit layer is rounded the other way,
    # which a sum within 1e-5 of a half does.
    difference = np.abs(made.astype(int) - expected)
    assert difference.max() <= 2
    assert (difference > 1).mean() < 1e-3
    assert (difference > 0).mean() < 0.02
    assert made.dtype == np.uint8
    assert made.shape == images.shape


@pytest.mark.parametrize("zoom", [1.0, 1.25, 1.75, 2.25])
def test_the_zoom_is_that_of_scipy(zoom):
    layer = np.random.default_rng(1).random((32, 32))
    crop = math.ceil(32 / zoom)
    top = (32 - crop) // 2
    expected = ndimage.zoom(layer[top : top + crop, top : top + crop], zoom, order=1)
    trim = (len(expected) - 32) // 2
    expected = expected[trim : trim + 32, trim : trim + 32]
    matrix = zoom_matrix(zoom)
    np.testing.assert_allclose(matrix @ layer @ matrix.T, expected, atol=1e-12)


@pytest.mark.parametrize(("radius", "sigma"), [(6, 1.0), (8, 2.0), (9, 2.5), (10, 4.0), (14, 12.0), (25, 20.0)])
def test_motion_blur_is_a_sum_of_shifted_copies(radius, sigma):
    # Radius 25 reaches 50 pixels: the taps beyond the image are left out.
    rng = np.random.default_rng(2)
    images = rng.random((12, 3, 32, 32), dtype=np.float32)
    angles = np.concatenate([rng.uniform(-180, 180, 7), [0, 90, -90, 45, -135]])
    made = motion_blur(images, angles, radius, sigma)
    for image, angle, blurred in zip(images, angles, made, strict=True):
        for channel, result in zip(image, blurred, strict=True):
            np.testing.assert_allclose(result, plain_motion_blur(channel, angle, radius, sigma), atol=2e-6)


def test_motion_blur_smears_one_point_to_one_side():
    point = np.zeros((1, 1, 32, 32), np.float32)
    point[0, 0, 16, 20] = 1
    blurred = motion_blur(point, np.array([0.0]), 3, 2.0)[0, 0]
    np.testing.assert_allclose(blurred[16, 14:21][::-1], motion_kernel(3, 2.0), rtol=1e-6)
    assert np.count_nonzero(blurred) == 7
    np.testing.assert_allclose(motion_kernel(3, 2.0).sum(), 1)


def test_motion_blur_of_an_image_does_not_depend_on_its_batch():
    rng = np.random.default_rng(3)
    images, angles = rng.random((300, 2, 32, 32), dtype=np.float32), rng.uniform(-135, -45, 300)
    whole = motion_blur(images, angles, 10, 4.0)
    order = rng.permutation(300)
    np.testing.assert_array_equal(motion_blur(images[order], angles[order], 10, 4.0), whole[order])
    np.testing.assert_array_equal(motion_blur(images[5:6], angles[5:6], 10, 4.0), whole[5:6])


@pytest.mark.parametrize("level", LEVELS)
def test_snow_on_an_image_does_not_depend_on_its_batch(images, draws, level):
    whole = snow(images, draws, level)
    order = np.random.default_rng(4).permutation(len(images))
    shuffled = snow(images[order], tuple(part[order] for part in draws), level)
    np.testing.assert_array_equal(shuffled, whole[order])
    for i in (0, 17, 42):
        alone = snow(images[i : i + 1], tuple(part[i : i + 1] for part in draws), level)
        np.testing.assert_array_equal(alone, whole[i : i + 1])


def test_draws_are_normal_noise_and_an_angle_and_the_same_for_every_level():
    drawn = [draw_snow(np.random.default_rng(i), 1) for i in range(1000)]
    noise, angles = (np.stack(part) for part in zip(*drawn, strict=True))
    assert noise.shape == (1000, 32, 32)
    assert angles.shape == (1000,)
    assert abs(noise.mean()) < 0.005  # standard error 0.001
    assert abs(noise.std() - 1) < 0.005
    assert angles.min() >= -135
    assert angles.max() < -45
    assert abs(angles.mean() + 90) < 4  # standard error 0.8
    again = draw_snow(np.random.default_rng(7), 4)
    np.testing.assert_array_equal(again[0], noise[7])
    assert again[1] == angles[7]


@pytest.mark.parametrize("level", [1, 2])
def test_the_layer_holds_what_is_above_the_threshold(level):
    # Where the layer is not magnified, its mean is that of a normal variable that counts above the threshold only.
    mean, std, _, threshold, *_ = CONSTANTS[level]
    drawn = [draw_snow(np.random.default_rng(i), level) for i in range(400)]
    noise, angles = (np.stack(part) for part in zip(*drawn, strict=True))
    layer = snow_layer(noise, angles, level)
    z = (threshold - mean) / std
    tail, density = math.erfc(z / math.sqrt(2)) / 2, math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    expected = mean * tail + std * density - tail / 510  # the truncation to 8 bit takes half a level
    assert layer.mean() == pytest.approx(expected, rel=0.05)
    assert layer.min() >= 0
    assert layer.max() <= 1
    np.testing.assert_allclose(layer * 255, np.rint(layer * 255), atol=1e-4)
    nothing = snow_layer(np.full((1, 32, 32), z - 0.01, np.float32), np.array([-90.0]), level)
    assert not nothing.any()


def test_more_snow_is_brighter(images, draws):
    means = [snow(images[:40], tuple(part[:40] for part in draws), level).mean() for level in LEVELS]
    assert images[:40].mean() < means[0] < means[1] < means[3] < means[4]
