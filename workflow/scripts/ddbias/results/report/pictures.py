"""Pictures of the report page, as small as they can be: previews as WebP, losses and weights as drawings.

The page must be small enough for mail, so all previews together have a size limit: few are exact, thousands are
compressed and at last halved.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ddbias.base.errors import DdbiasError

PNG_START = b"\x89PNG\r\n\x1a\n"
PREVIEWS = 12 * 2**20  # bytes of all previews of a page together
LARGEST = 64 * 2**10  # bytes of one preview
SMALLEST_SIDE = 64  # pixels below which a preview is not halved
QUALITIES = (85, 60, 35, 15)
LARGEST_FACTOR = 16  # by which `ddbias.data.preview` may have enlarged the images
WIDTH, HEIGHT = 240, 60  # of a drawing
POINTS = 120
BINS = 40


@dataclass(frozen=True)
class Preview:
    """A picture as a data address, and the size in pixels at which it is shown."""

    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Curve:
    """A line of a drawing of `WIDTH` x `HEIGHT`: its points and the texts beside it, perhaps in a band."""

    name: str
    points: str
    first: str
    last: str
    low: str
    high: str
    count: int
    band: str = ""


@dataclass(frozen=True)
class Histogram:
    """Areas of a drawing of `WIDTH` x `HEIGHT` over log10 of the weight, and what is written at its ends."""

    parts: list[tuple[str, str]]
    low: str
    high: str
    zeros: int


def embed(path: Path) -> str | None:
    """Return a PNG file as a data address, or None when there is no such file."""
    content = _png(path)
    return None if content is None else f"data:image/png;base64,{base64.b64encode(content).decode()}"


def _png(path: Path) -> bytes | None:
    if not path.is_file():
        return None
    content = path.read_bytes()
    if not content.startswith(PNG_START):
        raise DdbiasError(f"{path} is not a PNG picture; delete it and run again")
    return content


def preview(path: Path, sharing: int) -> Preview | None:
    """Return a small copy of a preview, or None when there is no such file.

    Parameters
    ----------
    path : path
        What `ddbias.data.preview.save_grid` wrote.
    sharing : int
        Number of previews that share the budget.

    Raises
    ------
    DdbiasError
        If the file is no picture.
    """
    from PIL import Image

    content = _png(path)
    if content is None:
        return None
    try:
        pixels = np.asarray(Image.open(io.BytesIO(content), formats=("PNG",)).convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise DdbiasError(f"{path} is a damaged picture; delete it and run again") from error
    height, width, _ = pixels.shape
    picture = Image.fromarray(np.ascontiguousarray(_stored(pixels)))
    encoded = _webp(picture, min(LARGEST, PREVIEWS // max(sharing, 1)))
    return Preview(f"data:image/webp;base64,{base64.b64encode(encoded).decode()}", width, height)


def _stored(pixels: np.ndarray) -> np.ndarray:
    """Undo the repetition of pixels: the browser repeats them again."""
    height, width, _ = pixels.shape
    for factor in range(LARGEST_FACTOR, 1, -1):
        if height % factor == 0 and width % factor == 0:
            small = pixels[::factor, ::factor]
            if (small.repeat(factor, 0).repeat(factor, 1) == pixels).all():
                return small
    return pixels


def _webp(picture, limit: int) -> bytes:
    """Encode a picture in at most `limit` bytes: exactly if that is likely to fit, else ever more roughly."""
    from PIL import Image

    half = (picture.width // 2, picture.height // 2)
    options = [{"quality": quality} for quality in QUALITIES]
    # What is likely, of distilled images: two bytes a pixel without loss, a tenth of one at the lowest quality.
    if picture.width * picture.height <= 4 * limit:
        options.insert(0, {"lossless": True})
    if picture.width * picture.height <= 12 * limit or min(half) < SMALLEST_SIDE:
        for chosen in options:
            content = io.BytesIO()
            picture.save(content, "WEBP", method=2, **chosen)
            if len(content.getvalue()) <= limit or (chosen is options[-1] and min(half) < SMALLEST_SIDE):
                return content.getvalue()
    return _webp(picture.resize(half, Image.Resampling.BOX), limit)


def curve(name: str, values: Sequence[float | None]) -> Curve | None:
    """Return the course of a loss, at most `POINTS` points of it; None with fewer than two finite values."""
    finite = np.asarray([value for value in values if value is not None], np.float64)
    finite = finite[np.isfinite(finite)]
    if len(finite) < 2:
        return None
    low, high = float(finite.min()), float(finite.max())
    chosen = np.unique(np.linspace(0, len(finite) - 1, POINTS).round().astype(int))
    across = chosen * WIDTH / (len(finite) - 1)
    down = (HEIGHT - 1) - (HEIGHT - 2) * (finite[chosen] - low) / ((high - low) or 1)
    points = " ".join(f"{x:.0f},{y:.0f}" for x, y in zip(across, down, strict=True))
    texts = [f"{value:.4g}" for value in (finite[0], finite[-1], low, high)]
    return Curve(name, points, *texts, count=len(values))


def probe_curve(
    iteration: Sequence[float], loss: Sequence[float], standard_error: Sequence[float | None]
) -> Curve | None:
    """Return the course of the loss on a fixed probe over iterations, in a band of one standard error to either side.

    Parameters
    ----------
    iteration, loss : sequence of float
        As long as each other, iterations rising.
    standard_error : sequence of float or None
        None counts as none.

    Returns
    -------
    Curve or None
        None with fewer than two finite losses. The texts of both ends have their standard error.

    Raises
    ------
    TypeError, ValueError
        If the lists are not of this form.
    """
    rows = np.asarray([iteration, loss, [error or 0 for error in standard_error]], np.float64)
    at, loss, error = rows[:, np.isfinite(rows).all(0)]
    if len(at) < 2:
        return None
    if not (np.diff(at) > 0).all():
        raise ValueError("the iterations of the probe do not rise")
    low, high = float((loss - error).min()), float((loss + error).max())
    across = WIDTH * (at - at[0]) / (at[-1] - at[0])

    def places(values: np.ndarray) -> list[str]:
        down = (HEIGHT - 1) - (HEIGHT - 2) * (values - low) / ((high - low) or 1)
        return [f"{x:.0f},{y:.0f}" for x, y in zip(across, down, strict=True)]

    ends = [f"{loss[end]:.4g} ± {error[end]:.1g}" for end in (0, -1)]
    extremes = [f"{value:.4g}" for value in (loss.min(), loss.max())]
    band = " ".join(places(loss + error) + places(loss - error)[::-1])
    return Curve("loss on the probe", " ".join(places(loss)), *ends, *extremes, count=int(at[-1]), band=band)


def histogram(weights: np.ndarray, conflicting: np.ndarray | None) -> Histogram | None:
    """Return the histogram of log10 of the weights, aligned and conflicting samples each normalised to their peak.

    Parameters
    ----------
    weights : ndarray of float, shape (N,)
        Those of zero have no place on this axis and are counted.
    conflicting : ndarray of bool, shape (N,), or None
        None when the attribute is unknown: one area for all.
    """
    shown = np.isfinite(weights) & (weights > 0)
    if not shown.any():
        return None
    logs = np.log10(np.where(shown, weights, 1))
    edges = np.histogram_bin_edges(logs[shown], BINS)
    masks = [("all", shown)]
    if conflicting is not None:
        masks = [("aligned", shown & ~conflicting), ("conflicting", shown & conflicting)]
    parts = [(name, _steps(np.histogram(logs[mask], edges)[0])) for name, mask in masks if mask.any()]
    ends = [f"{float(f'{10**edge:.2g}'):g}" for edge in (edges[0], edges[-1])]
    return Histogram(parts, *ends, zeros=int((~shown).sum()))


def _steps(counts: np.ndarray) -> str:
    """Return the outline of bars as an SVG path."""
    wide = WIDTH / len(counts)
    tops = HEIGHT - (HEIGHT - 1) * counts / counts.max()
    steps = "".join(f"V{top:.0f}H{wide * (index + 1):.0f}" for index, top in enumerate(tops))
    return f"M0 {HEIGHT}{steps}V{HEIGHT}Z"
