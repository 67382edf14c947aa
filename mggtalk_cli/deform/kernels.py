"""Deformation's compiled kernels: posed points, and how far lips and lids let points be seen.

One pass over the points each, in float32. `skinning.py` and `aperture.py` say what they compute.
"""

from __future__ import annotations

import math

import numpy as np

from mggtalk_cli.core.parallel import jit

HALF, ONE, ZERO = np.float32(0.5), np.float32(1), np.float32(0)


@jit
def _expressed(i, points, index, weight, iris, motion, gaze):  # type: ignore[no-untyped-def]
    """Return point i after expression and gaze (3 numbers), before head motion."""
    u, v, w = weight[i, 0], weight[i, 1], weight[i, 2]
    a, b, c = np.uint32(index[i, 0]), np.uint32(index[i, 1]), np.uint32(index[i, 2])
    x = points[i, 0] + u * motion[a, 0] + v * motion[b, 0] + w * motion[c, 0]
    y = points[i, 1] + u * motion[a, 1] + v * motion[b, 1] + w * motion[c, 1]
    z = points[i, 2] + u * motion[a, 2] + v * motion[b, 2] + w * motion[c, 2]
    if iris[i]:
        return x + gaze[0], y + gaze[1], z + gaze[2]
    return x, y, z


@jit
def _numbers(array):  # type: ignore[no-untyped-def]
    """Return a (3,) array's numbers: the compiler knows that writing results leaves them alone."""
    return array[0], array[1], array[2]


@jit
def pose(  # type: ignore[no-untyped-def]
    begin, end, points, index, weight, iris, head_weight, torso_follow,
    motion, gaze, rotation, translation, neck, out,
):  # fmt: skip
    """Write where points begin..end are after expression, gaze and head motion."""
    shift = _numbers(gaze)
    r00, r01, r02 = _numbers(rotation[0])
    r10, r11, r12 = _numbers(rotation[1])
    r20, r21, r22 = _numbers(rotation[2])
    t0, t1, t2 = _numbers(translation)
    n0, n1, n2 = _numbers(neck)
    for row in range(begin, end):
        i = np.uint64(row)  # unsigned: no negative indices to check for, 3 times as fast
        x, y, z = _expressed(i, points, index, weight, iris, motion, shift)
        head, follow = head_weight[i], torso_follow[i]
        hx = r00 * x + r01 * y + r02 * z + t0
        hy = r10 * x + r11 * y + r12 * z + t1
        hz = r20 * x + r21 * y + r22 * z + t2
        tx, ty, tz = x + follow * n0, y + follow * n1, z + follow * n2
        out[i, 0] = tx + head * (hx - tx)
        out[i, 1] = ty + head * (hy - ty)
        out[i, 2] = tz + head * (hz - tz)


@jit
def carry(begin, end, rows, corner, weight, displacement, points):  # type: ignore[no-untyped-def]
    """Add to the points rows[begin:end] the weighted displacements of the corners around them."""
    for n in range(begin, end):
        k = np.uint64(n)
        i = np.uint32(rows[k])
        for axis in range(3):
            moved = ZERO
            for side in range(4):
                moved += weight[k, side] * displacement[np.uint32(corner[k, side]), axis]
            points[i, axis] += moved


@jit
def _distance(x, y, ring):  # type: ignore[no-untyped-def]
    """Return the distance of (x, y) to the polygon `ring` (k, 2), positive inside."""
    best, inside = np.float32(1e30), False
    for k in range(ring.shape[0]):
        after = k + 1 if k + 1 < ring.shape[0] else 0
        ax, ay = ring[k, 0], ring[k, 1]
        bx, by = ring[after, 0], ring[after, 1]
        dx, dy = bx - ax, by - ay
        t = ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy + np.float32(1e-12))
        t = min(max(t, ZERO), ONE)
        ex, ey = ax + t * dx - x, ay + t * dy - y
        best = min(best, ex * ex + ey * ey)
        if (ay > y) != (by > y) and x < dx * (y - ay) / dy + ax:
            inside = not inside
    return math.sqrt(best) if inside else -math.sqrt(best)


@jit
def signed_distances(begin, end, points, ring, out):  # type: ignore[no-untyped-def]
    """Write the distance of points (m, 2) begin..end to the polygon, positive inside."""
    for p in range(begin, end):
        out[p] = _distance(points[p, 0], points[p, 1], ring)


@jit
def look_through(  # type: ignore[no-untyped-def]
    begin, end, rows, gate, points, index, weight, iris, motion, gaze,
    viewmat, focal_px, centre, rings, ring_at, edge_px, shares, visibility,
):  # fmt: skip
    """Write the visibility of the points rows[begin:end], each behind the window of its gate.

    `viewmat` (4, 4), `focal_px` and `centre` (2,) are the camera's in whose picture the windows'
    corners `rings` (k, 2) lie; gate g has those from ring_at[g] to ring_at[g + 1]. What shows
    inside its window appears in proportion to shares[g, 0], what shows outside to shares[g, 1].
    """
    shift = _numbers(gaze)
    reach = HALF * edge_px
    boxes = np.empty((len(ring_at) - 1, 4), np.float32)
    for g in range(len(boxes)):
        for axis in range(2):
            side = rings[ring_at[g] : ring_at[g + 1], axis]
            if len(side):
                boxes[g, axis], boxes[g, 2 + axis] = side.min() - reach, side.max() + reach
    for n in range(begin, end):
        i = np.uint64(rows[n])
        g = gate[i]
        x, y, z = _expressed(i, points, index, weight, iris, motion, shift)
        xc = viewmat[0, 0] * x + viewmat[0, 1] * y + viewmat[0, 2] * z + viewmat[0, 3]
        yc = viewmat[1, 0] * x + viewmat[1, 1] * y + viewmat[1, 2] * z + viewmat[1, 3]
        zc = viewmat[2, 0] * x + viewmat[2, 1] * y + viewmat[2, 2] * z + viewmat[2, 3]
        zoom = focal_px / max(zc, np.float32(1e-6))
        px, py = xc * zoom + centre[0], yc * zoom + centre[1]
        seen = ZERO
        if boxes[g, 0] < px < boxes[g, 2] and boxes[g, 1] < py < boxes[g, 3]:
            distance = _distance(px, py, rings[ring_at[g] : ring_at[g + 1]])
            seen = min(max(HALF + distance / edge_px, ZERO), ONE)
        visibility[i] = shares[g, 0] * seen + shares[g, 1] * (ONE - seen)
