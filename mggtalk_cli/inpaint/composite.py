"""Put the rendered person over the background plate: the analytic inpainter.

I = rgb alpha + plate (1 - alpha). A learned inpainter takes the same head frame, alpha and plate
and adds what is missing between them.
"""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True, parallel=True)
def _over(rgba, plate, out):  # type: ignore[no-untyped-def]
    for i in numba.prange(rgba.shape[0]):
        for j in range(rgba.shape[1]):
            alpha = np.int32(rgba[i, j, 3])
            for c in range(3):
                mixed = np.int32(rgba[i, j, c]) * alpha + np.int32(plate[i, j, c]) * (255 - alpha)
                out[i, j, c] = np.uint8((mixed + 127) // 255)


def composite(rgba: np.ndarray, plate: np.ndarray) -> np.ndarray:
    """Return the (H, W, 3) uint8 frame of a straight-alpha (H, W, 4) uint8 head over a plate."""
    out = np.empty_like(plate)
    _over(rgba, plate, out)
    return out
