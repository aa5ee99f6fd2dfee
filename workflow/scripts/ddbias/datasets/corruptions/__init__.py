"""The corruptions of CIFAR-10-C for 32 x 32 RGB images, a whole batch at a time.

Published as loops over images and pixels (Hendrycks and Dietterich, arXiv:1903.12261) and made a bias by Learning
from Failure (arXiv:2007.02561), whose two families of ten are `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ddbias.base.errors import DdbiasError, unknown
from ddbias.base.seeding import derive
from ddbias.datasets.corruptions.blur import (
    defocus_blur,
    draw_glass_blur,
    draw_motion_blur,
    gaussian_blur,
    glass_blur,
    motion_blur,
    zoom_blur,
)
from ddbias.datasets.corruptions.colour_space import brightness, contrast, saturate
from ddbias.datasets.corruptions.compression import jpeg, pixelate
from ddbias.datasets.corruptions.elastic import draw_elastic, elastic
from ddbias.datasets.corruptions.fog import draw_fog, fog
from ddbias.datasets.corruptions.frost import draw_frost, frost
from ddbias.datasets.corruptions.frost_textures import substitute_textures
from ddbias.datasets.corruptions.noise import (
    draw_gaussian_noise,
    draw_impulse_noise,
    draw_shot_noise,
    draw_speckle_noise,
    gaussian_noise,
    impulse_noise,
    shot_noise,
    speckle_noise,
)
from ddbias.datasets.corruptions.snow import draw_snow, snow
from ddbias.datasets.corruptions.spatter import draw_spatter, spatter

SEVERITIES = (1, 2, 3, 4)
CHUNK = 1024  # images corrupted at a time, at most
_SHAPE = (3, 32, 32)


@dataclass(frozen=True)
class Corruption:
    """One corruption.

    Attributes
    ----------
    apply : callable
        ``apply(images, draws, level)``: uint8 (n, 3, 32, 32) twice; `draws` stacked, a tuple of stacks, or None.
    draw : callable or None
        ``draw(rng, level)``: the random numbers of one image; None when nothing is random.
    textured : bool
        Whether `apply` takes textures as its last argument.
    chunk : int
        Images at a time, at most `CHUNK`: few enough that what is computed of them stays in the cache.
    """

    apply: Callable
    draw: Callable | None = None
    textured: bool = False
    chunk: int = 256


def original(images: np.ndarray, draws: None, level: int) -> np.ndarray:
    """Return a copy of the images: the tenth "corruption" of the second family."""
    return images.copy()


CORRUPTIONS = {
    "snow": Corruption(snow, draw_snow, chunk=1024),  # the more images, the more have equal shifts
    "frost": Corruption(frost, draw_frost, textured=True),
    "fog": Corruption(fog, draw_fog),
    "brightness": Corruption(brightness),
    "contrast": Corruption(contrast),
    "spatter": Corruption(spatter, draw_spatter),
    "elastic": Corruption(elastic, draw_elastic, chunk=96),
    "jpeg": Corruption(jpeg),
    "pixelate": Corruption(pixelate, chunk=160),  # strides of a power of two share few lines of the cache
    "saturate": Corruption(saturate),
    "gaussian_noise": Corruption(gaussian_noise, draw_gaussian_noise),
    "shot_noise": Corruption(shot_noise, draw_shot_noise),
    "impulse_noise": Corruption(impulse_noise, draw_impulse_noise),
    "speckle_noise": Corruption(speckle_noise, draw_speckle_noise),
    "gaussian_blur": Corruption(gaussian_blur),
    "defocus_blur": Corruption(defocus_blur),
    "glass_blur": Corruption(glass_blur, draw_glass_blur),
    "motion_blur": Corruption(motion_blur, draw_motion_blur),
    "zoom_blur": Corruption(zoom_blur),
    "original": Corruption(original),
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
        (seed, name, split, index) alone: not on the severity, nor on what it is batched with.
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
    corruption, level = CORRUPTIONS[name], severity + 1
    extra = (substitute_textures() if textures is None else textures,) if corruption.textured else ()
    out = np.empty(images.shape, np.uint8)
    step = min(corruption.chunk, CHUNK)
    for start in range(0, len(images), step):
        part = slice(start, start + step)
        draws = None
        if corruption.draw:
            rows = [corruption.draw(rng, level) for rng in generators(seed, name, split, index[part])]
            draws = tuple(map(np.array, zip(*rows, strict=True))) if isinstance(rows[0], tuple) else np.array(rows)
        # Writable, which memory-mapped images are not: torch warns of arrays that are read-only.
        out[part] = corruption.apply(np.require(images[part], requirements="CW"), draws, level, *extra)
    return out


def check(images: np.ndarray, severity: int, index: np.ndarray) -> None:
    """Raise `DdbiasError` unless `corrupt` can work with these arguments."""
    if severity not in SEVERITIES or isinstance(severity, bool):
        raise DdbiasError(f"corruption severity is {severity!r}; it must be one of {', '.join(map(str, SEVERITIES))}")
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != _SHAPE:
        raise DdbiasError(
            f"the published constants of the corruptions are for 32x32 RGB images, not {images.dtype} "
            f"{images.shape[1:]} (channels first); set size: 32 or channels: 3 of the source"
        )
    if index.shape != (len(images),) or index.dtype.kind not in "iu" or (len(index) and index.min() < 0):
        raise DdbiasError(f"{len(images)} images need as many whole numbers from 0 as index, not {index.shape}")


def generators(seed: int, name: str, split: str, index: np.ndarray) -> Iterator[np.random.Generator]:
    """Yield ``Generator(Philox(key=derive(seed, "corruption", name, split), counter=[0, 0, 0, i]))`` for i in `index`.

    It is one generator, set to each state in turn, which is several times faster than making as many: draw from it
    before taking the next.
    """
    bits = np.random.Philox(key=derive(seed, "corruption", name, split))
    rng, state = np.random.Generator(bits), bits.state
    for position in index:
        state["state"]["counter"][3] = position  # the others are 0
        bits.state = state
        yield rng
