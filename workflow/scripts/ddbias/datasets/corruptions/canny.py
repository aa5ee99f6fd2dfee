"""Edges and distances of many small 8-bit pictures at once: the rules of Canny and of the 5 x 5 chamfer distance.

Pictures are stacked along the last axis, (32, 32, n): a shift along rows or columns is then a slice of long rows.
"""

from __future__ import annotations

import numpy as np

# Lengths of a step to a side, a diagonal and a knight's move (Borgefors 1986, Distance transformations in digital
# images), in multiples of 2^-16 as OpenCV has them: sums below 256 are exact in float32.
SIDE_STEP, DIAGONAL_STEP, KNIGHT_STEP = 1.0, round(1.4 * 65536) / 65536, round(2.1969 * 65536) / 65536
FAR = 100.0  # more than any distance in a picture of side 32
_TANGENT = 13573  # tan(22.5 degrees) in multiples of 2^-15


def canny(pictures: np.ndarray, low: int, high: int) -> np.ndarray:
    """Return where Canny's detector finds edges, bool (H, W, n).

    Sobel derivatives of 3 x 3 (edge pixels replicated); strength ``|dx| + |dy|``, 0 outside; a pixel above `low` stays
    if it is strongest across the edge, in one of four directions; edges are the remaining pixels connected (8
    neighbours) to one above `high` (Canny 1986, with the integer arithmetic of OpenCV).

    Parameters
    ----------
    pictures : uint8, shape (H, W, n), W at most 32
    low, high : int
        Thresholds of the strength.
    """
    padded = np.pad(pictures.astype(np.int16), ((1, 1), (1, 1), (0, 0)), mode="edge")
    columns = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    dx = columns[:, 2:] - columns[:, :-2]
    rows = padded[:, :-2] + 2 * padded[:, 1:-1] + padded[:, 2:]
    dy = rows[2:] - rows[:-2]
    strength = np.zeros((dx.shape[0] + 2, dx.shape[1] + 2, dx.shape[2]), np.int16)
    middle = np.add(np.abs(dx), np.abs(dy), out=strength[1:-1, 1:-1])
    candidates = (middle > low) & _strongest(strength, dx, dy)
    return _connected(candidates, candidates & (middle > high))


def _strongest(strength: np.ndarray, dx: np.ndarray, dy: np.ndarray) -> np.ndarray:
    """Return where a pixel is stronger than its two neighbours along the gradient; `strength` has a border of 0."""
    middle = strength[1:-1, 1:-1]
    width = np.abs(dx).astype(np.int32)
    height = np.abs(dy).astype(np.int32) << 15
    flat = width * _TANGENT
    horizontal = height < flat
    vertical = height > flat + (width << 16)
    same_sign = (dx ^ dy) >= 0
    beside = (middle > strength[1:-1, :-2]) & (middle >= strength[1:-1, 2:])
    above = (middle > strength[:-2, 1:-1]) & (middle >= strength[2:, 1:-1])
    falling = (middle > strength[:-2, :-2]) & (middle > strength[2:, 2:])
    rising = (middle > strength[:-2, 2:]) & (middle > strength[2:, :-2])
    diagonal = (same_sign & falling) | (~same_sign & rising)
    return (horizontal & beside) | (vertical & above) | (~horizontal & ~vertical & diagonal)


def _connected(candidates: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Grow `seeds` through the 8-neighbours among `candidates`, bool (H, W, n): one 32-bit word per row of pixels."""
    allowed, grown = _pack(candidates), _pack(seeds)
    while True:
        wide = np.zeros((grown.shape[0] + 2, grown.shape[1]), np.uint32)
        wide[1:-1] = grown | (grown << np.uint32(1)) | (grown >> np.uint32(1))
        reached = (wide[:-2] | wide[1:-1] | wide[2:]) & allowed
        if np.array_equal(reached, grown):
            break
        grown = reached
    return _unpack(grown)[:, : candidates.shape[1]]


def _pack(flags: np.ndarray) -> np.ndarray:
    """Return the words whose bit x is ``flags[:, x]``, uint32 (H, n)."""
    height, width, n = flags.shape
    packed = np.zeros((height, 32, n), np.uint8)
    packed[:, :width] = flags
    for bits in (1, 2, 4):  # neighbours become pairs, nibbles, bytes
        packed = packed[:, ::2] | (packed[:, 1::2] << np.uint8(bits))
    words = packed[:, 0].astype(np.uint32)
    for byte in (1, 2, 3):
        words |= packed[:, byte].astype(np.uint32) << np.uint32(8 * byte)
    return words


def _unpack(words: np.ndarray) -> np.ndarray:
    """Return the 32 flags of each word, bool (H, 32, n): what `_pack` packs."""
    height, n = words.shape
    octets = (words[:, None] >> np.arange(0, 32, 8, dtype=np.uint32)[:, None]).astype(np.uint8)
    single = (1 << np.arange(8)).astype(np.uint8)[:, None]
    return ((octets[:, :, None] & single) != 0).reshape(height, 32, n)


def chamfer_distance(zeros: np.ndarray) -> np.ndarray:
    """Return the 5 x 5 chamfer distance of every pixel to the nearest true one, float32 (H, W, n).

    It is within 2.1 % of the Euclidean distance, and bit-equal to OpenCV's own ``distanceTransform``. (A build that
    calls Intel's library has the weights unrounded: less than 0.0001 away, up to distance 20.) In a picture without a
    true pixel it is at least `FAR`.

    Parameters
    ----------
    zeros : bool, shape (H, W, n), W at most 100
        The pixels with distance 0.

    Notes
    -----
    A shortest path is steps to one side, and moves that all go down or all go up; their order does not matter. So
    one pass along the rows to either side comes first, then one down and one up.
    """
    height, width, n = zeros.shape
    aside, one = np.multiply(~zeros, np.uint8(FAR)), np.uint8(SIDE_STEP)  # whole steps along the row fit in bytes
    for column in range(1, width):
        np.minimum(aside[:, column], aside[:, column - 1] + one, out=aside[:, column])
    for column in range(width - 2, -1, -1):
        np.minimum(aside[:, column], aside[:, column + 1] + one, out=aside[:, column])
    padded = np.empty((height, width + 4, n), np.float32)  # two columns on each side that knights come from
    padded[:, :2] = padded[:, -2:] = FAR
    distance = padded[:, 2:-2]
    distance[:] = aside
    buffers = np.empty((2, width, n), np.float32)
    for rows in (padded, padded[::-1]):
        for row in range(1, height):
            _pass_on(rows[row - 2] if row > 1 else None, rows[row - 1], rows[row], *buffers)
    return distance


def _pass_on(
    second: np.ndarray | None, first: np.ndarray, row: np.ndarray, best: np.ndarray, knight: np.ndarray
) -> None:
    """Lower the distances of a row (W + 4, n) by the moves from the row before it and the one before that.

    `best` and `knight` are room for the results of a row.
    """
    np.minimum(first[:-4], first[4:], out=knight)
    if second is not None:
        np.minimum(knight, second[1:-3], out=knight)
        np.minimum(knight, second[3:-1], out=knight)
    knight += np.float32(KNIGHT_STEP)
    np.minimum(first[1:-3], first[3:-1], out=best)
    best += np.float32(DIAGONAL_STEP)
    np.minimum(best, knight, out=best)
    np.add(first[2:-2], np.float32(SIDE_STEP), out=knight)
    np.minimum(best, knight, out=best)
    inner = row[2:-2]
    np.minimum(inner, best, out=inner)
