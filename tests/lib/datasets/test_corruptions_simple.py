"""Colour, compression and blur against Pillow, scikit-image, SciPy, OpenCV and plain loops."""

import colorsys
import io

import cv2
import numpy as np
import pytest
from ddbias.datasets.corruptions import blur, colour_space, compression
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy import ndimage
from skimage import color, filters

LEVELS = (1, 2, 3, 4, 5)
# Columns 1..5 as published for CIFAR-10.
BRIGHTNESS = (0.05, 0.1, 0.15, 0.2, 0.3)
CONTRAST = (0.75, 0.5, 0.4, 0.3, 0.15)
SATURATE = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))
QUALITY = (80, 65, 58, 50, 40)
PIXELATE = (0.95, 0.9, 0.85, 0.75, 0.65)
GAUSSIAN = (0.4, 0.6, 0.7, 0.8, 1)
DEFOCUS = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))
GLASS = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))
MOTION = ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))
ZOOM_END = (1.06, 1.11, 1.16, 1.21, 1.26)


def batch(count=24):
    """White noise, smooth fields, saturated edges and grey images."""
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)
    smooth = ndimage.gaussian_filter(rng.standard_normal((count, 3, 32, 32)), (0, 0, 3, 3))
    smooth = 128 + 60 * smooth / smooth.std()
    images[1::4] = np.clip(smooth, 0, 255)[1::4].astype(np.uint8)
    images[2::4] = np.where(smooth[2::4] > 128, 255, 0)
    images[3::4] = images[3::4, :1]
    return images


IMAGES = batch()
HWC = IMAGES.transpose(0, 2, 3, 1)


def compare(ours, exact, share=0.999):
    """Never more than one grey level off the truncated values, and that in few places.

    Exact values are raised a little: where they are whole, the references' own rounding errors decide.
    """
    assert ours.dtype == np.uint8
    assert ours.shape == IMAGES.shape
    truncated = np.clip(exact + 1e-3, 0, 255).astype(np.uint8).transpose(0, 3, 1, 2)
    assert np.abs(ours.astype(int) - truncated).max() <= 1
    assert np.mean(ours == truncated) >= share


@pytest.mark.parametrize("level", LEVELS)
def test_brightness(level):
    hsv = color.rgb2hsv(HWC)
    hsv[..., 2] = np.clip(hsv[..., 2] + BRIGHTNESS[level - 1], 0, 1)
    compare(colour_space.brightness(IMAGES, None, level), 255 * color.hsv2rgb(hsv))


@pytest.mark.parametrize("level", LEVELS)
def test_saturate(level):
    factor, added = SATURATE[level - 1]
    hsv = color.rgb2hsv(HWC)
    hsv[..., 1] = np.clip(hsv[..., 1] * factor + added, 0, 1)
    compare(colour_space.saturate(IMAGES, None, level), 255 * color.hsv2rgb(hsv))


channel = st.integers(0, 255)


@settings(max_examples=200, deadline=None)
@given(st.tuples(channel, channel, channel) | channel.map(lambda v: (v, v, v)), st.sampled_from(LEVELS))
def test_one_colour_through_colorsys(rgb, level):
    image = np.broadcast_to(np.array(rgb, np.uint8)[:, None, None], (1, 3, 32, 32)).copy()
    hue, saturation, value = colorsys.rgb_to_hsv(*(v / 255 for v in rgb))
    bright = colorsys.hsv_to_rgb(hue, saturation, min(value + BRIGHTNESS[level - 1], 1))
    factor, added = SATURATE[level - 1]
    vivid = colorsys.hsv_to_rgb(hue, min(saturation * factor + added, 1), value)
    for name, expected in (("brightness", bright), ("saturate", vivid)):
        ours = getattr(colour_space, name)(image, None, level)
        assert (ours == ours[:, :, :1, :1]).all()
        assert ours[0, :, 0, 0].tolist() == [int(255 * v + 1e-3) for v in expected], name


@pytest.mark.parametrize("level", LEVELS)
def test_contrast(level):
    x = HWC / 255.0
    mean = x.mean((1, 2), keepdims=True)
    compare(colour_space.contrast(IMAGES, None, level), 255 * ((x - mean) * CONTRAST[level - 1] + mean))


@pytest.mark.parametrize("level", LEVELS)
def test_jpeg_is_pillows(level):
    for image, ours in zip(HWC, compression.jpeg(IMAGES, None, level), strict=True):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=QUALITY[level - 1])
        assert np.array_equal(ours, np.asarray(Image.open(file)).transpose(2, 0, 1))


@pytest.mark.parametrize("level", LEVELS)
def test_pixelate_is_pillows(level):
    side = int(32 * PIXELATE[level - 1])
    for image, ours in zip(HWC, compression.pixelate(IMAGES, None, level), strict=True):
        small = Image.fromarray(image).resize((side, side), Image.Resampling.BOX)
        large = small.resize((32, 32), Image.Resampling.BOX)
        assert np.array_equal(ours, np.asarray(large).transpose(2, 0, 1))


@pytest.mark.parametrize("level", LEVELS)
def test_gaussian_blur(level):
    exact = [filters.gaussian(image / 255.0, GAUSSIAN[level - 1], channel_axis=2) for image in HWC]
    compare(blur.gaussian_blur(IMAGES, None, level), 255 * np.stack(exact))


def disk_kernel(radius, softness):
    """A disk in 17 x 17, softened by OpenCV."""
    span = np.arange(-8, 9)
    disk = (span[:, None] ** 2 + span**2 <= radius**2).astype(np.float64)
    return cv2.GaussianBlur(disk / disk.sum(), (3, 3), sigmaX=softness)


@pytest.mark.parametrize("level", LEVELS)
def test_defocus_blur(level):
    kernel = disk_kernel(*DEFOCUS[level - 1])
    exact = np.stack([cv2.filter2D(image / 255.0, -1, kernel) for image in HWC])
    assert level == 5 or kernel.max() < 1
    compare(blur.defocus_blur(IMAGES, None, level), 255 * exact)


def plain_glass(image, moves, deviation, rounds):
    """The published loop over pixels, with its exchange of views."""
    x = np.uint8(filters.gaussian(image / 255.0, sigma=deviation, channel_axis=2) * 255 + 1e-3)
    for step in range(rounds):
        for h in range(31, 1, -1):
            for w in range(31, 1, -1):
                dy, dx = moves[step, :, h - 2, w - 2]
                x[h, w], x[h + dy, w + dx] = x[h + dy, w + dx], x[h, w]
    return 255 * filters.gaussian(x / 255.0, sigma=deviation, channel_axis=2)


@pytest.mark.parametrize("level", LEVELS)
def test_glass_blur(level):
    draws = np.stack([blur.draw_glass_blur(np.random.default_rng(i), level) for i in range(len(IMAGES))])
    deviation, distance, rounds = GLASS[level - 1]
    assert set(np.unique(draws)) == {-distance, 0}
    exact = np.stack([plain_glass(x, moves, deviation, rounds) for x, moves in zip(HWC, draws, strict=True)])
    compare(blur.glass_blur(IMAGES, draws, level), exact)


def test_glass_moves_are_fair():
    moves = np.stack([blur.draw_glass_blur(np.random.default_rng(i), 1) for i in range(1000)])
    assert abs(moves.mean() + 0.5) < 4 * 0.5 / np.sqrt(moves.size)
    flat = (moves + 0.5).reshape(1000, -1)
    assert abs(np.mean(flat[:, 1:] * flat[:, :-1])) < 4 * 0.25 / np.sqrt(flat.size)


@pytest.mark.parametrize("level", LEVELS)
def test_motion_blur(level):
    radius, deviation = MOTION[level - 1]
    angles = np.array([float(blur.draw_motion_blur(np.random.default_rng(i), level)) for i in range(len(IMAGES))])
    assert angles.min() < -20
    assert angles.max() > 20
    assert np.abs(angles).max() <= 45
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * deviation**2))
    exact = np.zeros(HWC.shape)
    for image, angle, out in zip(HWC, np.deg2rad(angles), exact, strict=True):
        for i, weight in enumerate(weights / weights.sum()):
            rows = (np.arange(32) + int(np.ceil(i * np.sin(angle) - 0.5))).clip(0, 31)
            columns = (np.arange(32) + int(np.ceil(i * np.cos(angle) - 0.5))).clip(0, 31)
            out += weight * image[rows][:, columns]
    compare(blur.motion_blur(IMAGES, angles, level), exact)


def clipped_zoom(image, factor):
    """SciPy's spline of order 1 on the middle of the image, trimmed to 32 x 32."""
    crop = int(np.ceil(32 / factor))
    top = (32 - crop) // 2
    large = ndimage.zoom(image[top : top + crop, top : top + crop], (factor, factor, 1), order=1)
    trim = (large.shape[0] - 32) // 2
    return large[trim : trim + 32, trim : trim + 32]


@pytest.mark.parametrize("level", LEVELS)
def test_zoom_blur(level):
    factors = np.arange(1, ZOOM_END[level - 1], 0.01)
    exact = np.stack([sum(clipped_zoom(x, f) for f in factors) + x for x in HWC / 255.0]) / (len(factors) + 1) * 255
    compare(blur.zoom_blur(IMAGES, None, level), exact, share=0.98)  # our weights are rounded to 16 bits


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "zoom_blur", "glass_blur", "motion_blur"])
def test_blurs_leave_flat_images_alone(name, level):
    flat = np.broadcast_to(np.arange(256, dtype=np.uint8)[:, None, None, None], (256, 3, 32, 32)).copy()
    draw = getattr(blur, f"draw_{name}", None)
    draws = np.stack([draw(np.random.default_rng(i), level) for i in range(256)]) if draw else None
    assert np.array_equal(getattr(blur, name)(flat, draws, level), flat)
