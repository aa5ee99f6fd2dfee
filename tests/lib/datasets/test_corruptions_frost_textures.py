"""Textures of frost: the substitutes' statistics, and what is read from files."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from ddbias.base.errors import DdbiasError
from ddbias.datasets.corruptions import corrupt
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

NAMED = {"frost1": 0, "frost2": 1, "frost4": 3, "frost5": 4}
# Mean of all crops of 32 x 32, standard deviation among their means, mean standard deviation within one.
CROPS = {"frost1": (130, 10, 14), "frost2": (204, 9, 18), "frost4": (157, 11, 26), "frost5": (114, 16, 35)}


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


def test_textures_and_corners_are_equally_likely():
    """Read from the result: each texture is a ramp of its rows and columns, and tells its number."""
    height, width, many = 36, 40, 2000
    down, right = np.indices((height, width))
    textures = [np.stack([0 * down + 20 * number, 2.5 * down, 2.5 * right], -1) for number in range(5)]
    black = np.zeros((many, 3, 32, 32), np.uint8)
    drawn = {"severity": 2, "seed": 0, "split": "train", "index": np.arange(many)}
    made = corrupt(black, "frost", textures=textures, **drawn)  # column 3: 0.4 of the texture
    for channel, choices in ((0, 5), (1, height - 32), (2, width - 32)):
        first = made[:, channel, 0, 0] // (8 if channel == 0 else 1)
        counts = np.bincount(first, minlength=choices)
        assert len(counts) == choices
        np.testing.assert_allclose(counts / many, 1 / choices, atol=5 / np.sqrt(many * choices))


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
