"""Textures of frost: seeded substitutes that need no file, or the photographs of CIFAR-10-C from a folder."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from ddbias.base.errors import DdbiasError
from ddbias.base.seeding import numpy_stream

FILES = ("frost1.png", "frost2.png", "frost3.png", "frost4.jpg", "frost5.jpg")  # a sixth is listed but never used
REDUCTION = 5  # the photographs are used at a fifth of their size
CROP = 32

# Measured on the photographs at a fifth of their size, grey levels 0..255: height and width; mean and standard
# deviation of R, G, B; autocorrelation of the grey picture at lags 1, 2, 4, 8; share of its variance that lies between
# crops of 32 x 32; correlation of R and of B with G. Photographs 2 and 3 have the same pixels.
LAGS = (1, 2, 4, 8)
STATISTICS = {
    "frost1": ((120, 180), (78, 149, 166), (27, 16, 15), (0.69, 0.65, 0.58, 0.48), 0.34, (0.82, 0.985)),
    "frost2": ((63, 112), (201, 205, 214), (21, 22, 23), (0.60, 0.53, 0.48, 0.45), 0.20, (0.985, 0.985)),
    "frost4": ((70, 105), (138, 153, 166), (29, 29, 30), (0.48, 0.42, 0.39, 0.31), 0.15, (0.985, 0.985)),
    "frost5": ((99, 132), (112, 123, 135), (44, 43, 42), (0.58, 0.49, 0.42, 0.38), 0.17, (0.985, 0.985)),
}
ORDER = ("frost1", "frost2", "frost2", "frost4", "frost5")
OCTAVES = (1.0, 2.0, 4.0, 8.0, 16.0)  # standard deviations, in pixels, of the smoothings that the textures mix
# Variances of the white noise and of the octaves: the least squares, none negative, to the autocorrelations and the
# share between crops. Stored, because the fit takes longer than all frost of a data set.
VARIANCES = {
    "frost1": (0.2913, 0.0579, 0.0537, 0.1242, 0.0311, 0.4417),
    "frost2": (0.3866, 0.0919, 0.0, 0.0, 0.3762, 0.1453),
    "frost4": (0.5037, 0.0910, 0.0, 0.0, 0.3539, 0.0514),
    "frost5": (0.3908, 0.1552, 0.0, 0.0, 0.4077, 0.0463),
}
SEED = 6  # of the first sixty, the one whose textures come closest to the table


@functools.cache
def substitute_textures() -> tuple[np.ndarray, ...]:
    """Return five textures that share the photographs' first and second moments, but no picture.

    Each is a Gaussian random field: white noise and smooth noise of several octaves with the `VARIANCES` that
    fit `STATISTICS`, and random phases. Entries 1 and 2 are the same array, so that a uniform draw among the five has
    the published probabilities 1/5, 2/5, 1/5, 1/5.

    Returns
    -------
    tuple of float32 arrays (h, w, 3)
        Whole grey levels 0..255, R, G, B; read-only.
    """
    made = {name: _texture(name) for name in STATISTICS}
    return tuple(made[name] for name in ORDER)


def _texture(name: str) -> np.ndarray:
    shape, means, stds, _, _, (red, blue) = STATISTICS[name]
    spectrum = np.tensordot(VARIANCES[name], components(shape), 1)
    rng = numpy_stream(SEED, "frost_texture", name)
    green = _field(rng, spectrum)
    channels = []
    for mean, std, share in zip(means, stds, (red, 1.0, blue), strict=True):
        own = _field(rng, spectrum)
        own -= (own * green).mean() * green
        own /= own.std()
        channels.append(_within_range(share * green + np.sqrt(1 - share**2) * own, mean, std))
    texture = np.rint(np.stack(channels, -1)).astype(np.float32)
    texture.flags.writeable = False
    return texture


def _within_range(field: np.ndarray, mean: float, std: float) -> np.ndarray:
    """Return `field` scaled so that it has this mean and deviation after it is clipped to 0..255."""
    centre, width = mean, std
    for _ in range(20):
        channel = np.clip(centre + width * field, 0, 255)
        missing, ratio = mean - channel.mean(), std / channel.std()
        if abs(missing) < 0.01 and abs(ratio - 1) < 0.0001:
            break
        centre, width = centre + missing, width * ratio
    return channel


def _field(rng: np.random.Generator, spectrum: np.ndarray) -> np.ndarray:
    """Return a field of mean 0 and variance 1 with exactly this power spectrum and random phases."""
    white = np.fft.fft2(rng.standard_normal(spectrum.shape))
    field = np.fft.ifft2(np.sqrt(spectrum) * white / np.abs(white)).real
    return field / field.std()


def components(shape: tuple[int, int]) -> np.ndarray:
    """Return the power spectra of white noise and of the octaves, each of variance 1, on a torus without its mean.

    Parameters
    ----------
    shape : tuple of int
        Height h and width w.

    Returns
    -------
    float64, shape (6, h, w)
    """
    rows, columns = (2 * np.pi * np.fft.fftfreq(side) for side in shape)
    along, across = (np.exp(-np.square(OCTAVES)[:, None] * axis**2) for axis in (rows, columns))
    spectra = np.concatenate([np.ones((1, *shape)), along[:, :, None] * across[:, None]])
    spectra[:, 0, 0] = 0
    return spectra / spectra.mean(axis=(1, 2), keepdims=True)


def read_textures(folder: str | Path) -> tuple[np.ndarray, ...]:
    """Read the five photographs of frost and reduce them to a fifth, as CIFAR-10-C does.

    The reduction is bilinear without antialiasing: its sampling points fall on the pixels 2, 7, 12, ... of the rows and
    columns, so it takes every fifth pixel. Transparency is dropped, not blended.

    Parameters
    ----------
    folder : path
        Holds `FILES`, the photographs of CIFAR-10-C (https://github.com/hendrycks/robustness).

    Returns
    -------
    tuple of float32 arrays (h, w, 3)
        Grey levels 0..255, R, G, B.

    Raises
    ------
    DdbiasError
        For a file that is missing, is no picture or is too small to crop from.
    """
    return tuple(_read(Path(folder) / name) for name in FILES)


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    if not path.is_file():
        raise DdbiasError(f"no frost texture {path}; its folder must hold {', '.join(FILES)}")
    try:
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DdbiasError(f"frost texture {path} cannot be read as a picture ({reason}); copy it again") from error
    texture = pixels[REDUCTION // 2 :: REDUCTION, REDUCTION // 2 :: REDUCTION].astype(np.float32)
    if min(texture.shape[:2]) <= CROP:
        least = REDUCTION * (CROP + 1)
        raise DdbiasError(
            f"frost texture {path} is {pixels.shape[1]} x {pixels.shape[0]} pixels; it needs {least} x {least} or more"
        )
    return texture
