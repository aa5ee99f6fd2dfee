"""The four noises: their formulas given the draws, and their distributions against NumPy and scikit-image."""

import numpy as np
import pytest
from ddbias.datasets.corruptions import noise
from scipy import stats
from skimage import util

LEVELS = (1, 2, 3, 4, 5)
NAMES = ("gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise")
# Columns 1..5 as published for CIFAR-10.
GAUSSIAN = (0.04, 0.06, 0.08, 0.09, 0.10)
SHOT = (500, 250, 100, 75, 50)
IMPULSE = (0.01, 0.02, 0.03, 0.05, 0.07)
SPECKLE = (0.06, 0.1, 0.12, 0.16, 0.2)
COUNT = 1000


def draws(name, level, count=COUNT):
    draw = getattr(noise, f"draw_{name}")
    return np.stack([draw(np.random.default_rng([7, i]), level) for i in range(count)])


@pytest.fixture(scope="module")
def shared():
    """Draws of 1,000 images by noise: made once, since they are the same for every level."""
    return {name: draws(name, 1) for name in NAMES}


def flat(value, count=COUNT):
    return np.full((count, 3, 32, 32), value, np.uint8)


def random_images(count=20):
    return np.random.default_rng(3).integers(0, 256, (count, 3, 32, 32), dtype=np.uint8)


def same_distribution(ours, reference):
    """Mean and spread of two samples of noisy grey levels, within five standard errors (and a rounding's width)."""
    ours, reference = (values.astype(np.float64).reshape(-1) for values in (ours, reference))
    error = reference.std() * np.sqrt(1 / len(ours) + 1 / len(reference))
    assert abs(ours.mean() - reference.mean()) < 5 * error + 2e-3
    kurtosis = stats.kurtosis(reference) + 2
    spread = reference.std() / 2 * np.sqrt(kurtosis * (1 / len(ours) + 1 / len(reference)))
    assert abs(ours.std() - reference.std()) < 5 * spread + 2e-3


def uncorrelated(images):
    """Neighbours in a row, in a column, in colour, and pixels of consecutive images are uncorrelated."""
    centred = images - images.mean(dtype=np.float64)
    variance = centred.var()
    for axis in range(4):
        first = np.take(centred, range(centred.shape[axis] - 1), axis)
        second = np.take(centred, range(1, centred.shape[axis]), axis)
        assert abs((first * second).mean() / variance) < 5 / np.sqrt(first.size), axis


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", LEVELS)
def test_draws_do_not_depend_on_the_level(name, level):
    assert np.array_equal(draws(name, 1, 3), draws(name, level, 3))


@pytest.mark.parametrize("level", LEVELS)
def test_gaussian_and_speckle_given_the_draws(level, shared):
    images = random_images()
    x = images / 255.0
    for name, scale in (("gaussian_noise", GAUSSIAN[level - 1]), ("speckle_noise", SPECKLE[level - 1] * x)):
        z = shared[name][: len(images)]
        expected = (np.clip(x + scale * z, 0, 1) * 255 + 1e-3).astype(np.uint8)
        ours = getattr(noise, name)(images, z, level)
        assert np.abs(ours.astype(int) - expected).max() <= 1
        assert np.mean(ours == expected) > 0.9999


@pytest.mark.parametrize("level", LEVELS)
def test_gaussian_noise_is_normal(level, shared):
    ours = noise.gaussian_noise(flat(100), shared["gaussian_noise"], level)
    z = np.random.default_rng(1).normal(size=ours.shape, scale=GAUSSIAN[level - 1])
    same_distribution(ours, np.uint8(np.clip(100 / 255 + z, 0, 1) * 255))
    uncorrelated(ours)


@pytest.mark.parametrize("level", LEVELS)
def test_speckle_noise_is_normal(level, shared):
    ours = noise.speckle_noise(flat(180), shared["speckle_noise"], level)
    z = np.random.default_rng(2).normal(size=ours.shape, scale=SPECKLE[level - 1])
    same_distribution(ours, np.uint8(np.clip(180 / 255 * (1 + z), 0, 1) * 255))
    uncorrelated(ours)
    assert not noise.speckle_noise(flat(0, 2), shared["speckle_noise"][:2], level).any()


@pytest.mark.parametrize("level", LEVELS)
def test_impulse_noise_is_scikit_images(level, shared):
    ours = noise.impulse_noise(flat(100), shared["impulse_noise"], level)
    amount = IMPULSE[level - 1]
    reference = util.random_noise(flat(100) / 255.0, mode="s&p", amount=amount, rng=4)
    reference = np.uint8(np.clip(reference, 0, 1) * 255 + 1e-3)
    assert set(np.unique(ours)) == set(np.unique(reference)) == {0, 100, 255}
    for value in (0, 255):
        error = np.sqrt(amount / ours.size)
        assert abs(np.mean(ours == value) - amount / 2) < 5 * error
        assert abs(np.mean(ours == value) - np.mean(reference == value)) < 7 * error
    uncorrelated(ours)


def test_a_higher_impulse_level_replaces_the_same_and_more(shared):
    images = random_images()
    before = images
    for level in LEVELS:
        after = noise.impulse_noise(images, shared["impulse_noise"][:20], level)
        replaced = before != images
        assert np.array_equal(after[replaced], before[replaced])
        assert (after != images).sum() > replaced.sum()
        before = after


@pytest.mark.parametrize("level", LEVELS)
def test_shot_noise_is_the_poisson_quantile(level, shared):
    images = random_images()
    uniform = shared["shot_noise"][: len(images)]
    rate = SHOT[level - 1]
    # SciPy's quantile is the smallest k with cdf(k) >= q, ours with cdf(k) > u: the same but where they are equal.
    count = stats.poisson.ppf(uniform.astype(np.float64), images / 255.0 * rate)
    expected = np.uint8(np.clip(np.maximum(count, 0) / rate, 0, 1) * 255)
    ours = noise.shot_noise(images, uniform, level)
    step = int(np.ceil(255 / rate))
    assert np.abs(ours.astype(int) - expected).max() <= step
    assert np.mean(ours == expected) > 0.9999


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("value", [3, 100, 250])
def test_shot_noise_is_poisson(level, value, shared):
    ours = noise.shot_noise(flat(value), shared["shot_noise"], level)
    counts = np.random.default_rng(6).poisson(value / 255 * SHOT[level - 1], ours.shape)
    same_distribution(ours, np.uint8(np.clip(counts / SHOT[level - 1], 0, 1) * 255))
    uncorrelated(ours)


@pytest.mark.parametrize("level", LEVELS)
def test_shot_noise_at_the_ends(level):
    ends = np.array([0, 1 - 2**-24], np.float32)
    uniform = np.broadcast_to(ends[:, None, None, None], (2, 3, 32, 32)).copy()
    assert not noise.shot_noise(flat(0, 2), uniform, level).any()
    white = noise.shot_noise(flat(255, 2), uniform, level)
    assert (white[0] < 150).all()
    assert (white[1] == 255).all()
