"""Decoding and resizing images with Pillow: integer arithmetic, so the same pixels on every machine."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from ddbias.base.errors import DdbiasError

GREY_MODES = ("1", "L", "LA")
WIDE_MODES = ("I", "F")  # I;16, I;16B, ...: more than 8 bits per channel
_UNDECODABLE = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)


def check_size(size: int | None) -> None:
    """Raise `DdbiasError` unless `size` is None or a whole number of pixels, at least 1."""
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise DdbiasError(f"size is {size!r}; it must be a whole number of pixels, at least 1")


def decode(
    blobs: Sequence[bytes | Path],
    *,
    size: int | None,
    name: Callable[[int], str],
    crop: int | None = None,
    mode: str | None = None,
) -> np.ndarray:
    """Decode images of one size, or resize them to one while decoding, one after the other into the result.

    Parameters
    ----------
    blobs : sequence of bytes or Path
        Encoded images (PNG, JPEG, whatever Pillow reads), or files of them.
    size : int or None
        Side in pixels to resize to (bilinear, antialiased); None keeps the size, which must then be one.
    name : callable
        Names image `i` in a message.
    crop : int or None
        Side in pixels of the square cut out of the middle before resizing; None keeps the whole image.
    mode : str or None
        ``"L"`` or ``"RGB"``; None takes grey if every image is grey, else RGB. With it and a `size`, every image is
        opened once instead of twice.

    Returns
    -------
    ndarray of uint8, shape (N, C, H, W)
        C is 1 for grey, else 3 (transparency is dropped).

    Raises
    ------
    DdbiasError
        If an image is missing, cannot be decoded, has 16 bits per channel, is smaller than `crop`, or differs in size
        from the first one.
    """
    shape = (size, size)
    if size is None or mode is None:
        # Headers first: the shape of the result is known before a pixel is decoded, so nothing is held twice.
        headers = [_header(blob, crop, name, i) for i, blob in enumerate(blobs)]
        shape = shape if size else _common_shape([box for _, box in headers], name)
        mode = mode or ("L" if all(of_one in GREY_MODES for of_one, _ in headers) else "RGB")
    images = np.empty((len(blobs), len(mode), shape[1], shape[0]), np.uint8)
    for i, blob in enumerate(blobs):
        with _opened(blob, name, i) as image:
            image = _cropped(image, crop, name, i).convert(mode)
            if image.size != shape:
                image = image.resize(shape, Image.Resampling.BILINEAR)
            images[i] = np.asarray(image).reshape(shape[1], shape[0], len(mode)).transpose(2, 0, 1)
    return images


@contextmanager
def _opened(blob: bytes | Path, name: Callable[[int], str], i: int) -> Iterator[Image.Image]:
    """Open an image; what Pillow raises for a bad one while it is open becomes one line."""
    try:
        with Image.open(blob if isinstance(blob, Path) else io.BytesIO(blob)) as image:
            if image.mode.startswith(WIDE_MODES):
                raise DdbiasError(f"{name(i)} has more than 8 bits per channel (mode {image.mode}); store it as 8-bit")
            yield image
    except FileNotFoundError as error:
        raise DdbiasError(f"{name(i)} is missing; put it back, or remove it from the list that names it") from error
    except _UNDECODABLE as error:
        raise DdbiasError(f"{name(i)} cannot be decoded as an image ({_reason(error)}); remove or repair it") from error


def _header(blob: bytes | Path, crop: int | None, name: Callable[[int], str], i: int) -> tuple[str, tuple[int, int]]:
    with _opened(blob, name, i) as image:
        return image.mode, (crop, crop) if crop else image.size


def _cropped(image: Image.Image, crop: int | None, name: Callable[[int], str], i: int) -> Image.Image:
    if crop is None:
        return image
    width, height = image.size
    if min(width, height) < crop:
        raise DdbiasError(f"{name(i)} is {width}x{height}, smaller than the {crop} pixels that are cut out of it")
    left, top = (width - crop) // 2, (height - crop) // 2
    return image.crop((left, top, left + crop, top + crop))


def _common_shape(shapes: Sequence[tuple[int, int]], name: Callable[[int], str]) -> tuple[int, int]:
    first = shapes[0]
    for i, shape in enumerate(shapes):
        if shape != first:
            raise DdbiasError(
                f"{name(i)} is {shape[0]}x{shape[1]} but the first one is {first[0]}x{first[1]}; "
                "set size: (a side in pixels) to bring all to one size"
            )
    return first


def _reason(error: Exception) -> str:
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    return "unknown format" if "cannot identify image file" in text else text


def resize(images: np.ndarray, size: int) -> np.ndarray:
    """Resize uint8 images (N, C, H, W) to (N, C, size, size): bilinear, antialiased when shrinking."""
    if images.shape[2:] == (size, size):
        return images
    planes = images.reshape(-1, *images.shape[2:])
    out = np.empty((len(planes), size, size), np.uint8)
    for plane, target in zip(planes, out, strict=True):
        target[:] = Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR)
    return out.reshape(*images.shape[:2], size, size)
