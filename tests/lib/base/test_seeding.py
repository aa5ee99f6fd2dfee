"""Named random streams: what they depend on, and that they leave the global ones alone."""

from __future__ import annotations

import itertools
import random

import numpy as np
import torch
from ddbias.base.seeding import derive, numpy_stream, stream


def test_derived_seeds_stay_what_they_were():
    # Changing them would change every published result.
    assert derive(0) == 3_456_079_177_858_693_020
    assert derive(7, "real_batch", 3) == 3_520_020_672_207_793_075


def test_a_stream_repeats_itself():
    assert torch.equal(torch.rand(5, generator=stream(1, "init")), torch.rand(5, generator=stream(1, "init")))
    np.testing.assert_array_equal(numpy_stream(1, "init").random(5), numpy_stream(1, "init").random(5))


def test_every_seed_and_name_has_its_own_stream():
    names = [(), ("a",), ("b",), ("a", "b"), ("b", "a"), ("ab",), ("a", 1), ("a", 11), ("a", 1, 1), (1, "a")]
    keys = list(itertools.product((0, 1, 10, 2**40), names))
    seeds = [derive(seed, *parts) for seed, parts in keys]
    assert len(set(seeds)) == len(keys)
    assert all(0 <= seed < 2**63 for seed in seeds)
    # The generator of torch looks at 32 bits of its seed only, so the draws themselves are compared.
    first = {torch.randint(2**62, (), generator=stream(seed, *parts)).item() for seed, parts in keys}
    assert len(first) == len(keys)
    assert len({numpy_stream(seed, *parts).random() for seed, parts in keys}) == len(keys)


def test_parts_of_a_name_count_by_what_they_print():
    assert derive(3, 1, "x") == derive(3, "1", "x")
    assert derive(np.int64(3), np.int64(1)) == derive(3, 1)


def test_neighbouring_seeds_and_steps_are_not_correlated():
    draws = torch.stack([torch.randn(2000, generator=stream(0, "noise", step)) for step in range(20)])
    correlation = torch.corrcoef(draws) - torch.eye(20)
    # 190 pairs of standard deviation 1/sqrt(2000) = 0.022: beyond 5 of them once in ten thousand runs.
    assert correlation.abs().max() < 5 / 2000**0.5


def test_the_global_generators_are_left_alone():
    before = (torch.random.get_rng_state(), np.random.get_state()[1].copy(), random.getstate())  # noqa: NPY002
    torch.rand(3, generator=stream(0, "a"))
    numpy_stream(0, "a").random(3)
    assert torch.equal(torch.random.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]
