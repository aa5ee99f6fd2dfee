"""Frost: the mixing rule in whole numbers, the substitute textures' statistics, and textures read from files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.datasets.corruptions.frost import CONSTANTS, draw_frost, frost, places
from ddbias.datasets.corruptions.frost_textures import (
    CROP,
    FILES,
    LAGS,
    STATISTICS,
    VARIANCES,
    components,
    read_textures,
    substitute_textures,
)
from PIL import Image
from scipy.optimize import nnls

LEVELS = (1, 2, 3, 4, 5)
COUNT = 60
NAMED = {"frost1": 0, "frost2": 1, "frost4": 3, "frost5": 4}
# Mean of all crops of 32 x 32, standard deviation among their means, mean standard deviation within one.
CROPS = {"frost1": (130, 10, 14), "frost2": (204, 9, 18), "frost4": (157, 11, 26), "frost5": (114, 16, 35)}


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (COUNT, 3, 32, 32), dtype=np.uint8)


@pytest.fixture(scope="module")
def draws():
    return np.stack([draw_frost(np.random.default_rng(i), 1) for i in range(COUNT)])


@pytest.fixture
def photographs(tmp_path):
    rng = np.random.default_rng(1)
    made = {}
    for name, (width, height) in zip(FILES, [(200, 180), (215, 171), (216, 172), (217, 173), (219, 188)], strict=True):
        channels = 4 if name.endswith("png") else 3
        small = rng.integers(0, 256, (9, 11, channels), dtype=np.uint8)
        picture = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))
        Image.fromarray(picture).save(tmp_path / name)
        made[name] = picture
    return tmp_path, made


@pytest.mark.parametrize("level", LEVELS)
def test_frost_is_the_published_mixture(images, draws, level):
    textures = substitute_textures()
    image_weight, frost_weight = (round(100 * weight) for weight in CONSTANTS[level])
    made = frost(images, draws, level, textures)
    for image, (texture, row, column), result in zip(images, draws, made, strict=True):
        ice = textures[int(5 * texture)]
        top, left = int(row * (ice.shape[0] - 32)), int(column * (ice.shape[1] - 32))
        crop = ice[top : top + 32, left : left + 32].transpose(2, 0, 1).astype(int)
        # In whole numbers, so the truncation is exact: the published floats fall either way at whole results.
        expected = np.minimum((image_weight * image.astype(int) + frost_weight * crop) // 100, 255)
        np.testing.assert_array_equal(result, expected)
    assert made.dtype == np.uint8
    assert made.shape == images.shape


@pytest.mark.parametrize("level", LEVELS)
def test_an_image_does_not_depend_on_its_batch(images, draws, level):
    textures = substitute_textures()
    whole = frost(images, draws, level, textures)
    order = np.random.default_rng(2).permutation(COUNT)
    np.testing.assert_array_equal(frost(images[order], draws[order], level, textures), whole[order])
    np.testing.assert_array_equal(frost(images[9:10], draws[9:10], level, textures), whole[9:10])
    large = frost(np.tile(images, (3, 1, 1, 1)), np.tile(draws, (3, 1)), level, textures)
    np.testing.assert_array_equal(large, np.tile(whole, (3, 1, 1, 1)))


def test_textures_are_drawn_with_the_published_probabilities():
    textures = substitute_textures()
    drawn = np.stack([draw_frost(np.random.default_rng(i), 1) for i in range(1000)])
    which, corners = places(drawn, textures)
    pictures = [next(name for name, i in NAMED.items() if textures[i] is textures[index]) for index in which]
    for name, share in {"frost1": 0.2, "frost2": 0.4, "frost4": 0.2, "frost5": 0.2}.items():
        assert pictures.count(name) / 1000 == pytest.approx(share, abs=0.065)  # five standard errors
    for index, (row, column) in zip(which, corners, strict=True):
        height, width, _ = textures[index].shape
        assert 0 <= row < height - 32
        assert 0 <= column < width - 32
    relative = corners / np.array([np.array(textures[index].shape[:2]) - 33 for index in which])
    np.testing.assert_allclose(relative.mean(axis=0), 0.5, atol=0.05)
    np.testing.assert_array_equal(draw_frost(np.random.default_rng(3), 5), drawn[3])


@pytest.mark.parametrize("name", STATISTICS)
def test_substitutes_have_the_photographs_statistics(name):
    shape, means, stds, correlations, _, (red, blue) = STATISTICS[name]
    texture = substitute_textures()[NAMED[name]]
    assert texture.shape == (*shape, 3)
    assert texture.min() >= 0
    assert texture.max() <= 255
    np.testing.assert_array_equal(texture, np.rint(texture))
    values = texture.reshape(-1, 3).astype(float)
    np.testing.assert_allclose(values.mean(axis=0), means, atol=0.1)
    np.testing.assert_allclose(values.std(axis=0), stds, atol=0.1)
    between = np.corrcoef(values.T)
    assert between[0, 1] == pytest.approx(red, abs=0.01)
    assert between[1, 2] == pytest.approx(blue, abs=0.01)
    grey = texture.mean(axis=2, dtype=float)
    grey -= grey.mean()
    measured = [
        ((grey[:-lag] * grey[lag:]).mean() + (grey[:, :-lag] * grey[:, lag:]).mean()) / 2 / grey.var() for lag in LAGS
    ]
    np.testing.assert_allclose(measured, correlations, atol=0.05)


@pytest.mark.parametrize("name", STATISTICS)
def test_stored_variances_are_the_fit_to_the_statistics(name):
    shape, _, _, correlations, between, _ = STATISTICS[name]
    spectra = components(shape)
    covariances = np.fft.ifft2(spectra).real
    np.testing.assert_allclose(covariances[:, 0, 0], 1)
    lagged = [(covariances[:, lag, 0] + covariances[:, 0, lag]) / 2 for lag in LAGS]
    # Variance of the mean of a crop: the mean covariance over all pairs of its pixels.
    box = [np.abs(np.fft.fft(np.ones(CROP) / CROP, side)) ** 2 for side in shape]
    crop_means = (spectra * (box[0][:, None] * box[1])).mean(axis=(1, 2))
    system = np.stack([np.full(len(spectra), 10.0), *lagged, crop_means])  # the variance itself counts most
    fitted, _ = nnls(system, np.array([10.0, *correlations, between]))
    np.testing.assert_allclose(VARIANCES[name], fitted, atol=1e-4)


@pytest.mark.parametrize("name", STATISTICS)
def test_crops_of_substitutes_look_like_crops_of_photographs(name):
    mean, among, within = CROPS[name]
    grey = substitute_textures()[NAMED[name]].mean(axis=2, dtype=float)
    crops = np.lib.stride_tricks.sliding_window_view(grey, (32, 32))[:-1, :-1]
    # How an uneven texture lies decides which part most crops see.
    assert crops.mean() == pytest.approx(mean, abs=4)
    assert crops.mean(axis=(2, 3)).std() == pytest.approx(among, abs=3)
    assert crops.std(axis=(2, 3)).mean() == pytest.approx(within, abs=4)


def test_substitutes_are_the_same_in_every_run_and_cannot_be_written_to():
    first = substitute_textures()
    substitute_textures.cache_clear()
    second = substitute_textures()
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len(second) == 5
    assert second[1] is second[2]
    with pytest.raises(ValueError, match="read-only"):
        second[0][0, 0, 0] = 1


def test_photographs_are_reduced_as_opencv_does(photographs):
    folder, written = photographs
    for name, texture in zip(FILES, read_textures(folder), strict=True):
        picture = np.asarray(Image.open(folder / name))[..., :3]  # alpha dropped; of a JPEG, what Pillow decodes
        expected = cv2.resize(picture, (0, 0), fx=0.2, fy=0.2)
        np.testing.assert_array_equal(texture, expected)
        if name.endswith("png"):
            np.testing.assert_array_equal(texture[0, 0], written[name][2, 2, :3])


def test_photographs_can_be_used_in_place_of_substitutes(photographs, images, draws):
    textures = read_textures(photographs[0])
    which, _ = places(((np.arange(1000) + 0.5) / 1000)[:, None].repeat(3, axis=1), textures)
    np.testing.assert_array_equal(np.bincount(which), [200] * 5)
    assert (frost(images, draws, 3, textures) != frost(images, draws, 3, substitute_textures())).any()


@pytest.mark.parametrize("damage", ["missing", "text", "cut", "small"])
def test_a_photograph_that_cannot_be_used_is_named_in_one_line(photographs, damage):
    path = photographs[0] / FILES[3]
    content = path.read_bytes()
    path.unlink()
    if damage == "text":
        path.write_text("no picture")
    elif damage == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "small":
        Image.new("RGB", (160, 400)).save(path)
    with pytest.raises(DdbiasError) as raised:
        read_textures(photographs[0])
    assert "frost4.jpg" in str(raised.value)
    assert "\n" not in str(raised.value)
