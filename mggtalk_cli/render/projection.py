"""The CPU renderer's projection kernels: Gaussians and harmonics -> records and colours.

Arithmetic is float64 inside (it costs nothing here), results are float32. Like every kernel, each
works on one range of Gaussians and releases the GIL.
"""

from __future__ import annotations

import math

import numpy as np

from mggtalk_cli.core.parallel import jit
from mggtalk_cli.render.harmonics import sh_cubic, sh_linear, sh_quadratic
from mggtalk_cli.render.inputs import ZERO_NORM2
from mggtalk_cli.render.lanes import LANES
from mggtalk_cli.render.layout import (
    BLUE,
    DEPTH,
    GREEN,
    HALF_HEIGHT,
    L11,
    L22,
    LOG2_ALPHA_MIN,
    LOG2_OPACITY,
    RED,
    SLOPE_HI,
    SLOPE_LO,
    TILE_ROWS,
    X_HI,
    X_LO,
    Y_HI,
    Y_LO,
)  # fmt: skip
from mggtalk_cli.render.reference import ALPHA_MIN, VIEW_MARGIN

# numba's cache watches only the file a kernel stands in. This fingerprint of the files the kernels
# take constants and code from is checked by a test, so that a change there changes this file too.
SOURCES = "e2d501d5ca99"

# Kinds of shape: how many vectors make Sigma, or Sigma itself.
COVARIANCE, TANGENTS, QUATS = 0, 2, 3

# Rounding slack of a footprint's box, px and a share of its size: a box too large costs time, one
# too small costs pixels.
BOX_SLACK, BOX_STRETCH = np.float32(1e-3), np.float32(1.0 + 1e-6)
# exp(-s/2) = 2^(-(s log2(e)/2)): the root goes into the Cholesky factors.
ROOT_HALF_LOG2E = math.sqrt(0.5 / math.log(2.0))

# What a record keeps in float32 is also computed in it, from float64 numbers that are rounded once.
ROOT_HALF_LOG2E_32, LN4_32 = np.float32(ROOT_HALF_LOG2E), np.float32(2.0 * math.log(2.0))
LOG2_ALPHA_MIN_32, ZERO, HALF = np.float32(LOG2_ALPHA_MIN), np.float32(0.0), np.float32(0.5)


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
def _shape(kind, shapes, scales, i):  # type: ignore[no-untyped-def]
    """Nine float64: `kind` vectors f with Sigma = sum f f^T + eps I, or the entries of Sigma."""
    row = shapes[i]
    if kind == QUATS:
        w, x, y, z, _ = _unit_quaternion(row)
        (a0, a1, a2), (b0, b1, b2), (c0, c1, c2) = _rotation_columns(w, x, y, z)
        s0, s1, s2 = np.float64(scales[i, 0]), np.float64(scales[i, 1]), np.float64(scales[i, 2])
        return s0 * a0, s0 * a1, s0 * a2, s1 * b0, s1 * b1, s1 * b2, s2 * c0, s2 * c1, s2 * c2
    third = (0.0, 0.0, 0.0)
    if kind == COVARIANCE:
        third = (np.float64(row[6]), np.float64(row[7]), np.float64(row[8]))
    f0, f1, f2 = np.float64(row[0]), np.float64(row[1]), np.float64(row[2])
    return (f0, f1, f2, np.float64(row[3]), np.float64(row[4]), np.float64(row[5]), *third)


@jit
def _unit_quaternion(quat):  # type: ignore[no-untyped-def]
    """Unit quaternion wxyz and one over the norm it had; zero norm gives the identity and 0."""
    w, x, y, z = np.float64(quat[0]), np.float64(quat[1]), np.float64(quat[2]), np.float64(quat[3])
    norm2 = w * w + x * x + y * y + z * z
    if not norm2 > ZERO_NORM2:
        return 1.0, 0.0, 0.0, 0.0, 0.0
    inverse = 1.0 / math.sqrt(norm2)
    return w * inverse, x * inverse, y * inverse, z * inverse, inverse


@jit
def _rotation_columns(w, x, y, z):  # type: ignore[no-untyped-def]
    """Three columns of the rotation matrix of a unit quaternion."""
    return (
        (1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y + w * z), 2.0 * (x * z - w * y)),
        (2.0 * (x * y - w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z + w * x)),
        (2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y)),
    )


@jit
def _footprint(shape, kind, eps, ux, uy, uz, vx, vy, vz):  # type: ignore[no-untyped-def]
    """2D covariance (xx, xy, yy) and its determinant of one Gaussian, from its `_shape`.

    Sums of squares give the determinant without cancellation.
    """
    if kind == COVARIANCE:
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
    if kind == QUATS:
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
    f0, f1, f2 = shape[k], shape[k + 1], shape[k + 2]
    return ux * f0 + uy * f1 + uz * f2, vx * f0 + vy * f1 + vz * f2


@jit
def _pixel_range(centre, half, size):  # type: ignore[no-untyped-def]
    """First and one past the last pixel whose centre lies within `half` of `centre`."""
    begin = math.ceil(max(centre - half, 0.0) - 0.5)
    end = math.floor(min(centre + half, np.float64(size)) - 0.5) + 1
    return max(begin, 0), end


_linear, _quadratic, _cubic = jit(sh_linear), jit(sh_quadratic), jit(sh_cubic)


@jit
def _harmonics(coefficients, i, terms, x, y, z):  # type: ignore[no-untyped-def]
    """Colour, >= 0, of harmonics `coefficients[i]` (3 K,) seen along x, y, z (float32)."""
    inverse = np.float32(1.0) / max(math.sqrt(x * x + y * y + z * z), np.float32(1e-12))
    x, y, z = x * inverse, y * inverse, z * inverse
    red, green, blue = HALF, HALF, HALF
    basis = _linear(x, y, z)
    for k in range(4 if terms > 1 else 1):
        weight = np.float32(basis[k])
        red += weight * coefficients[i, 3 * k]
        green += weight * coefficients[i, 3 * k + 1]
        blue += weight * coefficients[i, 3 * k + 2]
    if terms > 4:
        basis2 = _quadratic(x, y, z)
        for k in range(5):
            weight = np.float32(basis2[k])
            red += weight * coefficients[i, 3 * k + 12]
            green += weight * coefficients[i, 3 * k + 13]
            blue += weight * coefficients[i, 3 * k + 14]
    if terms > 9:
        basis3 = _cubic(x, y, z)
        for k in range(7):
            weight = np.float32(basis3[k])
            red += weight * coefficients[i, 3 * k + 27]
            green += weight * coefficients[i, 3 * k + 28]
            blue += weight * coefficients[i, 3 * k + 29]
    return max(red, ZERO), max(green, ZERO), max(blue, ZERO)


@jit
def project(  # type: ignore[no-untyped-def]
    begin, end, means, kind, shapes, scales, eps, opacities, colors, terms, camera, settings,
    records, boxes, keys, order,
):  # fmt: skip
    """Project Gaussians begin..end; list the visible ones at keys/order[begin: begin + count].

    settings (9,) float64 = width, height, near, far, eps2d, antialiased, camera position. `colors`
    (N, D) are put into the records if D is 3, or, with `terms`, that many spherical harmonics
    (N, 3 K). `keys` are the depth's float32 bits (they sort like the depth), `boxes` (N, 4) tiles
    x0, x1, y0, y1 (end exclusive).

    Returns:
        The number of visible Gaussians, and the smallest and largest key.
    """
    width, height, near, far = settings[0], settings[1], settings[2], settings[3]
    eps2d, antialiased = settings[4], settings[5] > 0.0
    copy_colors = colors.shape[1] == 3
    count, low, high = 0, 0xFFFFFFFF, 0
    for i in range(begin, end):
        opacity = np.float64(opacities[i])
        if not opacity >= ALPHA_MIN:
            continue
        z, px, py, ux, uy, uz, vx, vy, vz = _camera_rows(
            camera, np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        )
        if not (z >= near and z <= far):
            continue
        shape = _shape(kind, shapes, scales, i)
        a, b, c, det = _footprint(shape, kind, eps, ux, uy, uz, vx, vy, vz)
        blurred = det + eps2d * (a + c) + eps2d * eps2d
        if antialiased:
            opacity *= math.sqrt(max(0.0, det / blurred))
        a, c = a + eps2d, c + eps2d
        if not (blurred > 0.0 and opacity >= ALPHA_MIN):
            continue
        log2_opacity = math.log2(np.float32(opacity))
        extent = math.sqrt(LN4_32 * max(log2_opacity - LOG2_ALPHA_MIN_32, ZERO))
        root_a, root_c = math.sqrt(np.float32(a)), math.sqrt(np.float32(c))
        half_w = extent * root_a * BOX_STRETCH + BOX_SLACK
        half_h = extent * root_c * BOX_STRETCH + BOX_SLACK
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
        record[L11] = ROOT_HALF_LOG2E_32 * math.sqrt(np.float32(c / blurred))
        record[L22] = ROOT_HALF_LOG2E_32 / root_c
        slope = b / c
        record[SLOPE_HI] = slope
        record[SLOPE_LO] = slope - record[SLOPE_HI]
        record[LOG2_OPACITY], record[DEPTH], record[HALF_HEIGHT] = log2_opacity, z, half_h
        if terms > 0:
            red, green, blue = _harmonics(
                colors, i, terms, np.float32(means[i, 0] - settings[6]),
                np.float32(means[i, 1] - settings[7]), np.float32(means[i, 2] - settings[8]),
            )  # fmt: skip
            record[RED], record[GREEN], record[BLUE] = red, green, blue
        elif copy_colors:
            record[RED], record[GREEN], record[BLUE] = colors[i, 0], colors[i, 1], colors[i, 2]
        key = np.float32(z).view(np.uint32)
        low, high = min(low, key), max(high, key)
        keys[begin + count] = key
        order[begin + count] = i
        count += 1
    return count, low, high
