"""Multi-formation: one stored image holds factor x factor training images at a lower resolution.

Source: IDC, Kim et al., "Dataset Condensation via Efficient Synthetic-Data Parameterization" (arXiv 2205.14959,
section 4). The same pixels give more, smoother images: a stored image is cut into tiles, and each tile is enlarged to
the full size. Training, previews and exports use the decoded images.

Images are in order: tile (i, j) of stored image n is decoded image ``(n * factor + i) * factor + j``, so labels that
are class after class stay so.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn.functional import interpolate

from ddbias.base.errors import DdbiasError

GREY = 0.5  # of pixels in 0..1: fills up an image whose side is no multiple of the factor


def decode(images: torch.Tensor, factor: int, *, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """Return the training images that stored images hold.

    An image is padded with grey at its bottom and right to a multiple of `factor`, cut into tiles, and each tile
    is resized to the size of the image (bilinear, corners not aligned), as published.

    Parameters
    ----------
    images : Tensor of float, shape (N, C, H, W)
        Normalised with `mean` and `std`.
    factor : int
        1 returns `images` themselves.
    mean, std : sequence of float, length C
        Of pixels in 0..1; they say what grey is. ``[0], [1]`` for images that are not normalised.

    Returns
    -------
    Tensor, shape (N * factor ** 2, C, H, W)
        Differentiable with respect to `images`.

    Raises
    ------
    DdbiasError
        If `factor` is below 1 or so large that a tile would have no pixels.
    """
    height, width = images.shape[2:]
    tall, wide = _tile(height, factor), _tile(width, factor)
    if factor == 1:
        return images
    if (height, width) != (tall * factor, wide * factor):
        grey = [(GREY - m) / s for m, s in zip(mean, std, strict=True)]
        filled = images.new_tensor(grey).view(-1, 1, 1).repeat(len(images), 1, tall * factor, wide * factor)
        filled[:, :, :height, :width] = images
        images = filled
    tiles = images.unflatten(3, (factor, wide)).unflatten(2, (factor, tall))  # (N, C, rows, tall, columns, wide)
    tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(0, 2)  # (N * rows * columns, C, tall, wide)
    return interpolate(tiles, size=(height, width), mode="bilinear", align_corners=False)


def decode_labels(labels: torch.Tensor, factor: int) -> torch.Tensor:
    """Return the labels (N * factor ** 2, ...) of decoded images, given those (N, ...) of the stored ones."""
    return labels.repeat_interleave(factor**2, 0)


def mosaic(images: torch.Tensor, factor: int) -> torch.Tensor:
    """Return stored images whose tiles are given images, reduced to the size of a tile (nearest pixel, as published).

    Parameters
    ----------
    images : Tensor of float, shape (N * factor ** 2, C, H, W)
        In the order of `decode`.
    factor : int

    Returns
    -------
    Tensor, shape (N, C, H, W)

    Raises
    ------
    DdbiasError
        As `decode`.
    """
    height, width = images.shape[2:]
    tall, wide = _tile(height, factor), _tile(width, factor)
    tiles = images.unflatten(0, (-1, factor, factor))  # (N, rows, columns, C, H, W)
    stored = torch.empty_like(tiles[:, 0, 0])
    for i in range(factor):
        for j in range(factor):
            # The last tiles are smaller where the side is no multiple of the factor.
            place = stored[:, :, i * tall : (i + 1) * tall, j * wide : (j + 1) * wide]
            place.copy_(interpolate(tiles[:, i, j], size=place.shape[2:]))
    return stored


def _tile(side: int, factor: int) -> int:
    """Return the side of a tile; the last one, which may be smaller, must have a pixel."""
    if factor < 1:
        raise DdbiasError(f"the factor of a multi-formation is {factor}; it must be 1 or more")
    tile = -(-side // factor)
    if (factor - 1) * tile >= side:
        raise DdbiasError(f"factor {factor} cuts a side of {side} pixels into empty tiles; use a smaller factor")
    return tile
