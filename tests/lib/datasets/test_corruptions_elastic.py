"""Elastic: against SciPy per image, and against OpenCV within what its coarse coordinates allow."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from ddbias.datasets.corruptions.elastic import (
    CONSTANTS,
    POINTS,
    displacement,
    draw_elastic,
    elastic,
    inverse_affine,
    warp,
)
from scipy import ndimage
from skimage.filters import gaussian

LEVELS = (1, 2, 3, 4, 5)
COUNT = 24


@pytest.fixture(scope="module")
def noisy():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def smooth():
    field = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((COUNT, 3, 32, 32)), (0, 0, 3, 3))
    return (255 * (field - field.min()) / np.ptp(field)).astype(np.uint8)


@pytest.fixture(scope="module")
def draws():
    drawn = [draw_elastic(np.random.default_rng(i), 1) for i in range(COUNT)]
    return tuple(np.stack(part) for part in zip(*drawn, strict=True))


def affine_matrix(moves, reach):
    """The forward map of one image, 2 x 3, as OpenCV solves it."""
    before = np.float32([[26, 26], [26, 6], [6, 6]])
    return cv2.getAffineTransform(before, before + np.float32(reach) * moves)


def exact_affine(image, matrix):
    """Inverse warp of (H, W, 3), bilinear, mirrored at the pixels' centres (SciPy's ``mirror``), with SciPy."""
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    swap = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])  # SciPy counts rows first
    inverse = swap @ inverse @ swap
    channels = [
        ndimage.affine_transform(channel, inverse[:2, :2], inverse[:2, 2], order=1, mode="mirror")
        for channel in image.transpose(2, 0, 1)
    ]
    return np.stack(channels, -1)


def displace(image, fields, level):
    """The second half, on (H, W, 3), as published."""
    size, sigma, _ = CONSTANTS[level]
    dx, dy = (gaussian(field.astype(float), sigma, mode="reflect", truncate=3) * size for field in fields)
    x, y, z = np.meshgrid(np.arange(32), np.arange(32), np.arange(3))
    places = y + dy[..., None], x + dx[..., None], z
    return ndimage.map_coordinates(image, places, order=1, mode="reflect")


def published(images, draws, level, affine):
    moves, fields = draws
    results = []
    for image, move, field in zip(images.transpose(0, 2, 3, 1), moves, fields, strict=True):
        warped = affine(image.astype(np.float64) / 255, affine_matrix(move, CONSTANTS[level][2]))
        results.append(np.clip(displace(warped, field, level), 0, 1) * 255)
    return np.stack(results).transpose(0, 3, 1, 2)


def cv2_affine(image, matrix):
    return cv2.warpAffine(image.astype(np.float32), matrix, (32, 32), borderMode=cv2.BORDER_REFLECT_101)


@pytest.mark.parametrize("level", LEVELS)
def test_elastic_is_bilinear_interpolation_twice(noisy, draws, level):
    made = elastic(noisy, draws, level)
    difference = np.abs(made.astype(int) - published(noisy, draws, level, exact_affine).astype(np.uint8))
    assert difference.max() <= 1  # single precision before the truncation
    assert (difference > 0).mean() < 0.01
    assert made.dtype == np.uint8
    assert made.shape == noisy.shape


@pytest.mark.parametrize("level", LEVELS)
def test_elastic_is_close_to_opencv(smooth, draws, level):
    # OpenCV may round coordinates to 1/32 pixel, so be off by 1/64 per axis; neighbours differ by at most 60 here.
    steepest = max(np.abs(np.diff(smooth.astype(int), axis=axis)).max() for axis in (2, 3))
    assert steepest <= 60
    made = elastic(smooth, draws, level)
    difference = np.abs(made.astype(int) - published(smooth, draws, level, cv2_affine).astype(np.uint8))
    assert difference.max() <= 1 + 2 * 60 / 64
    assert difference.mean() < 0.25


def test_the_affine_map_takes_the_points_back(draws):
    linear, shift = inverse_affine(draws[0], 2.56)
    for move, rotation, offset in zip(draws[0], linear, shift, strict=True):
        np.testing.assert_allclose((POINTS + 2.56 * move) @ rotation.T + offset, POINTS, atol=1e-9)
        forward = np.vstack([affine_matrix(move, 2.56), [0, 0, 1]])
        np.testing.assert_allclose(np.linalg.inv(forward)[:2], np.column_stack([rotation, offset]), atol=1e-4)


def test_points_that_stay_leave_the_image_as_it_is(noisy):
    still = np.zeros((COUNT, 3, 2), np.float32), np.zeros((COUNT, 2, 32, 32), np.float32)
    for level in LEVELS:
        np.testing.assert_array_equal(elastic(noisy, still, level), noisy)


def test_borders_are_mirrored_as_named():
    values = torch.arange(32.0)[None, None, None].expand(1, 1, 32, 32).contiguous()
    x = torch.tensor([-0.4, -1.5, -2.5, 31.4, 32.5])
    places = torch.zeros(1, 32, 32, 2)
    places[0, 0, :5, 0] = x
    at_centres = warp(values, places.clone(), "reflect_101")[0, 0, 0, :5]
    torch.testing.assert_close(at_centres, torch.tensor([0.4, 1.5, 2.5, 30.6, 29.5]), atol=1e-5, rtol=0)
    at_edge = warp(values, places, "reflect")[0, 0, 0, :5]
    torch.testing.assert_close(at_edge, torch.tensor([0.0, 0.5, 1.5, 31.0, 30.5]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("level", LEVELS)
def test_the_displacement_is_a_smoothed_field(draws, level):
    size, sigma, _ = CONSTANTS[level]
    made = displacement(draws[1], level)
    for field, result in zip(draws[1].reshape(-1, 32, 32), made.reshape(-1, 32, 32), strict=True):
        expected = size * gaussian(field.astype(float), sigma, mode="reflect", truncate=3)
        np.testing.assert_allclose(result, expected, atol=2e-6)


@pytest.mark.parametrize("level", LEVELS)
def test_an_image_does_not_depend_on_its_batch(noisy, draws, level):
    whole = elastic(noisy, draws, level)
    order = np.random.default_rng(2).permutation(COUNT)
    np.testing.assert_array_equal(elastic(noisy[order], tuple(part[order] for part in draws), level), whole[order])
    for i in (0, 11, 23):
        alone = elastic(noisy[i : i + 1], tuple(part[i : i + 1] for part in draws), level)
        np.testing.assert_array_equal(alone, whole[i : i + 1])


def test_draws_are_uniform_and_the_same_for_every_level():
    drawn = [draw_elastic(np.random.default_rng(i), 2) for i in range(500)]
    moves, fields = (np.stack(part) for part in zip(*drawn, strict=True))
    assert moves.shape == (500, 3, 2)
    assert fields.shape == (500, 2, 32, 32)
    for values, tolerance in ((moves, 0.05), (fields, 0.005)):
        assert values.min() >= -1
        assert values.max() < 1
        assert abs(values.mean()) < tolerance  # standard errors 0.01 and 0.0006
        assert values.var() == pytest.approx(1 / 3, abs=tolerance)
    for first, second in zip(draw_elastic(np.random.default_rng(3), 5), drawn[3], strict=True):
        np.testing.assert_array_equal(first, second)
