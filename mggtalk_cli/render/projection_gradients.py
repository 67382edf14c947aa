"""The CPU renderer's backward projection: sums per Gaussian and tile -> gradients in the world.

The chain rule through EWA, in float64 as the projection itself. With F the map to the Gaussian's
own coordinates (u, v) = F d, the conic is K = 2 ln2 F^T F; the sums of w (u, v) and of
w (u, v)(u, v)^T give the gradients of the 2D mean and of the 2D covariance.
"""

from __future__ import annotations

import math

from mggtalk_cli.core.parallel import jit
from mggtalk_cli.render.blend_gradients import MOMENTS
from mggtalk_cli.render.harmonics import sh_basis, sh_basis_gradient
from mggtalk_cli.render.projection import ROOT_HALF_LOG2E, _camera_rows, _footprint

# See projection.SOURCES: numba's cache would not notice a change in the files used here.
SOURCES = "49192f72dc49"

LN4 = 2.0 * math.log(2.0)


@jit
def _image_gradient(total, a, b, c, det, eps2d, antialiased):  # type: ignore[no-untyped-def]
    """Gradients of the 2D mean (x, y) and of the 2D covariance (xx, xy, yy) from a row of sums.

    The covariance's is that of a symmetric matrix: b counts twice.
    """
    blurred = det + eps2d * (a + c) + eps2d * eps2d
    a1, c1 = a + eps2d, c + eps2d
    l11 = ROOT_HALF_LOG2E * math.sqrt(c1 / blurred)
    l21, l22 = -b / c1 * l11, ROOT_HALF_LOG2E / math.sqrt(c1)
    w, wu, wv, wuu, wuv, wvv = total[0], total[1], total[2], total[3], total[4], total[5]
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
def _shape_gradient(  # type: ignore[no-untyped-def]
    shape, kind, eps, xx, xy, yy, ux, uy, uz, vx, vy, vz, d_shape
):
    """Add the gradient of a `shape` row; return that of the rows u, v of d(pixel)/d(world)."""
    if kind == 0:
        h01, h02 = 0.5 * (shape[1] + shape[3]), 0.5 * (shape[2] + shape[6])
        h12 = 0.5 * (shape[5] + shape[7])
        tx = shape[0] * ux + h01 * uy + h02 * uz
        ty = h01 * ux + shape[4] * uy + h12 * uz
        tz = h02 * ux + h12 * uy + shape[8] * uz
        sx = shape[0] * vx + h01 * vy + h02 * vz
        sy = h01 * vx + shape[4] * vy + h12 * vz
        sz = h02 * vx + h12 * vy + shape[8] * vz
        u, v = (ux, uy, uz), (vx, vy, vz)
        for r in range(3):
            for s in range(3):
                cross = u[r] * v[s] + v[r] * u[s]
                d_shape[3 * r + s] += xx * u[r] * u[s] + xy * cross + yy * v[r] * v[s]
        d_ux, d_uy, d_uz = 2 * (xx * tx + xy * sx), 2 * (xx * ty + xy * sy), 2 * (xx * tz + xy * sz)
        d_vx, d_vy, d_vz = 2 * (xy * tx + yy * sx), 2 * (xy * ty + yy * sy), 2 * (xy * tz + yy * sz)
        return d_ux, d_uy, d_uz, d_vx, d_vy, d_vz
    # Sigma = sum f f^T + eps I; eps is an axis without a gradient of its own
    xx2, xy2, yy2 = 2 * eps * xx, 2 * eps * xy, 2 * eps * yy
    d_ux, d_uy, d_uz = xx2 * ux + xy2 * vx, xx2 * uy + xy2 * vy, xx2 * uz + xy2 * vz
    d_vx, d_vy, d_vz = xy2 * ux + yy2 * vx, xy2 * uy + yy2 * vy, xy2 * uz + yy2 * vz
    for k in range(0, 3 * kind, 3):
        fx, fy, fz = float(shape[k]), float(shape[k + 1]), float(shape[k + 2])
        p, q = ux * fx + uy * fy + uz * fz, vx * fx + vy * fy + vz * fz
        d_p, d_q = 2 * (xx * p + xy * q), 2 * (xy * p + yy * q)
        d_shape[k] += d_p * ux + d_q * vx
        d_shape[k + 1] += d_p * uy + d_q * vy
        d_shape[k + 2] += d_p * uz + d_q * vz
        d_ux, d_uy, d_uz = d_ux + d_p * fx, d_uy + d_p * fy, d_uz + d_p * fz
        d_vx, d_vy, d_vz = d_vx + d_q * fx, d_vy + d_q * fy, d_vz + d_q * fz
    return d_ux, d_uy, d_uz, d_vx, d_vy, d_vz


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
def project_gradients(  # type: ignore[no-untyped-def]
    begin, end, means, shapes, kind, eps, opacities, camera, settings, counts, first, sums,
    has_depth, total, d_means, d_shapes, d_opacities, d_colors, d_camera,
):  # fmt: skip
    """Add up the sums of Gaussians begin..end and carry them to what `project` was given.

    Args:
        begin: first Gaussian.
        end: one past the last.
        means: as in `projection.project`, like the six that follow.
        shapes: the same.
        kind: the same.
        eps: the same.
        opacities: the same.
        camera: the same.
        settings: the same.
        counts: (N,) tiles of each Gaussian, 0 where it was not drawn.
        first: (N,) number of its first pair.
        sums: (pairs * columns,) float32, see `blend_gradients`.
        has_depth: whether the last colour channel is the depth.
        total: (columns,) float64 scratch.
        d_means: added to, like d_shapes and d_opacities.
        d_shapes: see d_means.
        d_opacities: see d_means.
        d_colors: (N, D) written: gradients of the colours that this camera saw.
        d_camera: (16,) float64, added to: rotation, translation, fx, fy, cx, cy.
    """
    eps2d, antialiased = settings[4], settings[5] > 0.0
    channels, columns = d_colors.shape[1], len(total)
    for i in range(begin, end):
        if counts[i] == 0:
            d_colors[i] = 0.0
            continue
        total[:] = 0.0
        for pair in range(first[i], first[i] + counts[i]):
            for column in range(columns):
                total[column] += sums[pair * columns + column]
        for d in range(channels):
            d_colors[i, d] = total[MOMENTS + d]
        mx, my, mz = float(means[i, 0]), float(means[i, 1]), float(means[i, 2])
        z, _, _, ux, uy, uz, vx, vy, vz = _camera_rows(camera, mx, my, mz)
        a, b, c, det = _footprint(shapes[i], kind, eps, ux, uy, uz, vx, vy, vz)
        x_px, y_px, xx, xy, yy = _image_gradient(total, a, b, c, det, eps2d, antialiased)
        d_opacities[i] += total[0] / opacities[i]
        d_ux, d_uy, d_uz, d_vx, d_vy, d_vz = _shape_gradient(
            shapes[i], kind, eps, xx, xy, yy, ux, uy, uz, vx, vy, vz, d_shapes[i]
        )
        x = camera[0] * mx + camera[1] * my + camera[2] * mz + camera[9]
        y = camera[3] * mx + camera[4] * my + camera[5] * mz + camera[10]
        d_x, d_z = _axis_gradient(0, camera, x, z, x_px, d_ux, d_uy, d_uz, d_camera)
        d_y, more = _axis_gradient(1, camera, y, z, y_px, d_vx, d_vy, d_vz, d_camera)
        d_z += more
        if has_depth:
            d_z += total[columns - 1]
        point, mean = (d_x, d_y, d_z), (mx, my, mz)
        for axis in range(3):
            d_means[i, axis] += camera[axis] * d_x + camera[3 + axis] * d_y + camera[6 + axis] * d_z
            for k in range(3):
                d_camera[3 * axis + k] += point[axis] * mean[k]
            d_camera[9 + axis] += point[axis]


@jit
def axes_gradients(begin, end, quats, scales, d_axes, d_quats, d_scales):  # type: ignore[no-untyped-def]
    """Write the gradients of quaternions and scales from those of the scaled axes (N, 9)."""
    for i in range(begin, end):
        w, x = float(quats[i, 0]), float(quats[i, 1])
        y, z = float(quats[i, 2]), float(quats[i, 3])
        norm = w * w + x * x + y * y + z * z
        inverse = 1.0 / math.sqrt(norm) if norm > 1e-24 else 0.0
        w, x, y, z = w * inverse, x * inverse, y * inverse, z * inverse
        s0, s1, s2 = scales[i, 0], scales[i, 1], scales[i, 2]
        g = d_axes[i]
        d_scales[i, 0] = (
            g[0] * (1 - 2 * (y * y + z * z))
            + g[1] * 2 * (x * y + w * z)
            + g[2] * 2 * (x * z - w * y)
        )
        d_scales[i, 1] = (
            g[3] * 2 * (x * y - w * z)
            + g[4] * (1 - 2 * (x * x + z * z))
            + g[5] * 2 * (y * z + w * x)
        )
        d_scales[i, 2] = (
            g[6] * 2 * (x * z + w * y)
            + g[7] * 2 * (y * z - w * x)
            + g[8] * (1 - 2 * (x * x + y * y))
        )
        # m[r][c]: gradient of the rotation matrix's entry, r the row, c the axis
        m00, m10, m20 = s0 * g[0], s0 * g[1], s0 * g[2]
        m01, m11, m21 = s1 * g[3], s1 * g[4], s1 * g[5]
        m02, m12, m22 = s2 * g[6], s2 * g[7], s2 * g[8]
        d_w = 2 * (z * (m10 - m01) + y * (m02 - m20) + x * (m21 - m12))
        d_x = 2 * (y * (m01 + m10) + z * (m02 + m20) + w * (m21 - m12) - 2 * x * (m11 + m22))
        d_y = 2 * (x * (m01 + m10) + z * (m12 + m21) + w * (m02 - m20) - 2 * y * (m00 + m22))
        d_z = 2 * (x * (m02 + m20) + y * (m12 + m21) + w * (m10 - m01) - 2 * z * (m00 + m11))
        along = w * d_w + x * d_x + y * d_y + z * d_z
        d_quats[i, 0], d_quats[i, 1] = inverse * (d_w - along * w), inverse * (d_x - along * x)
        d_quats[i, 2], d_quats[i, 3] = inverse * (d_y - along * y), inverse * (d_z - along * z)


_basis = jit(sh_basis)
_basis_gradient = jit(sh_basis_gradient)


@jit
def harmonics_gradients(  # type: ignore[no-untyped-def]
    begin, end, means, position, coefficients, terms, seen, d_seen, d_means, d_coefficients,
    d_position,
):  # fmt: skip
    """Add the gradients of means, harmonics (N, K, 3) and the camera's position (3,).

    `seen` (N, 3) are the colours `evaluate_harmonics` gave, `d_seen` their gradients.
    """
    for i in range(begin, end):
        red, green = d_seen[i, 0], d_seen[i, 1]
        blue = d_seen[i, 2]
        # a colour held at zero does not move
        red, green = red * (seen[i, 0] > 0.0), green * (seen[i, 1] > 0.0)
        blue = blue * (seen[i, 2] > 0.0)
        if red == 0.0 and green == 0.0 and blue == 0.0:
            continue
        x, y, z = means[i, 0] - position[0], means[i, 1] - position[1], means[i, 2] - position[2]
        inverse = 1.0 / max(math.sqrt(x * x + y * y + z * z), 1e-12)
        x, y, z = x * inverse, y * inverse, z * inverse
        basis = _basis(x, y, z)
        by_x, by_y, by_z = _basis_gradient(x, y, z)
        d_x = d_y = d_z = 0.0
        for k in range(terms):
            own = coefficients[i, k]
            pull = red * own[0] + green * own[1] + blue * own[2]
            d_x, d_y, d_z = d_x + pull * by_x[k], d_y + pull * by_y[k], d_z + pull * by_z[k]
            d_coefficients[i, k, 0] += basis[k] * red
            d_coefficients[i, k, 1] += basis[k] * green
            d_coefficients[i, k, 2] += basis[k] * blue
        along = x * d_x + y * d_y + z * d_z
        d_x, d_y = inverse * (d_x - along * x), inverse * (d_y - along * y)
        d_z = inverse * (d_z - along * z)
        d_means[i, 0] += d_x
        d_means[i, 1] += d_y
        d_means[i, 2] += d_z
        d_position[0] -= d_x
        d_position[1] -= d_y
        d_position[2] -= d_z
