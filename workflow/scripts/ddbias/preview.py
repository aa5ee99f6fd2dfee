"""A grid of images as one PNG, to look at."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ddbias import store

SMALLEST_SIDE = 32  # images are enlarged by a whole number until their side has at least so many pixels
GAP = 2


def save_grid(path: str | Path, images: np.ndarray) -> None:
    """Write images (rows, columns, C, H, W) uint8 as a PNG with a thin gap between them.

    C is 1 or 3. Pixels are repeated, not interpolated, so that what is seen is what is stored.
    """
    from PIL import Image

    rows, columns, channels, height, width = images.shape
    factor = max(1, -(-SMALLEST_SIDE // height))
    tall, wide = height * factor + GAP, width * factor + GAP
    sheet = np.full((rows * tall - GAP, columns * wide - GAP, channels), 255, np.uint8)
    for row in range(rows):
        for column in range(columns):
            tile = images[row, column].transpose(1, 2, 0).repeat(factor, 0).repeat(factor, 1)
            sheet[row * tall :, column * wide :][: height * factor, : width * factor] = tile
    picture = Image.fromarray(sheet.squeeze(2) if channels == 1 else sheet)
    with store.whole(path) as part:
        picture.save(part, format="PNG")
