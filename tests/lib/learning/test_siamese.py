"""DSA of all classes in one pass, against the calls class by class."""

import pytest
import torch
from ddbias.base.seeding import stream
from ddbias.learning.augment.dsa import DSA, STRATEGIES
from ddbias.learning.augment.siamese import SiameseClasses
from hypothesis import given, settings
from hypothesis import strategies as st

EVERY = "_".join(STRATEGIES)


def noise(count, height=8, width=9, seed=0):
    return torch.randn(count, 3, height, width, generator=stream(seed, "siamese"))


def both_ways(augment, sizes, seeds, **shape):
    """Images and the gradient of a weighted sum of them, at once and class by class."""
    results = []
    for at_once in (True, False):
        leaf = noise(sum(sizes), **shape).requires_grad_(True)
        parts = zip(leaf.split(sizes), seeds, strict=True)
        images = SiameseClasses(augment)(leaf, seeds, sizes) if at_once else torch.cat([augment(*p) for p in parts])
        direction = noise(sum(sizes), **shape, seed=1)
        results.append((images.detach(), torch.autograd.grad((images * direction).sum(), leaf)[0]))
    return results


@given(
    seeds=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=6),
    sizes=st.lists(st.integers(1, 4), min_size=6, max_size=6),
    height=st.integers(2, 9),
    align_corners=st.booleans(),
)
@settings(max_examples=60, deadline=None)
def test_it_is_dsa_class_by_class(seeds, sizes, height, align_corners):
    augment = DSA(EVERY, align_corners=align_corners)
    (images, gradient), (wanted, slope) = both_ways(augment, sizes[: len(seeds)], seeds, height=height)
    torch.testing.assert_close(images, wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("strategy", [*STRATEGIES, "crop_flip", "color_rotate"])
def test_each_strategy(strategy):
    seeds = list(range(20))
    augment = DSA(strategy)
    (images, gradient), (wanted, slope) = both_ways(augment, [2] * 20, seeds)
    torch.testing.assert_close(images, wanted, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-5)
    assert {augment.strategy_of(seed) for seed in seeds} == set(augment.names)
    assert not torch.equal(images, noise(40))


def test_no_strategy_gives_the_images_back():
    images = noise(4)
    assert SiameseClasses(DSA("none"))(images, [1, 2], [2, 2]) is images


def test_what_captures_sees_tensors_of_fixed_shapes():
    """Whatever the seeds: a captured graph knows nothing else of a step."""
    seen = []

    def capture(function):
        def call(*tensors):
            assert not any(tensor.requires_grad for tensor in tensors)
            seen.append([(tensor.shape, tensor.dtype) for tensor in tensors])
            return function(*tensors)

        return call

    siamese = SiameseClasses(DSA(EVERY), capture)
    for seed in range(8):
        leaf = noise(5).requires_grad_(True)
        siamese(leaf, [seed, seed + 8], [2, 3]).sum().backward()
    assert len(seen) == 16
    assert all(shapes == seen[0] for shapes in seen)


@pytest.mark.parametrize("channels", [1, 4])
def test_all_classes_at_once_with_other_numbers_of_channels(channels):
    images, augment = torch.randn(40, channels, 8, 8, generator=torch.Generator().manual_seed(0)), DSA(EVERY)
    wanted = torch.cat([augment(part, seed) for seed, part in enumerate(images.split(2))])
    torch.testing.assert_close(SiameseClasses(augment)(images, range(20), [2] * 20), wanted, rtol=1e-6, atol=1e-6)


def test_images_of_another_side_do_not_get_the_numbers_of_the_last_call():
    augment = DSA(EVERY)
    at_once = SiameseClasses(augment)
    for side in (8, 6, 8):
        images = torch.randn(40, 3, side, side, generator=torch.Generator().manual_seed(side))
        wanted = torch.cat([augment(part, seed) for seed, part in enumerate(images.split(2))])
        torch.testing.assert_close(at_once(images, range(20), [2] * 20), wanted, rtol=1e-6, atol=1e-6)
