"""Every corruption against its published formula, on the same random numbers: plain loops, colorsys, torch, OpenCV."""

import colorsys
import importlib
import itertools
import math

import cv2
import numpy as np
import pytest
import torch
from ddbias.datasets.corruptions import CORRUPTIONS, pixels, substitute_textures
from scipy import ndimage, stats
from torch.nn import functional

LEVELS = (1, 2, 3, 4, 5)
RANDOM = np.random.default_rng(5)
SIDE = np.arange(32)


def pictures():
    """White noise, a smooth field with black corner, saturated edges, a grey image."""
    noise = RANDOM.integers(0, 256, (32, 32, 3))
    smooth = ndimage.gaussian_filter(RANDOM.standard_normal((32, 32, 3)), (3, 3, 0))
    smooth = np.clip(128 + 60 * smooth / smooth.std(), 0, 255)
    smooth[:4, :4] = 0
    return [picture.astype(np.uint8) for picture in (noise, smooth, 255 * (smooth > 128), noise[..., :1].repeat(3, 2))]


PICTURES = pictures()


def generator(number=0):
    return np.random.Generator(np.random.Philox(number))


def compare(name, level, published, *more, share=0.999):
    """Compare with grey levels that ``published(picture, rng, level)`` returns.

    They are raised a little before the fraction is dropped: where they are whole, rounding errors decide.
    """
    for number, picture in enumerate(PICTURES):
        made = pixels.truncate(CORRUPTIONS[name](picture, generator(number), level, *more))
        exact = published(picture, generator(number), level)
        difference = np.abs(made - np.clip(exact + 1e-3, 0, 255).astype(int))
        assert made.shape == (32, 32, 3)
        assert difference.max() <= 1
        assert np.mean(difference == 0) >= share


# ---- colours, compression ------------------------------------------------------------------------------------------


def plain_hsv(picture, change):
    out = np.empty(picture.shape)
    for row, column in itertools.product(SIDE, SIDE):
        out[row, column] = colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*picture[row, column] / 255)))
    return 255 * out


def plain_brightness(picture, rng, level):
    added = (0.05, 0.1, 0.15, 0.2, 0.3)[level - 1]
    return plain_hsv(picture, lambda h, s, v: (h, s, min(v + added, 1)))


def plain_saturate(picture, rng, level):
    factor, added = ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2))[level - 1]
    return plain_hsv(picture, lambda h, s, v: (h, min(s * factor + added, 1), v))


def plain_contrast(picture, rng, level):
    mean = picture.sum((0, 1)) / 1024
    return mean + (0.75, 0.5, 0.4, 0.3, 0.15)[level - 1] * (picture - mean)


def jpeg_of_opencv(picture, rng, level):
    quality = [cv2.IMWRITE_JPEG_QUALITY, (80, 65, 58, 50, 40)[level - 1]]
    return cv2.imdecode(cv2.imencode(".jpg", picture[..., ::-1], quality)[1], cv2.IMREAD_COLOR)[..., ::-1]


def box_resized(lines, after):
    """Resize the first axis: means of the pixels whose centre lies in a half-open box, a half rounded up."""
    before, out = len(lines), []
    scale = before / after
    half = max(scale, 1) / 2
    for position in range(after):
        inside = [k for k in range(before) if -half < k + 0.5 - (position + 0.5) * scale <= half]
        out.append((lines[inside].astype(int).sum(0) * 2 + len(inside)) // (2 * len(inside)))
    return np.array(out)


def plain_pixelate(picture, rng, level):
    small = int(32 * (0.95, 0.9, 0.85, 0.75, 0.65)[level - 1])
    for side in (small, 32):
        picture = box_resized(box_resized(picture.swapaxes(0, 1), side).swapaxes(0, 1), side)
    return picture


# ---- blurs ---------------------------------------------------------------------------------------------------------


def plain_filter(picture, kernel, place):
    """Sum shifted copies; ``place(index)`` says which pixel stands for one outside."""
    reach, out = len(kernel) // 2, np.zeros(picture.shape)
    for (down, right), weight in np.ndenumerate(kernel):
        out += weight * picture[place(SIDE + down - reach)][:, place(SIDE + right - reach)]
    return out


def repeated(index):
    return index.clip(0, 31)


def mirrored(index):
    return 31 - np.abs(31 - np.abs(index))


def gaussian(picture, sigma):
    reach = int(4 * sigma + 0.5)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    return plain_filter(picture, np.outer(weights, weights) / weights.sum() ** 2, repeated)


def plain_gaussian_blur(picture, rng, level):
    return gaussian(picture, (0.4, 0.6, 0.7, 0.8, 1)[level - 1])


def plain_defocus(picture, rng, level):
    radius, softness = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1))[level - 1]
    disk, soft = np.zeros((17, 17)), np.zeros((17, 17))
    for down, right in itertools.product(range(-8, 9), range(-8, 9)):
        disk[down + 8, right + 8] = down**2 + right**2 <= radius**2
    for down, right in itertools.product((-1, 0, 1), (-1, 0, 1)):
        soft += math.exp(-(down**2 + right**2) / (2 * softness**2)) * np.roll(disk, (down, right), (0, 1))
    return plain_filter(picture, soft / soft.sum(), mirrored)


def plain_glass(picture, rng, level):
    """Loop over pixels as published, with the exchange of views that gives the second its own value back."""
    sigma, rounds = ((0.05, 1), (0.25, 1), (0.4, 1), (0.25, 2), (0.4, 2))[level - 1]
    moves = rng.integers(-1, 1, (2, 2, 30, 30), dtype=np.int8)
    x = np.uint8(gaussian(picture, sigma) + 1e-3)
    for step, row, column in itertools.product(range(rounds), range(31, 1, -1), range(31, 1, -1)):
        down, right = moves[step, :, row - 2, column - 2]
        x[row, column], x[row + down, column + right] = x[row + down, column + right], x[row, column]
    return gaussian(x, sigma)


def smeared(picture, angle, radius, sigma):
    weights = np.exp(-(np.arange(2 * radius + 1) ** 2) / (2 * sigma**2))
    out = np.zeros(picture.shape)
    for i, weight in enumerate(weights / weights.sum()):
        rows = SIDE + math.ceil(i * math.sin(math.radians(angle)) - 0.5)
        columns = SIDE + math.ceil(i * math.cos(math.radians(angle)) - 0.5)
        out += weight * picture[repeated(rows)][:, repeated(columns)]
    return out


def plain_motion_blur(picture, rng, level):
    return smeared(picture, rng.uniform(-45, 45), *((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5))[level - 1])


def magnified(picture, factor):
    """Interpolate the middle with torch, first and last point on the first and last pixel; keep 32 x 32."""
    crop = math.ceil(32 / factor)
    top, size = (32 - crop) // 2, round(crop * factor)
    middle = torch.from_numpy(picture[top : top + crop, top : top + crop].astype(float)).permute(2, 0, 1)[None]
    large = functional.interpolate(middle, (size, size), mode="bilinear", align_corners=True)[0].permute(1, 2, 0)
    trim = (size - 32) // 2
    return large[trim : trim + 32, trim : trim + 32].numpy()


def plain_zoom_blur(picture, rng, level):
    factors = np.arange(1, (1.06, 1.11, 1.16, 1.21, 1.26)[level - 1], 0.01)
    return (picture + sum(magnified(picture, factor) for factor in factors)) / (1 + len(factors))


# ---- weather, warps ------------------------------------------------------------------------------------------------


def plain_snow(picture, rng, level):
    mean, std, zoom, threshold, radius, sigma, share = (
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    )[level - 1]
    layer = magnified(mean + std * pixels.draw_normal(rng, (32, 32))[..., None], zoom)
    layer = np.uint8(255 * np.clip(np.where(layer < threshold, 0, layer), 0, 1))
    layer = np.round(smeared(layer, rng.uniform(-135, -45), radius, sigma))
    grey = cv2.cvtColor(picture.astype(np.float32), cv2.COLOR_RGB2GRAY)[..., None]
    white = share * picture + (1 - share) * np.maximum(picture, 1.5 * grey + 127.5)
    return white + layer + np.rot90(layer, 2)


def plain_frost(picture, rng, level):
    """In hundredths and whole numbers."""
    image_weight, frost_weight = ((100, 20), (100, 30), (90, 40), (85, 40), (75, 45))[level - 1]
    which, row, column = rng.random(3)
    ice = substitute_textures()[int(5 * which)].astype(int)
    top, left = int(row * (ice.shape[0] - 32)), int(column * (ice.shape[1] - 32))
    return (image_weight * picture.astype(int) + frost_weight * ice[top : top + 32, left : left + 32]) // 100


def plain_plasma(noise, decay):
    """Point by point; coordinates wrap around."""
    points, step, w = {(0, 0): 0.0}, 32, 100.0

    def point(i, j, neighbours):
        mean = sum(points[(i + di) % 32, (j + dj) % 32] for di, dj in neighbours) / 4
        points[i, j] = mean + w * w * noise[i, j]

    while step >= 2:
        half = step // 2
        corners = list(itertools.product(range(0, 32, step), range(0, 32, step)))
        for i, j in corners:
            point(i + half, j + half, [(a, b) for a in (-half, half) for b in (-half, half)])
        for i, j in corners:
            for place in ((i, j + half), (i + half, j)):
                point(*place, [(0, half), (0, -half), (half, 0), (-half, 0)])
        step, w = half, w / decay
    field = np.array([[points[i, j] for j in range(32)] for i in range(32)])
    return (field - field.min()) / np.ptp(field)


def plain_fog(picture, rng, level):
    strength, decay = ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75))[level - 1]
    x, top = picture / 255, picture.max() / 255
    field = plain_plasma(pixels.draw_uniform(rng, (32, 32)), decay)
    return 255 * (x + strength * field[..., None]) * top / (top + strength)


def plain_spatter(picture, rng, level):
    mean, std, sigma, threshold, strength = (
        (0.62, 0.1, 0.7, 0.7, 0.5),
        (0.65, 0.1, 0.8, 0.7, 0.5),
        (0.65, 0.3, 1, 0.69, 0.5),
        (0.65, 0.1, 0.7, 0.69, 0.6),
        (0.65, 0.1, 0.5, 0.68, 0.6),
    )[level - 1]
    layer = gaussian(mean + std * pixels.draw_normal(rng, (32, 32)), sigma)
    layer = np.where(layer < threshold, 0, layer)
    if level > 3:
        mask = gaussian(layer > threshold, strength)
        mask = np.where(mask < 0.8, 0, mask)[..., None]
        return picture * (1 - mask) + mask * [63, 42, 20]
    liquid = np.uint8((255 * layer).astype(int) % 256)
    distance = cv2.distanceTransform(255 - cv2.Canny(liquid, 50, 150), cv2.DIST_L2, 5).clip(max=20)
    relief = cv2.equalizeHist(np.uint8(cv2.blur(distance, (3, 3))))
    relief = plain_filter(relief, np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]), mirrored).clip(0, 255)
    mask = liquid * np.rint(plain_filter(relief, np.full((3, 3), 1 / 9), mirrored))
    return picture + strength * (mask / mask.max())[..., None] * [175, 238, 238]


def sampled(picture, x, y, at_centres):
    """Read bilinearly with torch, mirrored at the edge pixels' centres or at their outer edge."""
    scale, first = (2 / 31, -1) if at_centres else (2 / 32, 1 / 32 - 1)
    grid = torch.from_numpy(np.stack([x, y], -1) * scale + first)[None]
    values = torch.from_numpy(picture.astype(float)).permute(2, 0, 1)[None]
    read = functional.grid_sample(values, grid, "bilinear", "reflection", align_corners=at_centres)
    return read[0].permute(1, 2, 0).numpy()


def plain_elastic(picture, rng, level):
    size, sigma, reach = ((0, 0, 2.56), (1.6, 6.4, 2.24), (2.56, 1.92, 1.92), (3.2, 1.28, 1.6), (3.2, 0.96, 0.96))[
        level - 1
    ]
    fields, moves = np.split(pixels.draw_uniform(rng, 2 * 1024 + 6), [2048])
    points = np.array([[26, 26], [26, 6], [6, 6]])
    moved = np.column_stack([points + reach * moves.reshape(3, 2), np.ones(3)])
    back = np.linalg.solve(moved, points)  # (3, 2): where each pixel of the result comes from
    places = np.stack([*np.meshgrid(SIDE, SIDE), np.ones((32, 32))], -1) @ back
    picture = sampled(picture, *places.transpose(2, 0, 1), at_centres=True)
    if size:
        right, down = (size * ndimage.gaussian_filter(f, sigma, truncate=3) for f in fields.reshape(2, 32, 32))
        picture = sampled(picture, SIDE + right, SIDE[:, None] + down, at_centres=False)
    return picture


# ---- noises --------------------------------------------------------------------------------------------------------


def per_value(drawn):
    return drawn.transpose(1, 2, 0).astype(float)


def plain_gaussian_noise(picture, rng, level):
    z = per_value(rng.standard_normal((3, 32, 32), dtype=np.float32))
    return picture + 255 * (0.04, 0.06, 0.08, 0.09, 0.1)[level - 1] * z


def plain_speckle_noise(picture, rng, level):
    z = per_value(rng.standard_normal((3, 32, 32), dtype=np.float32))
    return picture + picture * (0.06, 0.1, 0.12, 0.16, 0.2)[level - 1] * z


def plain_impulse_noise(picture, rng, level):
    drawn = per_value(rng.integers(0, 2**32, (3, 32, 32), dtype=np.uint32))
    replaced = drawn / 2**32 < (0.01, 0.02, 0.03, 0.05, 0.07)[level - 1]
    return np.where(replaced, np.where(drawn % 2 == 1, 255, 0), picture)


def plain_shot_noise(picture, rng, level):
    rate = (500, 250, 100, 75, 50)[level - 1]
    count = stats.poisson.ppf(per_value(rng.random((3, 32, 32), dtype=np.float32)), picture / 255 * rate)
    return 255 * np.maximum(count, 0) / rate


PLAIN = {
    "snow": plain_snow,
    "fog": plain_fog,
    "brightness": plain_brightness,
    "contrast": plain_contrast,
    "spatter": plain_spatter,
    "elastic": plain_elastic,
    "jpeg": jpeg_of_opencv,
    "pixelate": plain_pixelate,
    "saturate": plain_saturate,
    "gaussian_noise": plain_gaussian_noise,
    "shot_noise": plain_shot_noise,
    "impulse_noise": plain_impulse_noise,
    "speckle_noise": plain_speckle_noise,
    "gaussian_blur": plain_gaussian_blur,
    "defocus_blur": plain_defocus,
    "glass_blur": plain_glass,
    "motion_blur": plain_motion_blur,
    "zoom_blur": plain_zoom_blur,
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", PLAIN)
def test_kernel_is_the_published_formula(name, level):
    compare(name, level, PLAIN[name])


@pytest.mark.parametrize("level", LEVELS)
def test_frost_is_the_published_mixture(level):
    compare("frost", level, plain_frost, substitute_textures(), share=1)


def test_every_kernel_is_tested():
    assert {*PLAIN, "frost", "original"} == set(CORRUPTIONS)


@pytest.mark.parametrize("name", ["gaussian_blur", "defocus_blur", "zoom_blur", "glass_blur", "motion_blur", "elastic"])
def test_flat_images_stay(name):
    for grey, level in itertools.product((0, 1, 77, 127, 254, 255), LEVELS):
        flat = np.full((32, 32, 3), grey, np.uint8)
        assert np.array_equal(pixels.truncate(CORRUPTIONS[name](flat, generator(grey), level)), flat)


@pytest.mark.parametrize("level", LEVELS)
def test_spatter_without_liquid_changes_nothing(level, monkeypatch):
    # The published water divides zero by zero here.
    module = importlib.import_module("ddbias.datasets.corruptions.spatter")
    monkeypatch.setattr(module, "draw_normal", lambda rng, shape: np.full(shape, -3.0))
    assert np.array_equal(CORRUPTIONS["spatter"](PICTURES[0], generator(), level), PICTURES[0])


def test_fog_of_a_black_image_is_black():
    assert not CORRUPTIONS["fog"](np.zeros((32, 32, 3), np.uint8), generator(), 3).any()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise"])
def test_noises_have_their_mean_and_deviation(name, level):
    grey, many = 100, 40
    flat = np.full((32, 32, 3), grey, np.uint8)
    made = np.concatenate([CORRUPTIONS[name](flat, generator(i), level).ravel() for i in range(many)])
    share = (0.01, 0.02, 0.03, 0.05, 0.07)[level - 1]
    mean, deviation = {
        "gaussian_noise": (grey, 255 * (0.04, 0.06, 0.08, 0.09, 0.1)[level - 1]),
        "shot_noise": (grey, math.sqrt(grey * 255 / (500, 250, 100, 75, 50)[level - 1])),
        "impulse_noise": (grey + share * 27.5, math.sqrt(share / 2 * (155**2 + 100**2) - (share * 27.5) ** 2)),
        "speckle_noise": (grey, grey * (0.06, 0.1, 0.12, 0.16, 0.2)[level - 1]),
    }[name]
    assert made.mean() == pytest.approx(mean, abs=5 * deviation / math.sqrt(made.size))
    assert made.std() == pytest.approx(deviation, rel=0.05)


@pytest.mark.parametrize(
    ("draw", "distribution"),
    [(pixels.draw_uniform, stats.uniform(-1, 2)), (pixels.draw_normal, stats.norm())],
    ids=["uniform", "normal"],
)
def test_random_numbers_have_their_distribution_and_are_independent(draw, distribution):
    drawn = draw(generator(), 100_000)
    assert stats.kstest(drawn, distribution.cdf).pvalue > 1e-3
    for lag in (1, 2, 3, 4):  # four numbers come from one word of the generator
        assert abs(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1]) < 0.016  # five standard errors
