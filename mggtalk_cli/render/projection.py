"""The CPU renderer's projection kernels: Gaussians and harmonics -> records and colours.

Arithmetic is float64 inside (it costs nothing here), results are float32. Like every kernel, each
works on one range of Gaussians and releases the GIL.
"""

from __future__ import annotations

import math

import numpy as np

from mggtalk_cli.core.parallel import jit
from mggtalk_cli.render.harmonics import sh_basis
from mggtalk_cli.render.lanes import LANES
from mggtalk_cli.render.layout import (
    BLUE,
    DEPTH,
    GREEN,
    HALF_HEIGHT,
    L11,
    L21,
    L22,
    LOG2_ALPHA_MIN,
    LOG2_OPACITY,
    RED,
    TILE_ROWS,
    X_HI,
    X_LO,
    Y_HI,
    Y_LO,
)  # fmt: skip
from mggtalk_cli.render.reference import ALPHA_MIN, VIEW_MARGIN

# numba's cache watches only the file a kernel stands in. This fingerprint of the files the kernels
# take constants and code from is checked by a test, so that a change there changes this file too.
SOURCES = "3be2e39ccf9b"

# Rounding slack of a footprint's box, px: a box too large costs time, one too small costs pixels.
BOX_SLACK = 1e-3
# exp(-s/2) = 2^(-(s log2(e)/2)): the root goes into the Cholesky factors.
ROOT_HALF_LOG2E = math.sqrt(0.5 / math.log(2.0))


def camera_vector(viewmat: np.ndarray, K: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return what the kernels need of a camera, (20,) float64.

    Rotation row-major, translation, fx, fy, cx, cy, and the range of x/z and y/z (low, high, low,
    high) within which the Jacobian is taken.
    """
    fx, fy, cx, cy = (float(K[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
    margin_x, margin_y = 0.5 * VIEW_MARGIN * width / fx, 0.5 * VIEW_MARGIN * height / fy
    range_x = (-cx / fx - margin_x, (width - cx) / fx + margin_x)
    range_y = (-cy / fy - margin_y, (height - cy) / fy + margin_y)
    lens = [fx, fy, cx, cy, *range_x, *range_y]
    return np.concatenate([viewmat[:3, :3].ravel(), viewmat[:3, 3], lens]).astype(np.float64)


@jit
def _camera_rows(camera, x, y, z):  # type: ignore[no-untyped-def]
    """Camera depth, pixel position and the 2x3 matrix d(pixel)/d(world) of a world point.

    `camera` is what `camera_vector` returns. The matrix is taken at the point clamped to 1.3 times
    the field of view, as in 3DGS.
    """
    xc = camera[0] * x + camera[1] * y + camera[2] * z + camera[9]
    yc = camera[3] * x + camera[4] * y + camera[5] * z + camera[10]
    zc = camera[6] * x + camera[7] * y + camera[8] * z + camera[11]
    fx, fy, cx, cy = camera[12], camera[13], camera[14], camera[15]
    inv = 1.0 / zc
    sx, sy = xc * inv, yc * inv
    tx = min(camera[17], max(camera[16], sx))
    ty = min(camera[19], max(camera[18], sy))
    gx, gy = fx * inv, fy * inv
    ux, uy = gx * (camera[0] - tx * camera[6]), gx * (camera[1] - tx * camera[7])
    uz = gx * (camera[2] - tx * camera[8])
    vx, vy = gy * (camera[3] - ty * camera[6]), gy * (camera[4] - ty * camera[7])
    vz = gy * (camera[5] - ty * camera[8])
    return zc, fx * sx + cx, fy * sy + cy, ux, uy, uz, vx, vy, vz


@jit
def _footprint(shape, kind, eps, ux, uy, uz, vx, vy, vz):  # type: ignore[no-untyped-def]
    """2D covariance (xx, xy, yy) and its determinant of one Gaussian's `shape` row.

    kind 2 or 3: that many world vectors f with Sigma = sum f f^T + eps I; kind 0: the nine
    entries of Sigma. Sums of squares give the determinant without cancellation.
    """
    if kind == 0:
        tx = shape[0] * ux + shape[1] * uy + shape[2] * uz
        ty = shape[3] * ux + shape[4] * uy + shape[5] * uz
        tz = shape[6] * ux + shape[7] * uy + shape[8] * uz
        sx = shape[0] * vx + shape[1] * vy + shape[2] * vz
        sy = shape[3] * vx + shape[4] * vy + shape[5] * vz
        sz = shape[6] * vx + shape[7] * vy + shape[8] * vz
        a, b = ux * tx + uy * ty + uz * tz, vx * tx + vy * ty + vz * tz
        c = vx * sx + vy * sy + vz * sz
        return a, b, c, a * c - b * b
    a0, b0 = _project_vector(shape, 0, ux, uy, uz, vx, vy, vz)
    a1, b1 = _project_vector(shape, 3, ux, uy, uz, vx, vy, vz)
    a, b, c = a0 * a0 + a1 * a1, a0 * b0 + a1 * b1, b0 * b0 + b1 * b1
    cross = a0 * b1 - a1 * b0
    det = cross * cross
    if kind == 3:
        a2, b2 = _project_vector(shape, 6, ux, uy, uz, vx, vy, vz)
        a, b, c = a + a2 * a2, b + a2 * b2, c + b2 * b2
        cross02, cross12 = a0 * b2 - a2 * b0, a1 * b2 - a2 * b1
        det += cross02 * cross02 + cross12 * cross12
    if eps > 0.0:
        a += eps * (ux * ux + uy * uy + uz * uz)
        b += eps * (ux * vx + uy * vy + uz * vz)
        c += eps * (vx * vx + vy * vy + vz * vz)
        det = a * c - b * b
    return a, b, c, det


@jit
def _project_vector(shape, k, ux, uy, uz, vx, vy, vz):  # type: ignore[no-untyped-def]
    f0, f1, f2 = float(shape[k]), float(shape[k + 1]), float(shape[k + 2])
    return ux * f0 + uy * f1 + uz * f2, vx * f0 + vy * f1 + vz * f2


@jit
def axes_from_quats(begin, end, quats, scales, axes):  # type: ignore[no-untyped-def]
    """Write each Gaussian's three scaled axes (9,) of its quaternion wxyz and scales.

    A quaternion of zero norm is the identity.
    """
    for i in range(begin, end):
        w, x = float(quats[i, 0]), float(quats[i, 1])
        y, z = float(quats[i, 2]), float(quats[i, 3])
        norm = w * w + x * x + y * y + z * z
        s = 2.0 / norm if norm > 1e-24 else 0.0
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
        axes[i, 0] = s0 * (1.0 - s * (y * y + z * z))
        axes[i, 1] = s0 * (s * (x * y + w * z))
        axes[i, 2] = s0 * (s * (x * z - w * y))
        axes[i, 3] = s1 * (s * (x * y - w * z))
        axes[i, 4] = s1 * (1.0 - s * (x * x + z * z))
        axes[i, 5] = s1 * (s * (y * z + w * x))
        axes[i, 6] = s2 * (s * (x * z + w * y))
        axes[i, 7] = s2 * (s * (y * z - w * x))
        axes[i, 8] = s2 * (1.0 - s * (x * x + y * y))


@jit
def _pixel_range(centre, half, size):  # type: ignore[no-untyped-def]
    """First and one past the last pixel whose centre lies within `half` of `centre`."""
    begin = math.ceil(max(centre - half, 0.0) - 0.5)
    end = math.floor(min(centre + half, float(size)) - 0.5) + 1
    return max(begin, 0), end


@jit
def project(  # type: ignore[no-untyped-def]
    begin, end, means, shapes, kind, eps, opacities, colors, camera, settings,
    records, boxes, keys, order,
):  # fmt: skip
    """Project Gaussians begin..end; list the visible ones at keys/order[begin: begin + count].

    settings (6,) float64 = width, height, near, far, eps2d, antialiased. `keys` are the depth's
    float32 bits (they sort like the depth), `boxes` (N, 4) tiles x0, x1, y0, y1 (end exclusive).

    Returns:
        The number of visible Gaussians, and the smallest and largest key.
    """
    width, height, near, far = settings[0], settings[1], settings[2], settings[3]
    eps2d, antialiased = settings[4], settings[5] > 0.0
    copy_colors = colors.shape[1] == 3
    count, low, high = 0, 0xFFFFFFFF, 0
    for i in range(begin, end):
        opacity = float(opacities[i])
        if not opacity >= ALPHA_MIN:
            continue
        z, px, py, ux, uy, uz, vx, vy, vz = _camera_rows(
            camera, float(means[i, 0]), float(means[i, 1]), float(means[i, 2])
        )
        if not (z >= near and z <= far):
            continue
        a, b, c, det = _footprint(shapes[i], kind, eps, ux, uy, uz, vx, vy, vz)
        blurred = det + eps2d * (a + c) + eps2d * eps2d
        if antialiased:
            opacity *= math.sqrt(max(0.0, det / blurred))
        a, c = a + eps2d, c + eps2d
        if not (blurred > 0.0 and opacity >= ALPHA_MIN):
            continue
        log2_opacity = math.log2(opacity)
        extent = math.sqrt(2.0 * math.log(2.0) * (log2_opacity - LOG2_ALPHA_MIN))
        root_c, root_det = math.sqrt(c), math.sqrt(blurred)
        half_w, half_h = extent * math.sqrt(a) + BOX_SLACK, extent * root_c + BOX_SLACK
        if not (px + half_w > 0.0 and px - half_w < width):
            continue
        if not (py + half_h > 0.0 and py - half_h < height):
            continue
        x0, x1 = _pixel_range(px, half_w, width)
        y0, y1 = _pixel_range(py, half_h, height)
        if x0 >= x1 or y0 >= y1:
            continue
        boxes[i, 0], boxes[i, 1] = x0 // LANES, (x1 - 1) // LANES + 1
        boxes[i, 2], boxes[i, 3] = y0 // TILE_ROWS, (y1 - 1) // TILE_ROWS + 1
        record = records[i]
        x_hi, y_hi = np.floor(px), np.floor(py)
        record[X_HI], record[X_LO], record[Y_HI], record[Y_LO] = x_hi, px - x_hi, y_hi, py - y_hi
        l11 = ROOT_HALF_LOG2E * root_c / root_det
        record[L11], record[L21], record[L22] = l11, -b / c * l11, ROOT_HALF_LOG2E / root_c
        record[LOG2_OPACITY], record[DEPTH], record[HALF_HEIGHT] = log2_opacity, z, half_h
        if copy_colors:
            record[RED], record[GREEN], record[BLUE] = colors[i, 0], colors[i, 1], colors[i, 2]
        key = np.float32(z).view(np.uint32)
        low, high = min(low, key), max(high, key)
        keys[begin + count] = key
        order[begin + count] = i
        count += 1
    return count, low, high


_basis = jit(sh_basis)


@jit
def evaluate_harmonics(  # type: ignore[no-untyped-def]
    begin, end, means, position, coefficients, terms, colors
):
    """Write colours (N, 3) of spherical harmonics (N, K, 3) seen from `position` (3,)."""
    for i in range(begin, end):
        x, y, z = means[i, 0] - position[0], means[i, 1] - position[1], means[i, 2] - position[2]
        inverse = 1.0 / max(math.sqrt(x * x + y * y + z * z), 1e-12)
        basis = _basis(x * inverse, y * inverse, z * inverse)
        red = green = blue = 0.5
        for k in range(terms):
            red += basis[k] * coefficients[i, k, 0]
            green += basis[k] * coefficients[i, k, 1]
            blue += basis[k] * coefficients[i, k, 2]
        colors[i, 0], colors[i, 1], colors[i, 2] = max(red, 0.0), max(green, 0.0), max(blue, 0.0)
