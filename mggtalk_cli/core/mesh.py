"""Triangle meshes on a pixel grid: a z-buffer that says which triangle each pixel sees."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(cache=True)
def _fill(xy, depth, triangles, index, bary, zbuffer):  # type: ignore[no-untyped-def]
    height, width = index.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ax, ay, bx, by, cx, cy = xy[a, 0], xy[a, 1], xy[b, 0], xy[b, 1], xy[c, 0], xy[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(area) < 1e-12:
            continue
        j0 = max(0, int(np.ceil(min(ax, bx, cx) - 0.5)))
        j1 = min(width - 1, int(np.floor(max(ax, bx, cx) - 0.5)))
        i0 = max(0, int(np.ceil(min(ay, by, cy) - 0.5)))
        i1 = min(height - 1, int(np.floor(max(ay, by, cy) - 0.5)))
        for i in range(i0, i1 + 1):
            for j in range(j0, j1 + 1):
                px, py = j + 0.5, i + 0.5
                wb = ((px - ax) * (cy - ay) - (cx - ax) * (py - ay)) / area
                wc = ((bx - ax) * (py - ay) - (px - ax) * (by - ay)) / area
                wa = 1.0 - wb - wc
                if wa < -1e-6 or wb < -1e-6 or wc < -1e-6:
                    continue
                z = wa * depth[a] + wb * depth[b] + wc * depth[c]
                if z < zbuffer[i, j]:
                    zbuffer[i, j] = z
                    index[i, j] = t
                    bary[i, j, 0], bary[i, j, 1], bary[i, j, 2] = wa, wb, wc


def rasterize_mesh(
    xy: np.ndarray, depth: np.ndarray, triangles: np.ndarray, *, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the nearest triangle under every pixel centre.

    Args:
        xy: (V, 2) vertex positions in pixels, pixel centres at .5.
        depth: (V,) vertex depth, smaller is nearer.
        triangles: (F, 3) vertex indices, either orientation.
        height: of the grid in pixels.
        width: of the grid in pixels.

    Returns:
        index (H, W) int32, -1 where no triangle lies; screen-space barycentric weights (H, W, 3)
        float32; depth (H, W) float32, +inf where empty.
    """
    index = np.full((height, width), -1, np.int32)
    bary = np.zeros((height, width, 3), np.float32)
    zbuffer = np.full((height, width), np.inf, np.float32)
    _fill(
        np.ascontiguousarray(xy, np.float64),
        np.ascontiguousarray(depth, np.float64),
        np.ascontiguousarray(triangles, np.int64),
        *(index, bary, zbuffer),
    )
    return index, bary, zbuffer
