import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.datasets import bias
from ddbias.datasets.bias.reference_noise import RATIOS, reference_noise, torch_normals

SIZES = {"train": 6, "test": 4}


def context(split, ratio, **changes):
    return bias.Context(split, ratio, "anti", seed=42, **{"sizes": SIZES, **changes})


def test_numbers_are_torchs_bit_by_bit():
    generator = torch.Generator().manual_seed(42)
    drawn = torch.cat([torch.randn((3, 1, 1), generator=generator).view(3) for _ in range(3000)]).numpy()
    assert drawn[:3].tolist() == pytest.approx([0.33669037, 0.12880941, 0.23446237])  # of the published generator
    np.testing.assert_array_equal(torch_normals(42, 0, 9000), drawn)
    for first, count in ((1, 1), (2, 5), (777, 1001)):
        np.testing.assert_array_equal(torch_normals(42, first, count), drawn[first : first + count])


def test_far_draws_are_those_of_a_generator_that_came_there_step_by_step():
    generator = torch.Generator().manual_seed(7)
    for _ in range(120_000):
        last = torch.randn((3, 1, 1), generator=generator)
    np.testing.assert_array_equal(torch_normals(7, 359_997, 3), last.view(3).numpy())


def test_files_follow_each_other_as_published():
    """Ratios outer, severities inner, the test set before the training set, one triple an image, seeded once."""
    generator = torch.Generator().manual_seed(42)
    for ratio in RATIOS:
        for severity in (1, 2, 3, 4):
            for split in ("test", "train"):
                expected = torch.stack([torch.randn(3, 1, 1, generator=generator).view(3) for _ in range(SIZES[split])])
                np.testing.assert_array_equal(reference_noise(context(split, ratio), severity), expected.numpy())


def test_first_published_test_image():
    """A digit of colour 0 with the first draw, severity 1: the published pixel values."""
    images = np.zeros((4, 1, 2, 3), np.uint8)
    images[0, 0] = [[0, 51, 102], [153, 204, 255]]
    made = bias.build({"kind": "foreground", "severity": 1, "noise": "reference"})
    coloured = made.apply(images, np.zeros(4, np.int64), np.arange(4), context("test", 0.0))
    assert coloured[0].reshape(3, 6).tolist() == [
        [0, 51, 102, 153, 204, 255],
        [0, 16, 32, 48, 65, 81],
        [0, 9, 18, 27, 36, 45],
    ]


@pytest.mark.parametrize(("ratio", "severity", "said"), [(0.99, 1, "ratio 0.99"), (0.95, 5, "severity 5")])
def test_outside_the_published_grid(ratio, severity, said):
    with pytest.raises(DdbiasError, match=f"on the published grid only, not at {said}; take one of"):
        reference_noise(context("train", ratio), severity)
