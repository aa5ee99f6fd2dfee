"""DSA: the published draws and values, and the fast forms against plain loops over pixels."""

from __future__ import annotations

import math

import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.learning.augment import dsa as augment
from ddbias.learning.augment.draws import BatchDraws, SeededDraws
from ddbias.learning.augment.dsa import DSA, STRATEGIES
from hypothesis import given, settings
from hypothesis import strategies as st

ALL = "color_crop_cutout_flip_scale_rotate"
DIGITS = "color_crop_cutout_scale_rotate"


@pytest.fixture
def waves():
    """The images of the published probes."""
    return torch.sin(torch.arange(384) + 1.0).view(2, 3, 8, 8)


def noise(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize(
    ("strategy", "names"),
    [
        (ALL, "cutout crop color scale scale rotate cutout flip flip scale rotate flip"),
        (DIGITS, "rotate color scale crop color crop color color scale color cutout crop"),
    ],
)
def test_a_seed_draws_the_published_strategy(strategy, names):
    assert [DSA(strategy).strategy_of(seed) for seed in range(12)] == names.split()


# Sum and sum of absolute values with the first parameter drawn from seed 0, 1 and 2.
PROBES = {
    "crop": [(-0.35961, 214.14355), (0.1218, 213.63838), (-0.00162, 213.63846)],
    "cutout": [(0.13691, 213.83786), (0.92511, 213.51163), (2.01655, 214.21109)],
    "color": [(-0.87503, 368.86258), (99.49297, 156.526), (44.60534, 156.51663)],
    "scale": [(0.54277, 186.41534), (0.46237, 183.76801), (-0.33212, 168.79166)],
    "rotate": [(0.55359, 242.92075), (-0.33449, 167.61064), (0.15491, 202.4709)],
}


@pytest.mark.parametrize("name", PROBES)
def test_values_are_the_published_ones(name, waves):
    for first_parameter_seed, (total, absolute) in enumerate(PROBES[name]):
        out = DSA(name)(waves, first_parameter_seed - 1).double()
        # Four units in the last place of the float32 sums that were published.
        assert out.sum().item() == pytest.approx(total, rel=0, abs=2e-5)
        assert out.abs().sum().item() == pytest.approx(absolute, rel=3e-7, abs=0)


def test_only_the_first_of_three_seeds_flips(waves):
    outs = [DSA("flip")(waves, seed - 1) for seed in range(3)]
    assert torch.equal(outs[0], waves.flip(3))
    assert torch.equal(outs[1], waves)
    assert torch.equal(outs[2], waves)


def test_the_first_parameter_follows_the_strategy_by_one_seed(waves):
    for seed in range(12):
        dsa = DSA(ALL)
        assert torch.equal(dsa(waves, seed), DSA(dsa.strategy_of(seed))(waves, seed))


@pytest.mark.parametrize("name", STRATEGIES)
@pytest.mark.parametrize("size", [1, 2, 17])
def test_parameters_do_not_depend_on_the_batch_size(name, size):
    images = noise(256, 3, 8, 8)
    for seed in (3, 4, 99_999):
        whole = DSA(name)(images, seed)
        torch.testing.assert_close(DSA(name)(images[:size], seed), whole[:size], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_siamese_batch_shares_its_parameters(name):
    images = noise(1, 3, 9, 8).expand(5, -1, -1, -1)
    for seed in range(4):
        out = DSA(name)(images, seed)
        torch.testing.assert_close(out, out[:1].expand_as(out), rtol=1e-6, atol=1e-6)


def test_per_sample_draws_one_strategy_but_parameters_for_each_image():
    images = noise(1, 3, 16, 16).expand(64, -1, -1, -1)
    for name in STRATEGIES:
        out = DSA(name).per_sample(images, torch.Generator().manual_seed(0))
        distinct = len(torch.unique(out.flatten(1), dim=0))
        assert distinct == 2 if name == "flip" else distinct > 8, name
    # A crop in one image and a flip in another would differ from both single strategies.
    seeds = range(30)
    chosen = [DSA(ALL).per_sample(images, torch.Generator().manual_seed(s)) for s in seeds]
    single = {}
    for s in seeds:
        generator = torch.Generator().manual_seed(s)
        name = list(STRATEGIES)[int(torch.randint(6, (1,), generator=generator))]
        expected = DSA(name).per_sample(images, torch.Generator().manual_seed(s))
        assert torch.equal(chosen[s], expected)
        single[name] = True
    assert len(single) == 6


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (augment.color, (0.3, 1.7, 0.6)),
        (augment.crop, (-2, 3)),
        (augment.crop, (0, 0)),
        (augment.cutout, (0, 5)),
        (augment.cutout, (9, 3)),
        (augment.flip, (True,)),
        (augment.flip, (False,)),
        (augment.scale, (0.85, 1.15)),
        (augment.rotate, (0.2,)),
    ],
)
def test_equal_parameters_for_each_image_give_the_siamese_result(function, parameters):
    images = noise(4, 3, 10, 9)
    tensors = [torch.tensor([value] * 4) for value in parameters]
    torch.testing.assert_close(function(images, *tensors), function(images, *parameters), rtol=1e-5, atol=2e-6)


def test_different_parameters_give_each_image_its_own_result():
    images = noise(3, 2, 8, 8)
    cases = {
        augment.color: ([0.1, -0.4, 0.0], [0.0, 1.0, 1.9], [0.5, 1.0, 1.4]),
        augment.crop: ([0, -1, 1], [1, 0, -1]),
        augment.cutout: ([0, 4, 8], [8, 2, 1]),
        augment.flip: ([True, False, True],),
        augment.scale: ([0.9, 1.0, 1.1], [1.1, 0.9, 1.0]),
        augment.rotate: ([-0.2, 0.0, 0.2],),
    }
    for function, columns in cases.items():
        together = function(images, *map(torch.tensor, columns))
        for i, row in enumerate(zip(*columns, strict=True)):
            torch.testing.assert_close(together[i : i + 1], function(images[i : i + 1], *row), rtol=1e-5, atol=2e-6)


def slow_color(image, brightness, saturation, contrast):
    image = image + brightness
    mean = image.mean(0, keepdim=True)
    image = (image - mean) * saturation + mean
    return (image - image.mean()) * contrast + image.mean()


def slow_crop(image, rows, columns):
    out = torch.zeros_like(image)
    _, height, width = image.shape
    for i in range(height):
        for j in range(width):
            if 0 <= i + rows < height and 0 <= j + columns < width:
                out[:, i, j] = image[:, i + rows, j + columns]
    return out


def slow_cutout(image, rows, columns):
    out = image.clone()
    _, height, width = image.shape
    for i in range(int(height / 2 + 0.5)):
        for j in range(int(width / 2 + 0.5)):
            # Published: indices outside of the image are moved to its border.
            row = min(max(i + rows - int(height / 2 + 0.5) // 2, 0), height - 1)
            column = min(max(j + columns - int(width / 2 + 0.5) // 2, 0), width - 1)
            out[:, row, column] = 0
    return out


def slow_warp(image, matrix, align_corners):
    """Bilinear sampling at matrix @ (x, y), coordinates in -1..1, 0 outside."""
    out = torch.zeros_like(image)
    _, height, width = image.shape

    def normalised(index, side):
        return 2 * index / (side - 1) - 1 if align_corners else (2 * index + 1) / side - 1

    def pixels(coordinate, side):
        return (coordinate + 1) / 2 * (side - 1) if align_corners else ((coordinate + 1) * side - 1) / 2

    for i in range(height):
        for j in range(width):
            y, x = normalised(i, height), normalised(j, width)
            column = pixels(matrix[0][0] * x + matrix[0][1] * y, width)
            row = pixels(matrix[1][0] * x + matrix[1][1] * y, height)
            for r in (math.floor(row), math.floor(row) + 1):
                for c in (math.floor(column), math.floor(column) + 1):
                    if 0 <= r < height and 0 <= c < width:
                        out[:, i, j] += (1 - abs(row - r)) * (1 - abs(column - c)) * image[:, r, c]
    return out


sides = st.integers(5, 9)


@settings(max_examples=25, deadline=None)
@given(height=sides, width=sides, channels=st.sampled_from([1, 3]), data=st.data())
def test_fast_forms_equal_plain_loops(height, width, channels, data):
    images = noise(2, channels, height, width, seed=height * width, dtype=torch.float64)
    down, right = data.draw(st.integers(-2, 2)), data.draw(st.integers(-2, 2))
    assert torch.equal(augment.crop(images, down, right)[1], slow_crop(images[1], down, right))
    row, column = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    assert torch.equal(augment.cutout(images, row, column)[1], slow_cutout(images[1], row, column))
    factors = data.draw(st.tuples(*[st.floats(0.0, 2.0)] * 3))
    torch.testing.assert_close(augment.color(images, *factors)[1], slow_color(images[1], *factors))


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("factors", [(0.84, 1.19), (1.0, 1.0), (1.19, 0.9)])
def test_warps_equal_a_plain_loop(align_corners, factors):
    images = noise(2, 3, 7, 8, dtype=torch.float64)
    scaled = augment.scale(images, *factors, align_corners=align_corners)
    expected = slow_warp(images[1], ((factors[0], 0), (0, factors[1])), align_corners)
    # The shared grid is written in float32.
    torch.testing.assert_close(scaled[1], expected, rtol=0, atol=1e-5)
    angle = factors[0] - 1
    matrix = ((math.cos(angle), -math.sin(angle)), (math.sin(angle), math.cos(angle)))
    rotated = augment.rotate(images, angle, align_corners=align_corners)
    torch.testing.assert_close(rotated[1], slow_warp(images[1], matrix, align_corners), rtol=0, atol=1e-5)


def test_align_corners_reaches_both_warps():
    images = noise(2, 3, 8, 8)
    for name in ("scale", "rotate"):
        assert not torch.allclose(DSA(name)(images, 5), DSA(name, align_corners=True)(images, 5))


@pytest.mark.parametrize("side", [28, 32])
def test_parameters_stay_in_the_published_ranges(side):
    ones = torch.ones(500, 1, side, side)
    generator = torch.Generator().manual_seed(1)
    cropped = DSA("crop").per_sample(ones, generator)[:, 0]
    rows, columns = cropped.amax(2).sum(1), cropped.amax(1).sum(1)
    assert {side - int(v) for v in rows.unique()} == {0, 1, 2, 3, 4}
    assert {side - int(v) for v in columns.unique()} == {0, 1, 2, 3, 4}
    removed = (1 - DSA("cutout").per_sample(ones, generator)[:, 0]).flatten(1).sum(1)
    assert removed.max() == (side // 2) ** 2
    assert removed.min() >= (side // 4) ** 2
    brighter = DSA("color").per_sample(ones, generator).flatten(1).mean(1)
    assert 0.5 <= brighter.min() < 0.51
    assert 1.49 < brighter.max() < 1.5
    flipped = DSA("flip").per_sample(torch.arange(side).float().expand(500, 1, side, side), generator)[:, 0, 0, 0]
    assert 200 < (flipped != 0).sum() < 300


@pytest.mark.parametrize("name", STRATEGIES)
def test_gradient_is_that_of_a_linear_map(name):
    images = noise(3, 3, 8, 8, dtype=torch.float64).requires_grad_()
    direction = noise(3, 3, 8, 8, seed=1, dtype=torch.float64)
    for apply in (lambda x: DSA(name)(x, 11), lambda x: DSA(name).per_sample(x, torch.Generator().manual_seed(2))):
        (gradient,) = torch.autograd.grad((apply(images) * direction).sum(), images)
        step = noise(3, 3, 8, 8, seed=2, dtype=torch.float64)
        change = ((apply(images + step) - apply(images)) * direction).sum()
        torch.testing.assert_close((gradient * step).sum(), change, rtol=1e-9, atol=1e-9)
        assert gradient.abs().sum() > 0


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    for name in STRATEGIES:
        DSA(name)(noise(4, 3, 8, 8), 7)
        DSA(name).per_sample(noise(4, 3, 8, 8), torch.Generator().manual_seed(0))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("strategy", ["", "none", "None"])
def test_no_strategy_leaves_images_and_generator_alone(strategy, waves):
    generator = torch.Generator().manual_seed(0)
    before = generator.get_state()
    assert DSA(strategy)(waves, 3) is waves
    assert DSA(strategy).per_sample(waves, generator) is waves
    assert torch.equal(generator.get_state(), before)
    assert DSA(strategy).strategy_of(3) == ""


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", STRATEGIES)
def test_the_type_of_the_images_is_kept(name, dtype, waves):
    for out in (DSA(name)(waves.to(dtype), 4), DSA(name).per_sample(waves.to(dtype), torch.Generator())):
        assert out.dtype == dtype
    torch.testing.assert_close(DSA(name)(waves.to(dtype), 4).float(), DSA(name)(waves, 4), rtol=0.05, atol=0.05)


def test_mistakes_are_told_in_one_line():
    with pytest.raises(DdbiasError, match=r"unknown augmentation 'colour'; known: .*Did you mean 'color'\?$"):
        DSA("colour_crop")
    with pytest.raises(DdbiasError, match=r"float images of shape \(B, C, H, W\), got torch.uint8 \(2, 3, 8, 8\)"):
        DSA("crop")(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 0)


@pytest.mark.parametrize(("side", "last"), [(8, 8), (10, 9), (28, 28), (30, 29)])  # boxes of 4, 5, 14 and 15 pixels
def test_centres_of_cutout_are_the_published_ones(side, last):
    """``randint(0, side + (1 - length % 2))``: the far border only for boxes of even length."""
    rows, columns = DSA("cutout").drawn(BatchDraws(torch.Generator().manual_seed(0), 4000), side, side)[1]
    shared = [DSA("cutout").drawn(SeededDraws(seed), side, side)[1] for seed in range(1000)]
    for centres in (rows.tolist(), columns.tolist(), [c for pair in shared for c in pair]):
        assert set(centres) == set(range(last + 1))
