"""Lips and lids as windows: what lies behind shows only inside their deformed outline.

The outline is the ring of landmarks before head motion, seen by the source camera; a point behind
it is gated by its signed distance (px) to that outline, so teeth never leak beyond the lips and
an eye never shines through its lid.
"""

from __future__ import annotations

import numba
import numpy as np

# Width of the soft edge of a window, px.
EDGE_PX = 1.0


@numba.njit(cache=True, parallel=True)
def _signed_distance(points, ring):  # type: ignore[no-untyped-def]
    count = ring.shape[0]
    out = np.empty(points.shape[0], np.float32)
    for p in numba.prange(points.shape[0]):
        x, y = points[p, 0], points[p, 1]
        best, inside = np.float32(1e30), False
        for k in range(count):
            ax, ay = ring[k, 0], ring[k, 1]
            bx, by = ring[(k + 1) % count, 0], ring[(k + 1) % count, 1]
            dx, dy = bx - ax, by - ay
            t = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + np.float32(1e-12))
            t = min(max(t, np.float32(0)), np.float32(1))
            ex, ey = ax + t * dx - x, ay + t * dy - y
            best = min(best, ex * ex + ey * ey)
            if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
                inside = not inside
        out[p] = np.sqrt(best) if inside else -np.sqrt(best)
    return out


def signed_distance(points: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Return (m,) float32 distance in px to the polygon, positive inside.

    Args:
        points: (m, 2) positions in px.
        ring: (k, 2) polygon corners in px, in order.
    """
    return _signed_distance(points.astype(np.float32), ring.astype(np.float32))


def window(points: np.ndarray, ring: np.ndarray) -> np.ndarray:
    """Return (m,) float32 visibility 0..1 of points behind the window `ring` (both px)."""
    return np.clip(0.5 + signed_distance(points, ring) / EDGE_PX, 0, 1)
