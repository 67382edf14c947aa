"""Put the rendered person over the background plate: the analytic inpainter.

I = rgb alpha + plate (1 - alpha). A learned inpainter takes the same head frame, alpha and plate
and adds what is missing between them.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.core.compiled import run_over
from mggtalk_cli.core.parallel import jit

# Fainter pixels than half a step of 8 bits have no colour of their own.
MIN_ALPHA = np.float32(1 / 512)


def straight_rgba(color: Float[Tensor, "h w 3"], alpha: Float[Tensor, "h w 1"]) -> np.ndarray:
    """Return (H, W, 4) uint8 straight-alpha RGBA of premultiplied float colour."""
    rgba = np.empty((*color.shape[:2], 4), np.uint8)
    run_over(len(rgba), _straighten, color.cpu(), alpha.cpu(), rgba)
    return rgba


def composite(rgba: np.ndarray, plate: np.ndarray) -> np.ndarray:
    """Return the (H, W, 3) uint8 frame of a straight-alpha (H, W, 4) uint8 head over a plate."""
    out = np.empty(plate.shape, np.uint8)
    run_over(len(out), _over, np.ascontiguousarray(rgba), np.ascontiguousarray(plate), out)
    return out


@jit
def _straighten(begin, end, color, alpha, rgba):  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        for j in range(rgba.shape[1]):
            scale = np.float32(255) / max(alpha[i, j, 0], MIN_ALPHA)
            for c in range(3):
                rgba[i, j, c] = _byte(color[i, j, c] * scale)
            rgba[i, j, 3] = _byte(alpha[i, j, 0] * np.float32(255))


@jit
def _byte(value):  # type: ignore[no-untyped-def]
    """Return the number nearest to 0..255."""
    return np.uint8(min(max(value, np.float32(0)), np.float32(255)) + np.float32(0.5))


@jit
def _over(begin, end, rgba, plate, out):  # type: ignore[no-untyped-def]
    for i in range(begin, end):
        for j in range(rgba.shape[1]):
            alpha = np.int32(rgba[i, j, 3])
            for c in range(3):
                mixed = np.int32(rgba[i, j, c]) * alpha + np.int32(plate[i, j, c]) * (255 - alpha)
                out[i, j, c] = np.uint8((mixed + 127) // 255)
