"""The CPU rasteriser's inner loops, compiled by numba: project, sort, bin, blend.

Each kernel works on one range of its input and releases the GIL, so the caller splits work over
ordinary Python threads; no kernel writes what another range writes, hence the same bits for any
split. A projected Gaussian is one 64-byte record. Its footprint is kept in Cholesky form,
alpha = 2^(r7 - u^2 - v^2) with u = r4 dx + r5 dy, v = r6 dy: two multiply-adds a pixel, no
cancellation for thin Gaussians, and the exponent can never exceed log2(opacity).
"""

from __future__ import annotations

import math

import numba
import numpy as np

from mggtalk_cli.render import lanes
from mggtalk_cli.render.harmonics import sh_basis
from mggtalk_cli.render.lanes import LANES, spread

# A tile is LANES pixels wide, so that one row of it is one 256-bit vector, and TILE_ROWS high:
# of 8, 16 and 32 rows, 16 was fastest (fewer tiles to touch, rows outside are skipped anyway).
TILE_ROWS = 16
LAST_ROW = np.float32(TILE_ROWS - 1)
# How often, in Gaussians, a tile looks whether all its pixels are finished.
CHECK_EVERY = 32
RADIX_BITS = 11
RADIX = 1 << RADIX_BITS

# Columns of a record: centre = hi + lo (hi integer, lo the rest: float32 keeps sub-pixel
# precision at any image size), footprint, colour, depth, half height.
X_HI, X_LO, Y_HI, Y_LO, L11, L21, L22, LOG2_OPACITY = 0, 1, 2, 3, 4, 5, 6, 7
RED, GREEN, BLUE, DEPTH, HALF_HEIGHT = 8, 9, 10, 11, 12
RECORD = 16

ALPHA_MAX = np.float32(0.999)
ALPHA_MIN = 1.0 / 255.0  # fainter contributions are skipped, as in 3DGS
T_STOP = np.float32(1e-4)  # a pixel is finished when its transmittance would fall below
LOG2_ALPHA_MIN = math.log2(ALPHA_MIN)
POWER_MIN = np.float32(LOG2_ALPHA_MIN)
# Rounding slack of a footprint's box, px: a box too large costs time, one too small costs pixels.
BOX_SLACK = 1e-3
# exp(-s/2) = 2^(-(s log2(e)/2)): the root goes into the Cholesky factors.
ROOT_HALF_LOG2E = math.sqrt(0.5 / math.log(2.0))

# 2^(8 t) = q(t)^8 on -1 <= t <= 0: q is the degree-6 minimax fit of 2^t (relative error 4e-9);
# three squarings are cheaper than exponent bits and stay in floating point.
ZERO, ONE, HALF, EIGHTH = (np.float32(value) for value in (0.0, 1.0, 0.5, 0.125))
EXP_FLOOR = np.float32(-8.0)  # below log2(1/255): everything there is skipped


def _exp2_coefficients() -> list[np.float32]:
    """Return the coefficients of the degree-6 fit of 2^t on [-1, 0], constant term first."""
    t = 0.5 * (np.cos(np.linspace(0, np.pi, 2001)) - 1.0)
    basis = t[:, None] ** np.arange(7) / 2.0 ** t[:, None]
    solution = np.linalg.lstsq(basis, np.ones_like(t), rcond=None)[0]
    return [np.float32(value) for value in solution]


Q0, Q1, Q2, Q3, Q4, Q5, Q6 = _exp2_coefficients()

_jit = numba.njit(cache=True, nogil=True, fastmath={"contract"}, error_model="numpy")


@_jit
def _camera_rows(camera, x, y, z, width, height):  # type: ignore[no-untyped-def]
    """Camera depth, pixel position and the 2x3 matrix d(pixel)/d(world) of a world point.

    `camera` is (16,) float64: rotation row-major, translation, fx, fy, cx, cy. The matrix is taken
    at the point clamped to 1.3 times the field of view, as in 3DGS.
    """
    xc = camera[0] * x + camera[1] * y + camera[2] * z + camera[9]
    yc = camera[3] * x + camera[4] * y + camera[5] * z + camera[10]
    zc = camera[6] * x + camera[7] * y + camera[8] * z + camera[11]
    fx, fy, cx, cy = camera[12], camera[13], camera[14], camera[15]
    inv = 1.0 / zc
    sx, sy = xc * inv, yc * inv
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    tx = min((width - cx) / fx + margin_x, max(-cx / fx - margin_x, sx))
    ty = min((height - cy) / fy + margin_y, max(-cy / fy - margin_y, sy))
    gx, gy = fx * inv, fy * inv
    ux, uy = gx * (camera[0] - tx * camera[6]), gx * (camera[1] - tx * camera[7])
    uz = gx * (camera[2] - tx * camera[8])
    vx, vy = gy * (camera[3] - ty * camera[6]), gy * (camera[4] - ty * camera[7])
    vz = gy * (camera[5] - ty * camera[8])
    return zc, fx * sx + cx, fy * sy + cy, ux, uy, uz, vx, vy, vz


@_jit
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


@_jit
def _project_vector(shape, k, ux, uy, uz, vx, vy, vz):  # type: ignore[no-untyped-def]
    f0, f1, f2 = float(shape[k]), float(shape[k + 1]), float(shape[k + 2])
    return ux * f0 + uy * f1 + uz * f2, vx * f0 + vy * f1 + vz * f2


@_jit
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


@_jit
def _pixel_range(centre, half, size):  # type: ignore[no-untyped-def]
    """First and one past the last pixel whose centre lies within `half` of `centre`."""
    begin = int(math.ceil(max(centre - half, 0.0) - 0.5))
    end = int(math.floor(min(centre + half, float(size)) - 0.5)) + 1
    return max(begin, 0), end


@_jit
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
            camera, float(means[i, 0]), float(means[i, 1]), float(means[i, 2]), width, height
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


@_jit
def radix_count(begin, end, keys, low, shift, counts):  # type: ignore[no-untyped-def]
    """Count the digits of keys[begin:end] into `counts` (RADIX,)."""
    counts[:] = 0
    for i in range(begin, end):
        counts[((keys[i] - low) >> shift) & (RADIX - 1)] += 1


@_jit
def radix_scatter(  # type: ignore[no-untyped-def]
    begin, end, keys, order, low, shift, starts, keys_out, order_out
):
    """Move keys[begin:end] and their Gaussians to their digit's place; `starts` is consumed."""
    for i in range(begin, end):
        digit = ((keys[i] - low) >> shift) & (RADIX - 1)
        place = starts[digit]
        starts[digit] = place + 1
        keys_out[place] = keys[i]
        order_out[place] = order[i]


@_jit
def tile_count(begin, end, order, boxes, tiles_x, counts):  # type: ignore[no-untyped-def]
    """Count into `counts` (tiles,) how often order[begin:end] touch each tile."""
    counts[:] = 0
    for k in range(begin, end):
        box = boxes[order[k]]
        for ty in range(box[2], box[3]):
            for tile in range(ty * tiles_x + box[0], ty * tiles_x + box[1]):
                counts[tile] += 1


@_jit
def tile_scatter(begin, end, order, boxes, tiles_x, starts, lists):  # type: ignore[no-untyped-def]
    """Append order[begin:end] to the lists of their tiles, in order; `starts` is consumed."""
    for k in range(begin, end):
        gaussian = order[k]
        box = boxes[gaussian]
        for ty in range(box[2], box[3]):
            for tile in range(ty * tiles_x + box[0], ty * tiles_x + box[1]):
                lists[starts[tile]] = gaussian
                starts[tile] += 1


@_jit
def _alpha(u, peak):  # type: ignore[no-untyped-def]
    """Opacity min(.999, 2^(peak - u^2)) of eight pixels, 0 below 1/255."""
    power = peak - u * u
    t = lanes.greatest(power, spread(EXP_FLOOR)) * EIGHTH
    q = Q0 + t * (Q1 + t * (Q2 + t * (Q3 + t * (Q4 + t * (Q5 + t * Q6)))))
    q = q * q
    q = q * q
    q = lanes.least(q * q, spread(ALPHA_MAX))
    return lanes.select(power >= POWER_MIN, q, spread(ZERO))


@_jit
def _rows(record, top):  # type: ignore[no-untyped-def]
    """Return the centre's y relative to the tile's first pixel row, and the rows it reaches."""
    y = (record[Y_HI] - np.float32(top)) + (record[Y_LO] - HALF)
    first = max(0, int(math.ceil(max(y - record[HALF_HEIGHT], ZERO))))
    last = int(math.floor(min(y + record[HALF_HEIGHT], LAST_ROW))) + 1
    return y, first, last


@_jit
def _composite(trans, row, u, peak):  # type: ignore[no-untyped-def]
    """Return eight blending weights; lower the transmittance of that tile row.

    A finished pixel keeps its transmittance with a minus sign: no branch, no second array.
    """
    before = lanes.load(trans, row)
    weight = _alpha(u, peak) * before
    after = before - weight
    going = after > T_STOP
    lanes.store(trans, row, lanes.select(going, after, lanes.minus_magnitude(before)))
    return lanes.select(going, weight, spread(ZERO))


@_jit
def _finished(trans):  # type: ignore[no-untyped-def]
    """Return whether every pixel of the tile is finished."""
    for row in range(TILE_ROWS):
        if lanes.any_positive(lanes.load(trans, row)):
            return False
    return True


@_jit
def blend_rgb(  # type: ignore[no-untyped-def]
    begin, end, tiles_x, offsets, lists, records, background, colors, alphas
):
    """Blend tiles begin..end front to back into colors (H, W, 3) and alphas (H, W)."""
    height, width = alphas.shape
    trans = np.empty((TILE_ROWS, LANES), np.float32)
    red, green, blue = np.empty_like(trans), np.empty_like(trans), np.empty_like(trans)
    for tile in range(begin, end):
        left, top = (tile % tiles_x) * LANES, (tile // tiles_x) * TILE_ROWS
        trans[:] = ONE
        red[:], green[:], blue[:] = ZERO, ZERO, ZERO
        for k in range(offsets[tile], offsets[tile + 1]):
            if (k - offsets[tile]) % CHECK_EVERY == CHECK_EVERY - 1 and _finished(trans):
                break
            record = records[lists[k]]
            l11, l21, l22, peak = record[L11], record[L21], record[L22], record[LOG2_OPACITY]
            r, g, b = record[RED], record[GREEN], record[BLUE]
            x = (record[X_HI] - np.float32(left)) + (record[X_LO] - HALF)
            y, first, last = _rows(record, top)
            for row in range(first, last):
                dy = np.float32(row) - y
                v = l22 * dy
                u = l11 * (lanes.indices() - x) + l21 * dy
                weight = _composite(trans, row, u, peak - v * v)
                lanes.store(red, row, lanes.load(red, row) + weight * r)
                lanes.store(green, row, lanes.load(green, row) + weight * g)
                lanes.store(blue, row, lanes.load(blue, row) + weight * b)
        for row in range(min(TILE_ROWS, height - top)):
            for lane in range(min(LANES, width - left)):
                rest = abs(trans[row, lane])
                alphas[top + row, left + lane] = ONE - rest
                pixel = colors[top + row, left + lane]
                pixel[0] = red[row, lane] + rest * background[0]
                pixel[1] = green[row, lane] + rest * background[1]
                pixel[2] = blue[row, lane] + rest * background[2]


@_jit
def blend_features(  # type: ignore[no-untyped-def]
    begin, end, tiles_x, offsets, lists, records, features, background, colors, alphas
):
    """Blend tiles begin..end of any channels: features (N, D) into colors (H, W, D)."""
    height, width = alphas.shape
    channels = features.shape[1]
    trans = np.empty((TILE_ROWS, LANES), np.float32)
    total = np.empty((channels * TILE_ROWS, LANES), np.float32)
    for tile in range(begin, end):
        left, top = (tile % tiles_x) * LANES, (tile // tiles_x) * TILE_ROWS
        trans[:] = ONE
        total[:] = ZERO
        for k in range(offsets[tile], offsets[tile + 1]):
            if (k - offsets[tile]) % CHECK_EVERY == CHECK_EVERY - 1 and _finished(trans):
                break
            record, feature = records[lists[k]], features[lists[k]]
            l11, l21, l22, peak = record[L11], record[L21], record[L22], record[LOG2_OPACITY]
            x = (record[X_HI] - np.float32(left)) + (record[X_LO] - HALF)
            y, first, last = _rows(record, top)
            for row in range(first, last):
                dy = np.float32(row) - y
                v = l22 * dy
                u = l11 * (lanes.indices() - x) + l21 * dy
                weight = _composite(trans, row, u, peak - v * v)
                for d in range(channels):
                    place = d * TILE_ROWS + row
                    lanes.store(total, place, lanes.load(total, place) + weight * feature[d])
        for row in range(min(TILE_ROWS, height - top)):
            for lane in range(min(LANES, width - left)):
                rest = abs(trans[row, lane])
                alphas[top + row, left + lane] = ONE - rest
                pixel = colors[top + row, left + lane]
                for d in range(channels):
                    pixel[d] = total[d * TILE_ROWS + row, lane] + rest * background[d]


_basis = _jit(sh_basis)


@_jit
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
