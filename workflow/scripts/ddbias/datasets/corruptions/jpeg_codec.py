"""What JPEG loses, for batches of 32 x 32 RGB images: encoding and decoding without the lossless bit stream between.

Baseline JPEG (ITU-T T.81) with chroma halved in both directions, in the integer arithmetic of the common libjpeg: so
the pixels are those that Pillow returns, at a fraction of the time that a file per image takes. Every step is a linear
map with whole-number weights, then a rounding shift. All values stay whole and below 2^24 in float32 (2^53 in
float64), so products of matrices are exact and nothing depends on the order of additions.

An image is kept as one array (48, 32) of 24 blocks: its luma, below it the two chromas side by side.
"""

from __future__ import annotations

from functools import cache

import numpy as np

# Quantisation tables of quality 50, T.81 Annex K.1: luma, chroma; rows are vertical frequencies.
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
) + ((99,) * 8,) * 4
_BLOCK = 32  # images at a time: their float64 copies stay in the cache


def recompress(images: np.ndarray, quality: int) -> np.ndarray:
    """Return what is left of images after JPEG.

    Parameters
    ----------
    images : ndarray of uint8, shape (n, 3, 32, 32)
    quality : int
        1..100, with libjpeg's scaling of the tables of Annex K.

    Returns
    -------
    ndarray of uint8, shape (n, 3, 32, 32)
    """
    steps = _quantisation(quality)
    out = np.empty_like(images)
    for start in range(0, len(images), _BLOCK):
        part = slice(start, start + _BLOCK)
        planes = _to_planes(images[part].astype(np.float32))
        _to_pixels(_decode(_encode(planes, steps), steps), out[part])
    return out


def _encode(planes: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Transform and quantise samples (n, 48, 32) around 0: first along rows, then along columns."""
    _, down, across = _matrices()
    rows = _shift(planes.reshape(-1, 32) @ across, 11)
    frequencies = _shift(down @ rows.reshape(planes.shape).astype(np.float64), 15)
    # Quotients of whole numbers below 2^15; the factor above 1 rounds halves away from 0.
    frequencies *= (1 + 1e-9) / (8 * steps)
    return np.rint(frequencies, out=frequencies)


def _decode(levels: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return samples (n, 48, 32) around 0, float32: first along columns, then along rows."""
    across, down, _ = _matrices()
    levels *= steps
    columns = _shift(down.T @ levels, 11)
    samples = _shift(columns.reshape(-1, 32) @ across, 18)
    return np.clip(samples, -128, 127, out=samples).astype(np.float32).reshape(levels.shape)


def _to_planes(pixels: np.ndarray) -> np.ndarray:
    """Turn R, G, B (n, 3, 32, 32) into luma and halved chroma (n, 48, 32), around 0, float32."""
    red, green, blue = pixels[:, 0], pixels[:, 1], pixels[:, 2]
    planes = np.empty((len(pixels), 48, 32), np.float32)
    planes[:, :32] = _shift(red * _fixed(0.299) + green * _fixed(0.587) + blue * _fixed(0.114), 16) - 128
    chroma = np.empty((len(pixels), 32, 2, 32), np.float32)
    half = np.float32(2**15)
    chroma[:, :, 0] = blue * half - red * _fixed(0.16874) - green * _fixed(0.33126)
    chroma[:, :, 1] = red * half - green * _fixed(0.41869) - blue * _fixed(0.08131)
    chroma -= 1  # a half is rounded down
    chroma = _shift(chroma, 16).reshape(len(pixels), 16, 2, 32, 2)
    pairs = chroma[:, :, 0] + chroma[:, :, 1]
    sums = pairs[..., 0] + pairs[..., 1]
    sums += np.resize(np.array([-1, 0], np.float32), 32)  # rounded down and up in turn, to be fair
    planes[:, 32:] = _shift(sums, 2)
    return planes


def _to_pixels(planes: np.ndarray, out: np.ndarray) -> None:
    """Turn luma and halved chroma (n, 48, 32) around 0 into R, G, B, uint8 (n, 3, 32, 32)."""
    columns, rows = _enlarge()
    chroma = columns @ (planes[:, 32:].reshape(-1, 32) @ rows).reshape(-1, 16, 64)
    chroma -= np.resize(np.array([0, 1], np.float32), 64)  # halves are rounded up and down in turn
    chroma = _shift(chroma, 4)
    luma, blueness, redness = planes[:, :32] + 128, chroma[..., :32], chroma[..., 32:]
    colours = (
        _shift(redness * _fixed(1.402), 16),
        _shift(blueness * -_fixed(0.34414) - redness * _fixed(0.71414), 16),
        _shift(blueness * _fixed(1.772), 16),
    )
    for channel, colour in enumerate(colours):
        colour += luma
        out[:, channel] = np.clip(colour, 0, 255, out=colour)


def _shift(values: np.ndarray, bits: int) -> np.ndarray:
    """Return ``floor(values / 2^bits + 1/2)``, in place."""
    values += 2.0 ** (bits - 1)
    values *= 2.0**-bits
    return np.floor(values, out=values)


def _fixed(number: float) -> np.float32:
    """Return a colour weight as a whole number of 2^-16."""
    return np.float32(int(number * 2**16 + 0.5))


@cache
def _quantisation(quality: int) -> np.ndarray:
    """Return the quantisation step of each of the 48 x 32 frequencies of an image, float64."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    luma, chroma = (np.clip((np.array(table) * scale + 50) // 100, 1, 255) for table in (_LUMA, _CHROMA))
    return np.concatenate([np.tile(luma, (4, 4)), np.tile(chroma, (2, 4))]).astype(np.float64)


@cache
def _transform() -> np.ndarray:
    """Return the cosine transform of 8 samples, times sqrt(8) 2^13, as whole numbers.

    The factorisation of Loeffler, Ligtenberg and Moschytz (ICASSP 1989, figure 8 with eleven products) with each
    constant rounded to 13 bits, multiplied out: row k turns samples into frequency k.
    """
    c = [np.sqrt(2) * np.cos(k * np.pi / 16) for k in range(8)]

    def fix(number: float) -> int:
        return int(np.floor(number * 2**13 + 0.5))

    x = np.eye(8, dtype=np.int64)
    even, odd = x[:4] + x[:3:-1], x[:4] - x[:3:-1]  # samples 0 and 7, 1 and 6, 2 and 5, 3 and 4
    outer, inner = even[0] - even[3], even[1] - even[2]
    rows = np.empty((8, 8), np.int64)
    rows[0] = even.sum(0) << 13
    rows[4] = (even[0] - even[1] - even[2] + even[3]) << 13
    both = (outer + inner) * fix(c[6])
    rows[2] = both + outer * fix(c[2] - c[6])
    rows[6] = both - inner * fix(c[2] + c[6])
    turn = odd.sum(0) * fix(c[3])
    a, b = (odd[3] + odd[0]) * fix(c[3] - c[7]), (odd[2] + odd[1]) * fix(c[1] + c[3])
    d, e = turn - (odd[3] + odd[1]) * fix(c[3] + c[5]), turn - (odd[2] + odd[0]) * fix(c[3] - c[5])
    rows[7] = odd[3] * fix(-c[1] + c[3] + c[5] - c[7]) - a + d
    rows[5] = odd[2] * fix(c[1] + c[3] - c[5] + c[7]) - b + e
    rows[3] = odd[1] * fix(c[1] + c[3] + c[5] - c[7]) - b + d
    rows[1] = odd[0] * fix(c[1] + c[3] - c[5] - c[7]) - a + e
    return rows


@cache
def _matrices() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the transform for all blocks of an image: float64 (32, 32) and (48, 48); float32, transposed (32, 32)."""
    across, down = (np.kron(np.eye(blocks), _transform()) for blocks in (4, 6))
    return across, down, np.ascontiguousarray(across.T.astype(np.float32))


@cache
def _enlarge() -> tuple[np.ndarray, np.ndarray]:
    """Return what doubles lines, times 4, float32: (32, 16) for columns, (32, 64) for rows of two chromas.

    Linear interpolation: 3/4 of the nearer sample, 1/4 of the other one beside.
    """
    matrix = np.zeros((32, 16), np.float32)
    for position in range(32):
        near = position // 2
        matrix[position, near] += 3
        matrix[position, np.clip(near + (1 if position % 2 else -1), 0, 15)] += 1
    return matrix, np.kron(np.eye(2, dtype=np.float32), matrix.T)
