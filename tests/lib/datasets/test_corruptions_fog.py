"""Fog: the plasma fractal against a loop over its points, and the mixing rule."""

from __future__ import annotations

import numpy as np
import pytest
from ddbias.datasets.corruptions.fog import CONSTANTS, draw_fog, fog, plasma

LEVELS = (1, 2, 3, 4, 5)


@pytest.fixture(scope="module")
def images():
    made = np.random.default_rng(0).integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    made[10:15] //= 3  # dark ones: the fog is scaled by the image's maximum
    made[15], made[16] = 0, 255
    return made


@pytest.fixture(scope="module")
def draws():
    return np.stack([draw_fog(np.random.default_rng(i), 1) for i in range(20)])


def plain_plasma(noise, decay):
    """Point by point; coordinates wrap around."""
    points = {(0, 0): 0.0}
    step, w = 32, 100.0
    while step >= 2:
        half = step // 2
        corners = [(i, j) for i in range(0, 32, step) for j in range(0, 32, step)]

        def mean(*neighbours):
            return sum(points[i % 32, j % 32] for i, j in neighbours) / len(neighbours)

        for i, j in corners:
            ends = (i, j), (i + step, j), (i, j + step), (i + step, j + step)
            points[i + half, j + half] = mean(*ends) + w * w * noise[i + half, j + half]
        for i, j in corners:
            points[i, j + half] = (
                mean((i, j), (i, j + step), (i + half, j + half), (i - half, j + half)) + w * w * noise[i, j + half]
            )
            points[i + half, j] = (
                mean((i, j), (i + step, j), (i + half, j + half), (i + half, j - half)) + w * w * noise[i + half, j]
            )
        step, w = half, w / decay
    field = np.array([[points[i, j] for j in range(32)] for i in range(32)])
    field -= field.min()
    return field / field.max()


@pytest.mark.parametrize("level", LEVELS)
def test_the_field_is_diamond_square_on_a_torus(draws, level):
    decay = CONSTANTS[level][1]
    made = plasma(draws, decay)
    for field, noise in zip(made, draws, strict=True):
        np.testing.assert_allclose(field, plain_plasma(noise.astype(float), decay), atol=2e-6)
    np.testing.assert_array_equal(made.min(axis=(1, 2)), 0)
    np.testing.assert_array_equal(made.max(axis=(1, 2)), 1)


@pytest.mark.parametrize("level", LEVELS)
def test_fog_is_the_published_rule(images, draws, level):
    strength, decay = CONSTANTS[level]
    made = fog(images, draws, level)
    for image, noise, result in zip(images, draws, made, strict=True):
        x = image.transpose(1, 2, 0) / 255.0
        top = x.max()
        x = x + strength * plain_plasma(noise.astype(float), decay)[..., None]
        expected = (np.clip(x * top / (top + strength), 0, 1) * 255).astype(np.uint8).transpose(2, 0, 1)
        difference = np.abs(result.astype(int) - expected)
        assert difference.max() <= 1  # single precision before the truncation
        assert (difference > 0).mean() < 0.01
    assert made.dtype == np.uint8
    assert made.shape == images.shape
    assert not made[15].any()  # black: its maximum is 0, so the fog is too


@pytest.mark.parametrize("level", LEVELS)
def test_fog_on_an_image_does_not_depend_on_its_batch(images, draws, level):
    whole = fog(images, draws, level)
    order = np.random.default_rng(1).permutation(len(images))
    np.testing.assert_array_equal(fog(images[order], draws[order], level), whole[order])
    np.testing.assert_array_equal(fog(images[3:4], draws[3:4], level), whole[3:4])
    large = fog(np.tile(images, (10, 1, 1, 1)), np.tile(draws, (10, 1, 1)), level)
    np.testing.assert_array_equal(large, np.tile(whole, (10, 1, 1, 1)))


def test_draws_are_uniform_and_the_same_for_every_level():
    drawn = np.stack([draw_fog(np.random.default_rng(i), 2) for i in range(500)])
    assert drawn.shape == (500, 32, 32)
    assert drawn.min() >= -1
    assert drawn.max() < 1
    assert abs(drawn.mean()) < 0.005  # standard error 0.0008
    assert drawn.var() == pytest.approx(1 / 3, rel=0.01)
    np.testing.assert_array_equal(draw_fog(np.random.default_rng(3), 5), drawn[3])


def test_a_lower_decay_is_a_rougher_fog():
    noise = np.stack([draw_fog(np.random.default_rng(i), 1) for i in range(100)])
    rough = [np.abs(np.diff(plasma(noise, decay), axis=2)).mean() for decay in (3.0, 2.5, 2.0, 1.75)]
    assert rough == sorted(rough)
    assert rough[-1] > 1.2 * rough[0]
