"""One image as the content of a PNG file."""

from __future__ import annotations

import io

import numpy as np

from ddbias.base.errors import DdbiasError

CHANNELS = (1, 3)  # that a PNG file can hold


def png(image: np.ndarray) -> bytes:
    """Return one uint8 image (C, H, W) as the content of a PNG file, exactly; C other than 1 or 3 is refused."""
    try:
        from PIL import Image
    except ImportError:
        raise DdbiasError("PNG files are written with Pillow, which is not installed; pip install pillow") from None
    if len(image) not in CHANNELS:
        raise DdbiasError(f"images with {len(image)} channels cannot be written as PNG (only 1 or 3)")
    file = io.BytesIO()
    Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0)).save(file, format="PNG")
    return file.getvalue()
