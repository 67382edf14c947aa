"""The CPU renderer's backward projection: sums per Gaussian and tile -> gradients in the world.

The chain rule through EWA, in float64 as the projection itself. With F the map to the Gaussian's
own coordinates (u, v) = F d, the conic is K = 2 ln2 F^T F; the sums of w (u, v) and of
w (u, v)(u, v)^T give the gradients of the 2D mean and of the 2D covariance.
"""

from __future__ import annotations

import math

import numpy as np

from mggtalk_cli.core.parallel import jit
from mggtalk_cli.render.blend_gradients import MOMENTS
from mggtalk_cli.render.harmonics import C1, sh_basis_gradient, sh_cubic, sh_linear, sh_quadratic
from mggtalk_cli.render.layout import BLUE, GREEN, RED
from mggtalk_cli.render.projection import (
    COVARIANCE,
    QUATS,
    ROOT_HALF_LOG2E,
    _camera_rows,
    _footprint,
    _rotation_columns,
    _shape,
    _unit_quaternion,
)

# See projection.SOURCES: numba's cache would not notice a change in the files used here.
SOURCES = "4f1b1c709f78"

LN4 = 2.0 * math.log(2.0)


@jit
def _image_gradient(moments, a, b, c, det, eps2d, antialiased):  # type: ignore[no-untyped-def]
    """Gradients of the 2D mean (x, y) and of the 2D covariance (xx, xy, yy) from the moments.

    The covariance's is that of a symmetric matrix: b counts twice.
    """
    blurred = det + eps2d * (a + c) + eps2d * eps2d
    a1, c1 = a + eps2d, c + eps2d
    l11 = ROOT_HALF_LOG2E * math.sqrt(c1 / blurred)
    l21, l22 = -b / c1 * l11, ROOT_HALF_LOG2E / math.sqrt(c1)
    w, wu, wv, wuu, wuv, wvv = moments
    x, y = LN4 * l11 * wu, LN4 * (l21 * wu + l22 * wv)
    row0_y, row1_y = wuu * l21 + wuv * l22, wuv * l21 + wvv * l22
    half = 0.5 * LN4 * LN4
    xx, xy = half * l11 * l11 * wuu, half * l11 * row0_y
    yy = half * (l21 * row0_y + l22 * row1_y)
    if antialiased:  # log opacity grows with (log det - log det of the blurred) / 2
        xx += 0.5 * w * (c / det - c1 / blurred)
        xy += 0.5 * w * (b / blurred - b / det)
        yy += 0.5 * w * (a / det - a1 / blurred)
    return x, y, xx, xy, yy


@jit
def _covariance_gradient(  # type: ignore[no-untyped-def]
    shape, xx, xy, yy, ux, uy, uz, vx, vy, vz
):
    """Gradients of the nine entries of Sigma, and of the rows u, v of d(pixel)/d(world)."""
    h01, h02 = 0.5 * (shape[1] + shape[3]), 0.5 * (shape[2] + shape[6])
    h12 = 0.5 * (shape[5] + shape[7])
    # the gradient xx u u^T + xy (u v^T + v u^T) + yy v v^T of Sigma is u p^T + v q^T
    px, py, pz = xx * ux + xy * vx, xx * uy + xy * vy, xx * uz + xy * vz
    qx, qy, qz = xy * ux + yy * vx, xy * uy + yy * vy, xy * uz + yy * vz
    s00, s11, s22 = shape[0], shape[4], shape[8]
    d_xy, d_xz, d_yz = ux * py + vx * qy, ux * pz + vx * qz, uy * pz + vy * qz
    return (
        *(ux * px + vx * qx, d_xy, d_xz),
        *(d_xy, uy * py + vy * qy, d_yz),
        *(d_xz, d_yz, uz * pz + vz * qz),
        2.0 * (s00 * px + h01 * py + h02 * pz),
        2.0 * (h01 * px + s11 * py + h12 * pz),
        2.0 * (h02 * px + h12 * py + s22 * pz),
        2.0 * (s00 * qx + h01 * qy + h02 * qz),
        2.0 * (h01 * qx + s11 * qy + h12 * qz),
        2.0 * (h02 * qx + h12 * qy + s22 * qz),
    )


@jit
def _vector_gradient(fx, fy, fz, xx, xy, yy, ux, uy, uz, vx, vy, vz):  # type: ignore[no-untyped-def]
    """Gradient of a vector f of Sigma = sum f f^T, and the factors d_p, d_q: d_u = d_p f."""
    p, q = ux * fx + uy * fy + uz * fz, vx * fx + vy * fy + vz * fz
    d_p, d_q = 2.0 * (xx * p + xy * q), 2.0 * (xy * p + yy * q)
    return d_p * ux + d_q * vx, d_p * uy + d_q * vy, d_p * uz + d_q * vz, d_p, d_q


@jit
def _shape_gradient(  # type: ignore[no-untyped-def]
    shape, kind, eps, xx, xy, yy, ux, uy, uz, vx, vy, vz
):
    """Gradients of a Gaussian's `_shape` (9) and of the rows u, v of d(pixel)/d(world) (6)."""
    if kind == COVARIANCE:
        return _covariance_gradient(shape, xx, xy, yy, ux, uy, uz, vx, vy, vz)
    s = shape
    a0, a1, a2, ap, aq = _vector_gradient(s[0], s[1], s[2], xx, xy, yy, ux, uy, uz, vx, vy, vz)
    b0, b1, b2, bp, bq = _vector_gradient(s[3], s[4], s[5], xx, xy, yy, ux, uy, uz, vx, vy, vz)
    c0, c1, c2, cp, cq = _vector_gradient(s[6], s[7], s[8], xx, xy, yy, ux, uy, uz, vx, vy, vz)
    # eps I: three axes without a gradient of their own
    e, f, g = 2.0 * eps * xx, 2.0 * eps * xy, 2.0 * eps * yy
    return (
        *(a0, a1, a2, b0, b1, b2, c0, c1, c2),
        ap * s[0] + bp * s[3] + cp * s[6] + e * ux + f * vx,
        ap * s[1] + bp * s[4] + cp * s[7] + e * uy + f * vy,
        ap * s[2] + bp * s[5] + cp * s[8] + e * uz + f * vz,
        aq * s[0] + bq * s[3] + cq * s[6] + f * ux + g * vx,
        aq * s[1] + bq * s[4] + cq * s[7] + f * uy + g * vy,
        aq * s[2] + bq * s[5] + cq * s[8] + f * uz + g * vz,
    )


@jit
def _axis_gradient(  # type: ignore[no-untyped-def]
    axis, camera, x, z, d_pixel, d_row0, d_row1, d_row2, d_camera
):
    """Back through one image axis (0 = x, 1 = y): pixel = f x/z + c and its row of d/d(world).

    Adds to `d_camera`; returns the gradients of the camera point's x (or y) and z.
    """
    focal, inverse = camera[12 + axis], 1.0 / z
    slope, scale = x * inverse, camera[12 + axis] / z
    low, high = camera[16 + 2 * axis], camera[17 + 2 * axis]
    t = min(high, max(low, slope))
    r, s = 3 * axis, 6
    d_scale = (
        d_row0 * (camera[r] - t * camera[s])
        + d_row1 * (camera[r + 1] - t * camera[s + 1])
        + d_row2 * (camera[r + 2] - t * camera[s + 2])
    )
    d_t = -scale * (d_row0 * camera[s] + d_row1 * camera[s + 1] + d_row2 * camera[s + 2])
    d_camera[r] += scale * d_row0
    d_camera[r + 1] += scale * d_row1
    d_camera[r + 2] += scale * d_row2
    d_camera[s] -= scale * t * d_row0
    d_camera[s + 1] -= scale * t * d_row1
    d_camera[s + 2] -= scale * t * d_row2
    d_slope = d_pixel * focal
    d_camera[12 + axis] += d_pixel * slope + d_scale * inverse
    d_camera[14 + axis] += d_pixel
    if low <= slope <= high:
        d_slope += d_t
    else:  # the limits themselves lie at so many pixels over the focal length
        d_camera[12 + axis] -= d_t * t / focal
        d_camera[14 + axis] -= d_t / focal
    return d_slope * inverse, -inverse * (d_scale * scale + d_slope * slope)


@jit
def _quaternion_gradient(quat, scale, g):  # type: ignore[no-untyped-def]
    """Gradients of a quaternion wxyz (4) and its scales (3) from `g`, that of the scaled axes."""
    w, x, y, z, inverse = _unit_quaternion(quat)
    (a0, a1, a2), (b0, b1, b2), (c0, c1, c2) = _rotation_columns(w, x, y, z)
    s0, s1, s2 = np.float64(scale[0]), np.float64(scale[1]), np.float64(scale[2])
    # m[row, axis]: gradient of the rotation matrix
    m00, m10, m20 = s0 * g[0], s0 * g[1], s0 * g[2]
    m01, m11, m21 = s1 * g[3], s1 * g[4], s1 * g[5]
    m02, m12, m22 = s2 * g[6], s2 * g[7], s2 * g[8]
    d_w = 2.0 * (z * (m10 - m01) + y * (m02 - m20) + x * (m21 - m12))
    d_x = 2.0 * (y * (m01 + m10) + z * (m02 + m20) + w * (m21 - m12) - 2.0 * x * (m11 + m22))
    d_y = 2.0 * (x * (m01 + m10) + z * (m12 + m21) + w * (m02 - m20) - 2.0 * y * (m00 + m22))
    d_z = 2.0 * (x * (m02 + m20) + y * (m12 + m21) + w * (m10 - m01) - 2.0 * z * (m00 + m11))
    along = w * d_w + x * d_x + y * d_y + z * d_z
    return (
        *(inverse * (d_w - along * w), inverse * (d_x - along * x)),
        *(inverse * (d_y - along * y), inverse * (d_z - along * z)),
        a0 * g[0] + a1 * g[1] + a2 * g[2],
        b0 * g[3] + b1 * g[4] + b2 * g[5],
        c0 * g[6] + c1 * g[7] + c2 * g[8],
    )


@jit
def _add_shape_gradient(  # type: ignore[no-untyped-def]
    found, kind, shapes, scales, i, d_shapes, d_scales
):
    """Add the gradient `found` of a `_shape` to those of what it was made of."""
    if kind == QUATS:
        q0, q1, q2, q3, s0, s1, s2 = _quaternion_gradient(shapes[i], scales[i], found)
        d_shapes[i, 0] += q0
        d_shapes[i, 1] += q1
        d_shapes[i, 2] += q2
        d_shapes[i, 3] += q3
        d_scales[i, 0] += s0
        d_scales[i, 1] += s1
        d_scales[i, 2] += s2
        return
    for k in range(d_shapes.shape[1]):
        d_shapes[i, k] += found[k]


@jit
def _add_row(d_camera, row, pull, x, y, z):  # type: ignore[no-untyped-def]
    """Add what a gradient `pull` of one camera coordinate of a world point says of the view."""
    d_camera[3 * row] += pull * x
    d_camera[3 * row + 1] += pull * y
    d_camera[3 * row + 2] += pull * z
    d_camera[9 + row] += pull


@jit
def project_gradients(  # type: ignore[no-untyped-def]
    begin, end, means, kind, shapes, scales, eps, opacities, camera, settings, counts, first, sums,
    has_depth, d_means, d_shapes, d_scales, d_opacities, d_colors, d_camera,
):  # fmt: skip
    """Add up the sums of Gaussians begin..end and carry them to what `project` was given.

    Args:
        begin: first Gaussian.
        end: one past the last.
        means: as in `projection.project`, like the seven that follow.
        kind: the same.
        shapes: the same.
        scales: the same.
        eps: the same.
        opacities: the same.
        camera: the same.
        settings: the same.
        counts: (N,) tiles of each Gaussian, 0 where it was not drawn.
        first: (N,) number of its first pair.
        sums: (pairs * columns,) float32, see `blend_gradients`.
        has_depth: whether the last colour channel is the depth.
        d_means: added to, like d_shapes, d_scales and d_opacities.
        d_shapes: see d_means.
        d_scales: see d_means.
        d_opacities: see d_means.
        d_colors: (N, D) written: gradients of the colours that this camera saw.
        d_camera: (16,) float64, added to: rotation, translation, fx, fy, cx, cy.
    """
    eps2d, antialiased = settings[4], settings[5] > 0.0
    channels = d_colors.shape[1]
    columns = MOMENTS + channels + has_depth
    for i in range(begin, end):
        if counts[i] == 0:
            d_colors[i] = 0.0
            continue
        w = wu = wv = wuu = wuv = wvv = d_z = 0.0
        d_colors[i] = 0.0
        for pair in range(first[i], first[i] + counts[i]):
            at = pair * columns
            w, wu, wv = w + sums[at], wu + sums[at + 1], wv + sums[at + 2]
            wuu, wuv, wvv = wuu + sums[at + 3], wuv + sums[at + 4], wvv + sums[at + 5]
            for d in range(channels):
                d_colors[i, d] += sums[at + MOMENTS + d]
            if has_depth:
                d_z += sums[at + columns - 1]
        moments = (w, wu, wv, wuu, wuv, wvv)
        mx, my, mz = np.float64(means[i, 0]), np.float64(means[i, 1]), np.float64(means[i, 2])
        z, _, _, ux, uy, uz, vx, vy, vz = _camera_rows(camera, mx, my, mz)
        shape = _shape(kind, shapes, scales, i)
        a, b, c, det = _footprint(shape, kind, eps, ux, uy, uz, vx, vy, vz)
        x_px, y_px, xx, xy, yy = _image_gradient(moments, a, b, c, det, eps2d, antialiased)
        d_opacities[i] += w / opacities[i]
        found = _shape_gradient(shape, kind, eps, xx, xy, yy, ux, uy, uz, vx, vy, vz)
        _add_shape_gradient(found[:9], kind, shapes, scales, i, d_shapes, d_scales)
        d_ux, d_uy, d_uz, d_vx, d_vy, d_vz = found[9:]
        x = camera[0] * mx + camera[1] * my + camera[2] * mz + camera[9]
        y = camera[3] * mx + camera[4] * my + camera[5] * mz + camera[10]
        d_x, by_x = _axis_gradient(0, camera, x, z, x_px, d_ux, d_uy, d_uz, d_camera)
        d_y, by_y = _axis_gradient(1, camera, y, z, y_px, d_vx, d_vy, d_vz, d_camera)
        d_z += by_x + by_y
        point, mean = (d_x, d_y, d_z), (mx, my, mz)
        for axis in range(3):
            d_means[i, axis] += camera[axis] * d_x + camera[3 + axis] * d_y + camera[6 + axis] * d_z
            for k in range(3):
                d_camera[3 * axis + k] += point[axis] * mean[k]
            d_camera[9 + axis] += point[axis]


_linear, _quadratic, _cubic = jit(sh_linear), jit(sh_quadratic), jit(sh_cubic)
_basis_gradient = jit(sh_basis_gradient)


@jit
def _add_harmonics(  # type: ignore[no-untyped-def]
    coefficients, d_coefficients, i, terms, red, green, blue, basis, by_x, by_y, by_z
):
    """Add the gradients of harmonics (3 K,); return that of the direction."""
    d_x = d_y = d_z = 0.0
    for k in range(len(basis)):
        if k >= terms:
            break
        r, g, b = coefficients[i, 3 * k], coefficients[i, 3 * k + 1], coefficients[i, 3 * k + 2]
        pull = red * r + green * g + blue * b
        d_x, d_y, d_z = d_x + pull * by_x[k], d_y + pull * by_y[k], d_z + pull * by_z[k]
        d_coefficients[i, 3 * k] += basis[k] * red
        d_coefficients[i, 3 * k + 1] += basis[k] * green
        d_coefficients[i, 3 * k + 2] += basis[k] * blue
    return d_x, d_y, d_z


@jit
def harmonics_gradients(  # type: ignore[no-untyped-def]
    begin, end, means, position, coefficients, terms, records, d_seen, d_means, d_coefficients,
    d_position,
):  # fmt: skip
    """Add the gradients of means, harmonics (N, 3 K) and the camera's position (3,).

    `records` hold the colours that were seen, `d_seen` (N, 3) are their gradients.
    """
    for i in range(begin, end):
        red, green, blue = (
            np.float64(d_seen[i, 0]),
            np.float64(d_seen[i, 1]),
            np.float64(d_seen[i, 2]),
        )
        if red == 0.0 and green == 0.0 and blue == 0.0:
            continue
        # a colour held at zero does not move
        red, green = red * (records[i, RED] > 0.0), green * (records[i, GREEN] > 0.0)
        blue = blue * (records[i, BLUE] > 0.0)
        x, y, z = means[i, 0] - position[0], means[i, 1] - position[1], means[i, 2] - position[2]
        inverse = 1.0 / max(math.sqrt(x * x + y * y + z * z), 1e-12)
        x, y, z = x * inverse, y * inverse, z * inverse
        if terms > 4:
            basis = (*_linear(x, y, z), *_quadratic(x, y, z), *_cubic(x, y, z))
            slopes = _basis_gradient(x, y, z)
            d_x, d_y, d_z = _add_harmonics(
                coefficients, d_coefficients, i, terms, red, green, blue, basis, *slopes
            )
        else:
            d_x, d_y, d_z = _add_harmonics(
                coefficients, d_coefficients, i, terms, red, green, blue, _linear(x, y, z),
                (0.0, 0.0, 0.0, -C1), (0.0, -C1, 0.0, 0.0), (0.0, 0.0, C1, 0.0),
            )  # fmt: skip
        along = x * d_x + y * d_y + z * d_z
        d_x, d_y = inverse * (d_x - along * x), inverse * (d_y - along * y)
        d_z = inverse * (d_z - along * z)
        d_means[i, 0] += d_x
        d_means[i, 1] += d_y
        d_means[i, 2] += d_z
        d_position[0] -= d_x
        d_position[1] -= d_y
        d_position[2] -= d_z
