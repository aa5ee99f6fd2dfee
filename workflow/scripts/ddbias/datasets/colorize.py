"""Colouring grey images by an attribute, as CMNIST does (Learning from Failure; CMNIST-DD, arXiv:2403.16028)."""

from __future__ import annotations

import math

import numpy as np
import torch

from ddbias.base.errors import DdbiasError, unknown

# Mean colours (R, G, B) in 0..1, exact as float32: the table of Learning from Failure, which the paper keeps.
COLOURS = np.array(
    [
        [0.9836823344, 0.3125190139, 0.1685753465],
        [0.9905296564, 0.9156052470, 0.3515121937],
        [0.6729639769, 0.4610704780, 0.5798081756],
        [0.7832519412, 0.8315559030, 0.6013293862],
        [0.0880157948, 0.7779633403, 0.9818077683],
        [0.3213933706, 0.9610545635, 0.4464498758],
        [0.0246158838, 0.2356504798, 0.7586662769],
        [0.5552469492, 0.1015801430, 0.7617631555],
        [0.2077232003, 0.3929485083, 0.0187023878],
        [0.8336576223, 0.2024092674, 0.2669430971],
    ],
    dtype=np.float32,
)

# Standard deviation of the colour noise: a higher severity means less noise, hence a stronger colour bias.
# The published grid uses 1..4; the table of the reference has a fifth entry.
NOISE_STD = {1: 0.05, 2: 0.02, 3: 0.01, 4: 0.005, 5: 0.002}
PLACES = ("foreground", "background")
_CHUNK_VALUES = 600_000  # values coloured at a time: their float32 copy stays in the cache


def colorize(
    images: np.ndarray | torch.Tensor,
    attributes: np.ndarray | torch.Tensor,
    *,
    severity: int,
    noise: np.ndarray | torch.Tensor,
    where: str = "foreground",
) -> np.ndarray | torch.Tensor:
    """Colour grey images by their attribute.

    With ``c = clip(C_a + sigma_severity z, 0, 1)``, all in float32: the foreground becomes ``trunc(c g)``, the
    background ``trunc(g + c (255 - g))``. Truncation, not rounding; the colour is clipped, not the product.

    Parameters
    ----------
    images : uint8, shape (N, H, W) or (N, 1, H, W)
        Grey images g, NumPy or torch.
    attributes : int, shape (N,)
        Colour of each image, 0..9.
    severity : int
        1..5, selects the noise's standard deviation (0.05, 0.02, 0.01, 0.005, 0.002).
    noise : float, shape (N, 3)
        Standard normal z before scaling, used as float32.
    where : str
        ``"foreground"`` or ``"background"``.

    Returns
    -------
    uint8, shape (N, 3, H, W)
        NumPy or torch like `images`, on the same device; the bits are those of NumPy's float32 arithmetic.

    Raises
    ------
    DdbiasError
        For an unknown severity or place, images that are not grey uint8, or an attribute without a colour.

    References
    ----------
    Nam et al., Learning from Failure (NeurIPS 2020), colours and noise; Lu et al., arXiv:2403.16028, CMNIST-DD.

    Examples
    --------
    >>> import numpy as np
    >>> from ddbias import colorize
    >>> white = np.full((2, 28, 28), 255, np.uint8)
    >>> coloured = colorize(white, [0, 6], severity=4, noise=np.zeros((2, 3)))
    >>> coloured.shape, coloured[:, :, 0, 0].tolist()
    ((2, 3, 28, 28), [[250, 79, 42], [6, 60, 193]])
    """
    if isinstance(images, torch.Tensor):
        grey, tags, draws = (torch.as_tensor(value).cpu().numpy() for value in (images, attributes, noise))
        coloured = colorize(grey, tags, severity=severity, noise=draws, where=where)
        return torch.from_numpy(coloured).to(images.device)
    images = np.asarray(images)
    _check(images, np.asarray(attributes), severity, np.asarray(noise), where)
    pixels = math.prod(images.shape[-2:])
    chunk = max(1, _CHUNK_VALUES // (3 * max(pixels, 1)))
    grey = images.reshape(len(images), 1, pixels)
    scaled = np.float32(NOISE_STD[severity]) * np.asarray(noise, np.float32)
    colours = np.clip(COLOURS[np.asarray(attributes)] + scaled, 0, 1)[:, :, None]  # (N, 3, 1)
    out = np.empty((len(images), 3, pixels), np.uint8)
    buffer = np.empty((min(chunk, len(images)), 3, pixels), np.float32)
    for start in range(0, len(images), chunk):
        part = slice(start, start + chunk)
        values = buffer[: len(out[part])]
        if where == "foreground":
            np.multiply(colours[part], grey[part].astype(np.float32), out=values)
        else:
            np.multiply(colours[part], (255 - grey[part]).astype(np.float32), out=values)
            values += grey[part]
        np.copyto(out[part], values, casting="unsafe")  # within 0..255, so the cast truncates
    return out.reshape(len(images), 3, *images.shape[-2:])


def _check(images: np.ndarray, attributes: np.ndarray, severity: int, noise: np.ndarray, where: str) -> None:
    check_severity(severity)
    if where not in PLACES:
        raise unknown("place of a colour", where, PLACES)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[1] != 1):
        raise DdbiasError(
            f"a colour bias needs grey uint8 images (N, H, W) or (N, 1, H, W), not {images.dtype} {images.shape}; "
            "use a grey source or another bias"
        )
    if attributes.shape != (len(images),) or noise.shape != (len(images), 3):
        raise DdbiasError(
            f"{len(images)} images need as many attributes and (N, 3) noise, not {attributes.shape} and {noise.shape}"
        )
    if len(attributes) and not (attributes.min() >= 0 and attributes.max() < len(COLOURS)):
        raise DdbiasError(
            f"attributes must be 0 to {len(COLOURS) - 1}, one per colour, not {attributes.min()} to {attributes.max()}"
        )


def check_severity(severity: int) -> None:
    """Raise `DdbiasError` unless `severity` is one of the table's."""
    if severity not in NOISE_STD or isinstance(severity, bool):
        raise DdbiasError(f"colour severity is {severity!r}; it must be one of {', '.join(map(str, NOISE_STD))}")
