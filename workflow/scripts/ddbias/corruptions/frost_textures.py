"""Textures of frost: seeded substitutes that need no file, or the photographs of CIFAR-10-C from a folder."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from ddbias.errors import DdbiasError
from ddbias.seeding import numpy_stream

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
SEED = 6  # of the first sixty, the one whose textures come closest to the table


@functools.cache
def substitute_textures() -> tuple[np.ndarray, ...]:
    """Return five textures that share the photographs' first and second moments, but no picture.

    Each is a Gaussian random field: white noise and smooth noise of several octaves with weights that fit
    `STATISTICS`, and random phases. Entries 1 and 2 are the same array, so that a uniform draw among the five has the
    published probabilities 1/5, 2/5, 1/5, 1/5.

    Returns
    -------
    tuple of float32 arrays (h, w, 3)
        Whole grey levels 0..255, R, G, B; read-only.
    """
    made = {name: _texture(name) for name in STATISTICS}
    return tuple(made[name] for name in ORDER)


def _texture(name: str) -> np.ndarray:
    shape, means, stds, correlations, between, (red, blue) = STATISTICS[name]
    spectrum = _spectrum(shape, correlations, between)
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
        centre, width = centre + mean - channel.mean(), width * std / channel.std()
    return channel


def _field(rng: np.random.Generator, spectrum: np.ndarray) -> np.ndarray:
    """Return a field of mean 0 and variance 1 with exactly this power spectrum and random phases."""
    white = np.fft.fft2(rng.standard_normal(spectrum.shape))
    field = np.fft.ifft2(np.sqrt(spectrum) * white / np.abs(white)).real
    return field / field.std()


def _spectrum(shape: tuple[int, int], correlations: tuple[float, ...], between: float) -> np.ndarray:
    """Return the power spectrum on a torus whose autocorrelation fits the statistics, without the constant."""
    from scipy.optimize import nnls

    rows, columns = (2 * np.pi * np.fft.fftfreq(side) for side in shape)
    square = rows[:, None] ** 2 + columns**2
    parts = np.stack([np.ones(shape), *(np.exp(-(sigma**2) * square) for sigma in OCTAVES)])
    parts[:, 0, 0] = 0
    covariances = np.fft.ifft2(parts).real
    scale = covariances[:, :1, :1].copy()
    covariances /= scale
    lagged = [(covariances[:, lag, 0] + covariances[:, 0, lag]) / 2 for lag in LAGS]
    # Variance of the mean of a crop: the mean covariance over all pairs of its pixels.
    box = [np.abs(np.fft.fft(np.ones(CROP) / CROP, side)) ** 2 for side in shape]
    crop_means = (parts / scale * (box[0][:, None] * box[1])).mean(axis=(1, 2))
    system = np.stack([np.full(len(parts), 10.0), *lagged, crop_means])  # the variance itself counts most
    weights, _ = nnls(system, np.array([10.0, *correlations, between]))
    return np.tensordot(weights, parts / scale, 1)


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
        with Image.open(path) as picture:
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
