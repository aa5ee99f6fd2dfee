"""Multi-formation against tiles that are cut and enlarged by hand."""

import numpy as np
import pytest
import torch
from ddbias.base.errors import DdbiasError
from ddbias.data.formation import decode, decode_labels, mosaic
from ddbias.data.split import normalize
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

MEAN, STD = [0.2, 0.4, 0.6], [0.3, 0.2, 0.25]


def images(count=2, height=8, width=8, seed=0):
    return torch.rand((count, 3, height, width), generator=torch.Generator().manual_seed(seed))


def by_hand(stored, factor, grey):
    """Fill up, cut and enlarge one image after the other; `grey` has a value for each channel."""
    decoded = []
    for image in stored:
        channels, height, width = image.shape
        tall, wide = int(np.ceil(height / factor)), int(np.ceil(width / factor))
        canvas = torch.empty(channels, tall * factor, wide * factor)
        for channel in range(channels):
            canvas[channel] = grey[channel]
        canvas[:, :height, :width] = image
        for i in range(factor):
            for j in range(factor):
                tile = canvas[:, i * tall : (i + 1) * tall, j * wide : (j + 1) * wide]
                decoded.append(interpolate(tile[None], size=(height, width), mode="bilinear", align_corners=False)[0])
    return torch.stack(decoded)


@pytest.mark.parametrize(("height", "width", "factor"), [(8, 8, 2), (9, 9, 2), (28, 28, 3), (32, 32, 3), (7, 12, 2)])
def test_decoding_cuts_and_enlarges(height, width, factor):
    stored = images(3, height, width)
    decoded = decode(stored, factor, mean=[0, 0, 0], std=[1, 1, 1])
    assert decoded.shape == (3 * factor**2, 3, height, width)
    torch.testing.assert_close(decoded, by_hand(stored, factor, [0.5] * 3), rtol=1e-6, atol=1e-6)


def test_four_grey_tiles_by_numbers():
    stored = torch.tensor([[1.0, 1, 2, 2], [1, 1, 2, 2], [3, 3, 0, 4], [3, 3, 0, 4]])[None, None]
    decoded = decode(stored, 2, mean=[0], std=[1])[:, 0]
    assert [tile.unique().tolist() for tile in decoded[:3]] == [[1], [2], [3]]
    # Two columns, 0 and 4, become four: the outer ones are kept and the inner ones a quarter of the way.
    assert decoded[3].tolist() == [[0, 1, 3, 4]] * 4


def test_what_fills_up_normalised_images_is_grey():
    pixels = torch.full((1, 3, 9, 9), 0.5)
    grey = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)
    normalised = (pixels - grey[0]) / grey[1]
    decoded = decode(normalised, 2, mean=MEAN, std=STD)
    torch.testing.assert_close(decoded, normalised.expand(4, -1, -1, -1), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("side", [8, 9])
def test_decoding_and_normalising_can_be_exchanged(side):
    raw = torch.randint(0, 256, (2, 3, side, side), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    first = decode(normalize(raw, MEAN, STD), 2, mean=MEAN, std=STD)
    last = decode(raw / 255, 2, mean=[0, 0, 0], std=[1, 1, 1])
    expected = (last - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(first, expected, rtol=1e-5, atol=1e-5)


def test_one_tile_is_the_image_itself():
    stored, labels = images(), torch.tensor([3, 1])
    assert torch.equal(decode(stored, 1, mean=MEAN, std=STD), stored)
    assert torch.equal(mosaic(stored, 1), stored)
    assert torch.equal(decode_labels(labels, 1), labels)


def test_labels_follow_their_images():
    stored = torch.stack([torch.full((3, 8, 8), float(value)) for value in range(5)])
    decoded = decode(stored, 2, mean=MEAN, std=STD)
    labels = decode_labels(torch.arange(5), 2)
    assert torch.equal(decoded[:, 0, 0, 0].long(), labels)
    assert labels.tolist() == sorted(labels.tolist())
    assert len(labels) == 20


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(4, 20), st.integers(4, 20), st.integers(1, 3))
def test_a_mosaic_decodes_to_its_images(factor, height, width, count):
    if any((factor - 1) * -(-side // factor) >= side for side in (height, width)):
        return
    colours = torch.arange(count * factor**2, dtype=torch.float32)
    plain = colours.view(-1, 1, 1, 1).expand(-1, 3, height, width)
    stored = mosaic(plain, factor)
    assert stored.shape == (count, 3, height, width)
    decoded = decode(stored, factor, mean=[0, 0, 0], std=[1, 1, 1])
    # The corner is far from what fills up the last tiles.
    torch.testing.assert_close(decoded[:, 0, 0, 0], colours)


def test_a_mosaic_holds_every_second_pixel():
    pictures = images(4)
    stored = mosaic(pictures, 2)[0]
    for position, picture in enumerate(pictures):
        i, j = divmod(position, 2)
        assert torch.equal(stored[:, 4 * i : 4 * i + 4, 4 * j : 4 * j + 4], picture[:, ::2, ::2])


def test_decoding_is_linear_in_the_pixels():
    """So its gradient spreads every tile's gradient over the tile, as the transposed matrix says."""
    stored = images(1).double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: decode(x, 2, mean=MEAN, std=STD), stored)
    decode(stored, 2, mean=MEAN, std=STD).sum().backward()
    assert stored.grad.sum().item() == pytest.approx(4 * stored.numel())


@pytest.mark.parametrize(
    ("factor", "side", "message"),
    [(0, 8, "is 0; it must be 1"), (3, 4, "factor 3 cuts a side of 4 pixels into empty tiles"), (9, 8, "empty")],
)
def test_an_impossible_factor_is_one_line(factor, side, message):
    for call in (
        lambda: decode(images(1, side, side), factor, mean=MEAN, std=STD),
        lambda: mosaic(images(max(factor, 1) ** 2, side, side), factor),
    ):
        with pytest.raises(DdbiasError, match=message):
            call()


@pytest.mark.parametrize(("side", "factor"), [(9, 2), (28, 3), (8, 3)])
def test_a_smaller_last_tile_shows_the_whole_image(side, factor):
    images = torch.randn(factor**2, 2, side, side, generator=torch.Generator().manual_seed(0))
    (stored,) = mosaic(images, factor)
    tile = -(-side // factor)
    for n, image in enumerate(images):
        top, left = (tile * place for place in divmod(n, factor))
        height, width = min(tile, side - top), min(tile, side - left)
        rows, columns = (torch.arange(length) * side // length for length in (height, width))
        assert torch.equal(stored[:, top : top + height, left : left + width], image[:, rows][:, :, columns])
