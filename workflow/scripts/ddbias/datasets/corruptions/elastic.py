"""Elastic: a random affine map, then a smooth random displacement of every pixel.

Constants of CIFAR-10-C (Hendrycks & Dietterich, arXiv:1903.12261) as used by Learning from Failure (arXiv:2007.02561).
"""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional

from ddbias.datasets.corruptions.draws import draw_uniform
from ddbias.datasets.corruptions.smoothing import SIDE, apply_to_both_axes, gaussian_matrix
from ddbias.datasets.corruptions.truncation import truncate

# level: size of the displacement, standard deviation of its smoothing, reach of the three points; all in pixels
CONSTANTS = {
    1: (0.0, 0.0, 2.56),
    2: (1.6, 6.4, 2.24),
    3: (2.56, 1.92, 1.92),
    4: (3.2, 1.28, 1.6),
    5: (3.2, 0.96, 0.96),
}
POINTS = np.array([[26.0, 26.0], [26.0, 6.0], [6.0, 6.0]])  # (x, y): 10 pixels around the centre 16
STEPS = torch.arange(SIDE, dtype=torch.float32)
_TRUNCATE = 3  # the Gaussian of the displacement ends at three standard deviations


def draw_elastic(rng: np.random.Generator, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw what one image needs, uniform in [-1, 1), the same for every level.

    The moves of the three points (x, y), float32 (3, 2), and the fields before smoothing, float32 (2, 32, 32): first
    the displacement along x, then along y.
    """
    drawn = draw_uniform(rng, (2 * SIDE * SIDE + 6,))
    return drawn[-6:].reshape(3, 2), drawn[:-6].reshape(2, SIDE, SIDE)


def inverse_affine(moves: np.ndarray, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the affine maps that take the moved points back to `POINTS`.

    Parameters
    ----------
    moves : float, shape (n, 3, 2)
        In units of `reach`.
    reach : float
        Pixels; below 5, so that the points cannot fall on a line.

    Returns
    -------
    linear : float64, shape (n, 2, 2)
    shift : float64, shape (n, 2)
        Pixel p = (x, y) of the result shows the place ``linear @ p + shift`` of the image.
    """
    moved = POINTS + reach * moves.astype(np.float64)
    (ax, ay), (bx, by) = (moved[:, 0] - moved[:, 1]).T, (moved[:, 1] - moved[:, 2]).T
    # The images of (ax, ay) and (bx, by) are the sides (0, 20) and (20, 0) of the three points.
    linear = np.stack([np.stack([-ay, ax], -1), np.stack([by, -bx], -1)], 1) * 20.0
    linear /= (ax * by - ay * bx)[:, None, None]
    return linear, POINTS[1] - np.einsum("nij,nj->ni", linear, moved[:, 1])


def displacement(fields: np.ndarray, level: int) -> np.ndarray:
    """Return the displacement in pixels, float32 (n, 2, 32, 32), from uniform fields of that shape."""
    size, sigma, _ = CONSTANTS[level]
    matrix = gaussian_matrix(sigma, mode="reflect", truncate=_TRUNCATE).astype(np.float32)
    smooth = apply_to_both_axes(matrix, fields)
    smooth *= np.float32(size)
    return smooth


def warp(values: torch.Tensor, places: torch.Tensor, border: str) -> torch.Tensor:
    """Read images (n, C, 32, 32) bilinearly at `places` (n, 32, 32, 2), pixels (x, y).

    `border` is ``"reflect_101"`` (mirrored at the edge pixels' centres) or ``"reflect"`` (at their outer edge).
    `places` is overwritten.
    """
    at_centres = border == "reflect_101"
    # grid_sample counts from -1 to 1, from the centres or from the outer edges of the edge pixels.
    scale, first = (2 / (SIDE - 1), -1) if at_centres else (2 / SIDE, 1 / SIDE - 1)
    places.mul_(scale).add_(first)
    return functional.grid_sample(values, places, "bilinear", "reflection", align_corners=at_centres)


def elastic(images: np.ndarray, draws: tuple[np.ndarray, np.ndarray], level: int) -> np.ndarray:
    """Warp by the affine map (border mirrored at pixel centres), then by the displacement (mirrored at the edge).

    Both interpolations are exactly bilinear. The published one goes through OpenCV's ``warpAffine``, whose coordinates
    are rounded to 1/32 of a pixel: a pixel there can differ by 1/64 of the contrast to its neighbours per axis.

    Parameters
    ----------
    images : uint8, shape (n, 3, 32, 32)
    draws : tuple
        Moves, float (n, 3, 2), and fields, float (n, 2, 32, 32): the stacked draws of `draw_elastic`.
    level : int
        Column 1..5 of `CONSTANTS`.

    Returns
    -------
    uint8, shape (n, 3, 32, 32)
        Truncated, not rounded.
    """
    moves, fields = draws
    size, _, reach = CONSTANTS[level]
    linear, shift = (torch.from_numpy(part).float() for part in inverse_affine(moves, reach))
    along_x = STEPS[None, :, None] * linear[:, None, :, 0] + shift[:, None, :]
    places = along_x[:, None] + STEPS[None, :, None, None] * linear[:, None, None, :, 1]
    values = warp(torch.from_numpy(images.astype(np.float32)), places, "reflect_101")
    if size:
        moved = torch.from_numpy(displacement(fields, level)).permute(0, 2, 3, 1)
        unmoved = torch.stack(torch.meshgrid(STEPS, STEPS, indexing="xy"), -1)
        values = warp(values, torch.add(moved, unmoved, out=torch.empty(moved.shape)), "reflect")
    return truncate(values.numpy(), within=True)
