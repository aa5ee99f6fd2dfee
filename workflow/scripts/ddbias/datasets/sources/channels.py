"""Grey images from RGB ones and the reverse."""

from __future__ import annotations

import numpy as np

from ddbias.base.errors import DdbiasError

# ITU-R 601 in the 16-bit fixed-point arithmetic of Pillow's mode "L".
_RED, _GREEN, _BLUE, _HALF, _BITS = 19595, 38470, 7471, 1 << 15, 16


def luminance(images: np.ndarray) -> np.ndarray:
    """Return the luminance uint8 (N, H, W) of RGB images uint8 (N, 3, H, W), bit-equal to Pillow's mode "L"."""
    total = np.full((len(images), *images.shape[2:]), _HALF, np.uint32)
    for channel, weight in enumerate((_RED, _GREEN, _BLUE)):
        total += images[:, channel] * np.uint32(weight)
    return (total >> _BITS).astype(np.uint8)


def to_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """Return uint8 images (N, C, H, W) as grey (`channels` 1) or RGB (3).

    Raises
    ------
    DdbiasError
        For another number of channels.
    """
    if channels not in (1, 3):
        raise DdbiasError(f"channels is {channels!r}; it must be 1 (grey) or 3 (RGB)")
    if images.shape[1] == channels:
        return images
    return np.repeat(images, 3, axis=1) if channels == 3 else luminance(images)[:, None]
