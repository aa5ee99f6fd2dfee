"""From computed grey levels back to bytes: the fraction is dropped, as the published data sets do it."""

from __future__ import annotations

import numpy as np

# Added before the fraction is dropped. The published float64 code leaves a flat area of level v at v or v - 1, as
# its rounding errors fall; here such a value stays v. Larger than float32's errors on 0..255, smaller than any
# level that shows.
GUARD = np.float32(2.0**-10)


def truncate(levels: np.ndarray, *, within: bool = False) -> np.ndarray:
    """Return `levels` as uint8, clipped to 0..255 and truncated; `levels` is overwritten.

    Parameters
    ----------
    levels : ndarray of float32
        Grey levels on the scale 0..255.
    within : bool
        True when rounding errors are all that lies outside 0..255: saves the clipping.
    """
    levels += GUARD
    if not within:
        np.clip(levels, 0, 255, out=levels)
    return levels.astype(np.uint8)
