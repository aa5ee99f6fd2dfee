"""Decoding and resizing images with Pillow: integer arithmetic, so the same pixels on every machine."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin

from ddbias.base.errors import DdbiasError
from ddbias.base.log import logger

# Others are not opened, whatever the ending says: EPS, for one, starts Ghostscript.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16L", "I;16B", "I;16N")
# How an image has to be turned, by the orientation that its EXIF data tell.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
BACKGROUND = (255, 255, 255, 255)  # white, behind what is transparent
MOST_NAMED = 20  # bad images in a message; the log has all


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
        C is 1 for grey, else 3. Images are as people see them: turned as their EXIF data say, on white where they are
        transparent; grey ones of more than 8 bits have their white, such as 65535, as 255. Of several pages or frames
        the first is taken.

    Raises
    ------
    DdbiasError
        If images are missing, cannot be decoded, have more than 8 bits per channel in another way or are smaller than
        `crop`, all of them named; or if one differs in size from the first one.
    """
    bad: dict[int, str] = {}
    shape = (size, size)
    if size is None or mode is None:
        # Headers first: the shape of the result is known before a pixel is decoded, so nothing is held twice.
        headers = _each(lambda blob, i: _header(blob, crop, name, i), blobs, bad)
        if size is None and headers:
            shape = _common_shape({i: box for i, (_, box) in headers.items()}, name)
        mode = mode or ("L" if all(of_one in GREY_MODES for of_one, _ in headers.values()) else "RGB")
    images = np.empty((len(blobs), len(mode), shape[1] or 0, shape[0] or 0), np.uint8)

    def fill(blob: bytes | Path, i: int) -> None:
        with _opened(blob, name, i) as image:
            image = _cropped(_as_shown(image), crop, name, i).convert(mode)
            if image.size != shape:
                image = image.resize(shape, Image.Resampling.BILINEAR)
            images[i] = np.asarray(image).reshape(shape[1], shape[0], len(mode)).transpose(2, 0, 1)

    _each(fill, blobs, bad)
    if bad:
        raise DdbiasError(_all_bad([bad[i] for i in sorted(bad)]))
    return images


def _each(function: Callable, blobs: Sequence[bytes | Path], bad: dict[int, str]) -> dict[int, object]:
    """Return what a function says of every image that is not known to be bad; adds those of which it complains."""
    found = {}
    for i, blob in enumerate(blobs):
        if i not in bad:
            try:
                found[i] = function(blob, i)
            except DdbiasError as error:
                bad[i] = str(error)
    return found


def _all_bad(lines: list[str]) -> str:
    """Say in one line what is wrong with some images; all of them are named in the log."""
    if len(lines) == 1:
        return lines[0]
    for line in lines[MOST_NAMED:]:
        logger.info("%s", line)
    more = f"; and {len(lines) - MOST_NAMED:,} more, named in the log" if len(lines) > MOST_NAMED else ""
    return f"{len(lines):,} images cannot be used: {'; '.join(lines[:MOST_NAMED])}{more}"


def _as_shown(image: Image.Image) -> Image.Image:
    """Return an image as people see it: upright, on the background, 8 bits per channel."""
    image.load()  # turns a TIFF, which then says so
    white, inverted = _levels(image)
    turn = TURNS.get(_orientation(image))
    image = image if turn is None else image.transpose(turn)
    if image.mode.startswith("I"):
        levels = np.asarray(image).astype(np.uint32).clip(0, white)
        levels = white - levels if inverted else levels
        return Image.fromarray(((levels * 255 + white // 2) // white).astype(np.uint8))
    if not image.has_transparency_data:
        return image
    ground = Image.new("RGBA", image.size, BACKGROUND)
    return Image.alpha_composite(ground, image.convert("RGBA")).convert("RGB")


def _orientation(image: Image.Image) -> object:
    """Return the orientation of the EXIF data, None where they are damaged: the pixels are not."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # of every kind, as for the pixels
        return None


def _levels(image: Image.Image) -> tuple[int, bool]:
    """Return the largest level of a grey image of more than 8 bits, and whether that is black."""
    if image.format != "TIFF":
        return 2**16 - 1, False
    tags = image.tag_v2
    bits = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))[0]
    return 2**bits - 1, tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0


@contextmanager
def _opened(blob: bytes | Path, name: Callable[[int], str], i: int) -> Iterator[Image.Image]:
    """Open an image; what Pillow raises for a bad one while it is open becomes one line."""
    try:
        with Image.open(blob if isinstance(blob, Path) else io.BytesIO(blob), formats=FORMATS) as image:
            if image.mode == "F" or (image.mode == "I" and image.format != "PPM"):  # Pillow's for 16 bits of a PGM
                raise DdbiasError(f"{name(i)} has 32 bits per channel (mode {image.mode}); store it with 8 or 16")
            yield image
    except FileNotFoundError as error:
        raise DdbiasError(f"{name(i)} is missing; put it back, or remove it from the list that names it") from error
    except (DdbiasError, MemoryError):
        raise
    except Exception as error:  # of every kind, as the decoders raise them
        raise DdbiasError(f"{name(i)} cannot be decoded as an image ({_reason(error)}); remove or repair it") from error


def _header(blob: bytes | Path, crop: int | None, name: Callable[[int], str], i: int) -> tuple[str, tuple[int, int]]:
    with _opened(blob, name, i) as image:
        # Pillow turns a TIFF by itself and says its size as it will be.
        turned = image.format != "TIFF" and _orientation(image) in (5, 6, 7, 8)
        return image.mode, (crop, crop) if crop else image.size[::-1] if turned else image.size


def _cropped(image: Image.Image, crop: int | None, name: Callable[[int], str], i: int) -> Image.Image:
    if crop is None:
        return image
    width, height = image.size
    if min(width, height) < crop:
        raise DdbiasError(f"{name(i)} is {width}x{height}, smaller than the {crop} pixels that are cut out of it")
    left, top = (width - crop) // 2, (height - crop) // 2
    return image.crop((left, top, left + crop, top + crop))


def _common_shape(shapes: Mapping[int, tuple[int, int]], name: Callable[[int], str]) -> tuple[int, int]:
    first = next(iter(shapes.values()))
    for i, shape in shapes.items():
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
