"""A grid of images as one PNG for people; an edit in here reruns nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ddbias.data import store

SMALLEST_SIDE = 48  # images are enlarged by a whole number until their longer side has at least so many pixels
PAPER = 255
GAPS = 4  # borders that a gap between two blocks of columns is wide
LETTERS = 10  # pixels that a caption is high


def save_grid(
    path: str | Path, images: np.ndarray, *, gap_before: int | None = None, captions: Sequence[str] = ()
) -> None:
    """Write images as a PNG with a thin white border around each; equal images give equal bytes.

    Pixels are repeated, not interpolated, so that what is seen is what is stored.

    Parameters
    ----------
    path : path
    images : ndarray of uint8, shape (rows, columns, C, H, W)
        C is 1 or 3; a white image leaves its cell empty.
    gap_before : int or None
        Column before which a wider gap separates two blocks of columns.
    captions : sequence of str
        What is written under the first images, row after row, as far as it fits; of ASCII letters.
    """
    from PIL import Image, ImageDraw, ImageFont

    rows, columns, _, height, width = images.shape
    factor = max(1, -(-SMALLEST_SIDE // max(height, width)))
    border = max(2, factor)
    gap = 0 if gap_before is None else GAPS * border
    tall, wide = height * factor + border + (LETTERS + border if captions else 0), width * factor + border
    sheet = np.full((rows * tall + border, columns * wide + border + gap, 3), PAPER, np.uint8)
    for row in range(rows):
        for column in range(columns):
            y = row * tall + border
            x = column * wide + border + (gap if gap and column >= gap_before else 0)
            tile = images[row, column].transpose(1, 2, 0).repeat(factor, 0).repeat(factor, 1)
            sheet[y : y + height * factor, x : x + width * factor] = tile  # one channel is spread over three
    picture = Image.fromarray(sheet)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(LETTERS)
    for number, text in enumerate(captions):
        while draw.textlength(text, font) > width * factor:
            text = text[:-1]
        row, column = divmod(number, columns)
        place = (column * wide + border, row * tall + border + height * factor)
        draw.text(place, text, fill=0, font=font)
    with store.whole(path) as part:
        picture.save(part, format="PNG")
