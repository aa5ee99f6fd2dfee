"""Random numbers of 16 bits: their distribution, and that each has bits of its own."""

from __future__ import annotations

import numpy as np
import pytest
from ddbias.datasets.corruptions.draws import draw_normal, draw_uniform
from ddbias.datasets.corruptions.layout import pictures_first, pictures_last
from scipy import stats


def generator(counter=0):
    return np.random.Generator(np.random.Philox(key=5, counter=[0, 0, 0, counter]))


@pytest.mark.parametrize(
    ("draw", "distribution"),
    [(draw_uniform, stats.uniform(-1, 2)), (draw_normal, stats.norm())],
    ids=["uniform", "normal"],
)
def test_numbers_have_their_distribution_and_are_independent(draw, distribution):
    drawn = draw(generator(), (1000, 200))
    assert (drawn.dtype, drawn.shape) == (np.float32, (1000, 200))
    assert stats.kstest(drawn.ravel().astype(float), distribution.cdf).pvalue > 1e-3
    assert drawn.var() == pytest.approx(distribution.var(), rel=0.02)
    flat = drawn.ravel()
    for lag in (1, 2, 3, 4, 200):  # four numbers come from one word
        assert abs(np.corrcoef(flat[:-lag], flat[lag:])[0, 1]) < 0.012  # five standard errors
    assert len(np.unique(flat)) > 60_000  # of 65,536


def test_the_levels_are_those_of_16_bits():
    words = generator().bit_generator.random_raw(50).view(np.uint16)
    normal = draw_normal(generator(), (200,))
    np.testing.assert_allclose(normal, stats.norm.ppf((words + 0.5) / 65536), rtol=1e-6)
    np.testing.assert_array_equal(draw_uniform(generator(), (200,)), words.view(np.int16) / 32768)
    levels = stats.norm.ppf((np.arange(65536) + 0.5) / 65536)
    assert levels.var() == pytest.approx(1, abs=1e-4)


def test_a_count_that_is_no_multiple_of_four():
    many, few = draw_uniform(generator(), (2, 4)), draw_uniform(generator(), (7,))
    np.testing.assert_array_equal(few, many.ravel()[:7])
    assert (draw_uniform(generator(1), (7,)) != few).any()


@pytest.mark.parametrize("count", [0, 1, 5, 300])
def test_pictures_change_places(count):
    stack = np.random.default_rng(0).integers(0, 256, (count, 4, 6), dtype=np.uint8)
    last = pictures_last(stack)
    np.testing.assert_array_equal(last, np.moveaxis(stack, 0, -1))
    assert last.flags.c_contiguous
    np.testing.assert_array_equal(pictures_first(last), stack)
