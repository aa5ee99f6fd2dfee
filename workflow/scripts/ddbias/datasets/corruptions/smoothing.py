"""Linear maps of small square images as matrices: Gaussian smoothing and spline zoom of order 1."""

from __future__ import annotations

import functools

import numpy as np

SIDE = 32  # pixels of a CIFAR image's side


@functools.cache
def gaussian_matrix(sigma: float, *, mode: str, truncate: float) -> np.ndarray:
    """Return the matrix G, float64 (32, 32), with which ``G @ image @ G.T`` smooths an image.

    Parameters
    ----------
    sigma : float
        Standard deviation in pixels, >= 0; 0 gives the identity.
    mode : str
        What lies outside: ``"nearest"`` (edge pixels) or ``"reflect"`` (mirror images, the edge pixel twice), the names
        of `scipy.ndimage`.
    truncate : float
        The kernel ends at this many standard deviations.
    """
    matrix = np.eye(SIDE)
    if sigma > 0:
        from scipy import ndimage

        matrix = ndimage.gaussian_filter1d(matrix, sigma, axis=0, mode=mode, truncate=truncate)
    matrix.flags.writeable = False
    return matrix


@functools.cache
def zoom_matrix(factor: float) -> np.ndarray:
    """Return the matrix Z, float64 (32, 32), with which ``Z @ image @ Z.T`` magnifies the centre of an image.

    The centre of side ``ceil(32 / factor)`` is interpolated linearly to ``round(factor side)`` points, first and last
    on the first and last pixel, of which the 32 in the middle are kept (CIFAR-10-C, arXiv:1903.12261).

    Parameters
    ----------
    factor : float
        Magnification, >= 1.
    """
    crop = int(np.ceil(SIDE / factor))
    first = (SIDE - crop) // 2
    size = round(crop * factor)
    trim = (size - SIDE) // 2
    places = np.arange(trim, trim + SIDE) * ((crop - 1) / (size - 1))
    below = np.minimum(places.astype(np.intp), crop - 2)
    matrix = np.zeros((SIDE, SIDE))
    rows = np.arange(SIDE)
    matrix[rows, first + below] = 1 - (places - below)
    matrix[rows, first + below + 1] = places - below
    matrix.flags.writeable = False
    return matrix


def apply_to_both_axes(matrix: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Return ``matrix @ image @ matrix.T`` of every image (..., 32, 32), in the type of `matrix`.

    One product of 32 x 32 matrices per image, so that no bit of it depends on the size of the batch.
    """
    return np.matmul(np.matmul(matrix, images.astype(matrix.dtype, copy=False)), matrix.T)
