"""Lips and lids as windows: what lies behind shows only inside their deformed outline.

The outline is the ring of landmarks before head motion, seen by the source camera; a point behind
it is gated by its signed distance (px) to that outline, so teeth never leak beyond the lips and
an eye never shines through its lid.
"""

from __future__ import annotations

import numpy as np

from mggtalk_cli.core.compiled import run_over
from mggtalk_cli.deform import kernels

# Width of the soft edge of a window, px.
EDGE_PX = 1.0


def signed_distance(points: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Return (m,) float32 distance in px to the polygon, positive inside.

    Args:
        points: (m, 2) positions in px.
        ring: (k, 2) polygon corners in px, in order.
    """
    out = np.empty(len(points), np.float32)
    points, ring = (np.ascontiguousarray(xy, np.float32) for xy in (points, ring))
    run_over(len(out), kernels.signed_distances, points, ring, out)
    return out


def window(points: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Return (m,) float32 visibility 0..1 of points behind the window `ring` (both px).

    `kernels.look_through` is this for all windows of a head at once.
    """
    return np.clip(0.5 + signed_distance(points, ring) / EDGE_PX, 0, 1)
