"""A grid of images as one PNG for people; an edit in here reruns nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ddbias.data import store

SMALLEST_SIDE = 48  # images are enlarged by a whole number until their longer side has at least so many pixels
PAPER = 255
GAPS = 4  # borders that a gap between two blocks of columns is wide


def save_grid(path: str | Path, images: np.ndarray, *, gap_before: int | None = None) -> None:
    """Write images as a PNG with a thin white border around each; equal images give equal bytes.

    Pixels are repeated, not interpolated, so that what is seen is what is stored.

    Parameters
    ----------
    path : path
    images : ndarray of uint8, shape (rows, columns, C, H, W)
        C is 1 or 3; a white image leaves its cell empty.
    gap_before : int or None
        Column before which a wider gap separates two blocks of columns.
    """
    from PIL import Image

    rows, columns, _, height, width = images.shape
    factor = max(1, -(-SMALLEST_SIDE // max(height, width)))
    border = max(2, factor)
    gap = 0 if gap_before is None else GAPS * border
    tall, wide = height * factor + border, width * factor + border
    sheet = np.full((rows * tall + border, columns * wide + border + gap, 3), PAPER, np.uint8)
    for row in range(rows):
        for column in range(columns):
            y = row * tall + border
            x = column * wide + border + (gap if gap and column >= gap_before else 0)
            tile = images[row, column].transpose(1, 2, 0).repeat(factor, 0).repeat(factor, 1)
            sheet[y : y + height * factor, x : x + width * factor] = tile  # one channel is spread over three
    with store.whole(path) as part:
        Image.fromarray(sheet).save(part, format="PNG")
