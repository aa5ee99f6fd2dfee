"""Decoding and resizing images with Pillow: integer arithmetic, so the same pixels on every machine."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from ddbias.errors import DdbiasError

GREY_MODES = ("1", "L", "LA")
WIDE_MODES = ("I", "F")  # I;16, I;16B, ...: more than 8 bits per channel


def decode(blobs: Sequence[bytes], *, size: int | None, name: Callable[[int], str]) -> np.ndarray:
    """Decode images of one size, or resize them to one while decoding.

    Parameters
    ----------
    blobs : sequence of bytes
        Encoded images (PNG, JPEG, whatever Pillow reads).
    size : int or None
        Side in pixels to resize to (bilinear, antialiased); None keeps the size, which must then be one.
    name : callable
        Names image `i` in a message.

    Returns
    -------
    ndarray of uint8, shape (N, C, H, W)
        C is 1 if every image is grey, else 3 (RGB; transparency is dropped).

    Raises
    ------
    DdbiasError
        If an image cannot be decoded, has 16 bits per channel, or differs in size from the first one.
    """
    # Headers first: the shape of the result is known before a pixel is decoded, so nothing is held twice.
    headers = [_open(blob, name, i) for i, blob in enumerate(blobs)]
    for i, (mode, _) in enumerate(headers):
        if mode.startswith(WIDE_MODES):
            raise DdbiasError(f"{name(i)} has more than 8 bits per channel (mode {mode}); store it as 8-bit")
    first = headers[0][1]
    for i, (_, shape) in enumerate(headers):
        if size is None and shape != first:
            raise DdbiasError(
                f"{name(i)} is {shape[0]}x{shape[1]} but the first one is {first[0]}x{first[1]}; "
                "set size: (a side in pixels) to bring all to one size"
            )
    width, height = (size, size) if size else first
    mode = "L" if all(mode in GREY_MODES for mode, _ in headers) else "RGB"
    images = np.empty((len(blobs), height, width, len(mode) if mode == "RGB" else 1), np.uint8)
    for i, blob in enumerate(blobs):
        images[i] = _pixels(blob, mode, (width, height), name, i).reshape(images.shape[1:])
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def _open(blob: bytes, name: Callable[[int], str], i: int) -> tuple[str, tuple[int, int]]:
    try:
        with Image.open(io.BytesIO(blob)) as image:
            return image.mode, image.size
    except (OSError, SyntaxError, ValueError) as error:
        raise DdbiasError(f"{name(i)} cannot be decoded as an image ({_reason(error)}); remove or repair it") from error


def _pixels(blob: bytes, mode: str, shape: tuple[int, int], name: Callable[[int], str], i: int) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(blob)) as image:
            image = image.convert(mode)
            if image.size != shape:
                image = image.resize(shape, Image.Resampling.BILINEAR)
            return np.asarray(image)
    except (OSError, SyntaxError, ValueError) as error:
        raise DdbiasError(f"{name(i)} cannot be decoded as an image ({_reason(error)}); remove or repair it") from error


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "unknown format" if "BytesIO" in text else text


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Resize uint8 images (N, C, H, W) to (N, C, size, size): bilinear, antialiased when shrinking."""
    if images.shape[2:] == (size, size):
        return images
    planes = images.reshape(-1, *images.shape[2:])
    out = np.empty((len(planes), size, size), np.uint8)
    for plane, target in zip(planes, out, strict=True):
        target[:] = Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR)
    return out.reshape(*images.shape[:2], size, size)
