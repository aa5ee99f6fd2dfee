"""The corruptions of CIFAR-10-C for 32 x 32 RGB images.

Published as loops over images (Hendrycks and Dietterich, arXiv:1903.12261) and made a bias by Learning from Failure
(arXiv:2007.02561), whose two families of ten are `FAMILIES`. Computed with Pillow, SciPy and OpenCV as in the published
code; the data sets take column ``severity + 1`` of its tables of constants.

Each corruption is a function ``(image, rng, level)``: uint8 (32, 32, 3), the image's own generator and the column 1..5.
It returns grey levels (32, 32, 3) of any real type, which may leave 0..255, and draws the same numbers for every level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from ddbias.base.errors import DdbiasError, unknown
from ddbias.base.seeding import derive
from ddbias.datasets.corruptions.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from ddbias.datasets.corruptions.colour_space import brightness, contrast, saturate
from ddbias.datasets.corruptions.compression import jpeg, pixelate
from ddbias.datasets.corruptions.elastic import elastic
from ddbias.datasets.corruptions.fog import fog
from ddbias.datasets.corruptions.frost import frost
from ddbias.datasets.corruptions.frost_textures import substitute_textures
from ddbias.datasets.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from ddbias.datasets.corruptions.pixels import CHANNELS_FIRST, truncate
from ddbias.datasets.corruptions.snow import snow
from ddbias.datasets.corruptions.spatter import spatter

SEVERITIES = (1, 2, 3, 4)


def original(image: np.ndarray, rng: np.random.Generator, level: int) -> np.ndarray:
    """Return the image: the tenth "corruption" of the second family."""
    return image


CORRUPTIONS: dict[str, Callable[..., np.ndarray]] = {
    "snow": snow,
    "frost": frost,  # takes textures as its last argument
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "spatter": spatter,
    "elastic": elastic,
    "jpeg": jpeg,
    "pixelate": pixelate,
    "saturate": saturate,
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "original": original,
}

# The order is the attribute's number, as Learning from Failure publishes it.
FAMILIES = {
    "type0": (
        "snow", "frost", "fog", "brightness", "contrast", "spatter", "elastic", "jpeg", "pixelate", "saturate",
    ),
    "type1": (
        "gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "gaussian_blur", "defocus_blur",
        "glass_blur", "motion_blur", "zoom_blur", "original",
    ),
}  # fmt: skip


def corrupt(
    images: np.ndarray,
    name: str,
    *,
    severity: int,
    seed: int,
    split: str,
    index: np.ndarray,
    textures: Sequence[np.ndarray] | None = None,
) -> np.ndarray:
    """Corrupt images.

    Parameters
    ----------
    images : ndarray of uint8, shape (N, 3, 32, 32)
    name : str
        A key of `CORRUPTIONS`.
    severity : int
        1..4 of the biased data set; as published, it uses column ``severity + 1`` of CIFAR-10-C's tables.
    seed : int
    split : str
    index : ndarray of int64, shape (N,)
        Position of each image in its source, at least 0. The random numbers of an image depend on
        (seed, name, split, index) alone, not on the severity or the other images.
    textures : sequence of float ndarray (h, w, 3), or None
        Pictures of frost, 0..255, used by ``frost`` only; None: `frost_textures.substitute_textures`.

    Returns
    -------
    ndarray of uint8, shape (N, 3, 32, 32)

    Raises
    ------
    DdbiasError
        For an unknown name, a severity that is not 1..4, images that are not 32 x 32 RGB bytes, or a wrong index.
    """
    index = np.asarray(index)
    check(images, severity, index)
    if name not in CORRUPTIONS:
        raise unknown("corruption", name, CORRUPTIONS)
    corruption = CORRUPTIONS[name]
    if name == "frost":
        corruption = partial(corruption, textures=substitute_textures() if textures is None else textures)
    key, out = derive(seed, "corruption", name, split), np.empty(images.shape, np.uint8)
    for row, position in enumerate(index):
        rng = np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, position]))
        image = np.ascontiguousarray(images[row].transpose(1, 2, 0))  # as libraries want it
        out[row] = truncate(corruption(image, rng, severity + 1)).transpose(2, 0, 1)
    return out


def check(images: np.ndarray, severity: int, index: np.ndarray) -> None:
    """Raise `DdbiasError` unless `corrupt` can work with these arguments."""
    if severity not in SEVERITIES or isinstance(severity, bool):
        raise DdbiasError(f"corruption severity is {severity!r}; it must be one of {', '.join(map(str, SEVERITIES))}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != CHANNELS_FIRST:
        raise DdbiasError(
            f"the published constants of the corruptions are for 32x32 RGB images, not {images.dtype} "
            f"{images.shape[1:]} (channels first); set size: 32 or channels: 3 of the source"
        )
    if index.shape != (len(images),) or index.dtype.kind not in "iu" or (len(index) and index.min() < 0):
        raise DdbiasError(f"{len(images)} images need as many whole numbers from 0 as index, not {index.shape}")
