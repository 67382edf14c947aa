"""Covariances from the deformed position map: skin that stretches shows no holes.

Sigma = sigma^2 (J_u J_u^T + J_v J_v^T) + eps I, J = central differences over connected
neighbours of the same sheet. The two scaled tangents sigma J_u and sigma J_v stand for Sigma; a
rotation and three scales are derived only where a file format wants them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mggtalk_cli.core.batches import stacked
from mggtalk_cli.core.compiled import kernel_fits, run_over
from mggtalk_cli.core.parallel import jit

# Gaussian width in point spacings: wide enough to close the lattice under stretch, narrow enough
# that colour compensation can restore the photo; .5 scores higher on identity but shows moire.
SIGMA = 0.65

# A tangent is never longer than this many rest spacings: torn or folded cells must not smear.
MAX_STRETCH = 10.0


def tangents_from_grid(
    points: Float[Tensor, "*b m 3"],
    right: Int[Tensor, " m"],
    left: Int[Tensor, " m"],
    down: Int[Tensor, " m"],
    up: Int[Tensor, " m"],
    *,
    spacing_cm: float,
    sigma: float = SIGMA,
) -> Float[Tensor, "*b m 2 3"]:
    """Return sigma-scaled tangent vectors of every point, cm.

    Args:
        points: positions, cm; of one frame, or of several.
        right: connected neighbour indices, the point's own index where there is none; so the
            other three.
        left: see right.
        down: see right.
        up: see right.
        spacing_cm: usual distance of neighbours; the size of a point with no neighbours, and the
            unit of the stretch limit.
        sigma: Gaussian width in spacings.
    """
    near = (right, left, down, up)
    if kernel_fits(points):
        if points.ndim > 2:
            sizes = {"spacing_cm": spacing_cm, "sigma": sigma}
            return stacked([tangents_from_grid(frame, *near, **sizes) for frame in points])
        tangents = points.new_empty(len(points), 2, 3)
        run_over(
            *(len(points), _tangents, points, *near),
            *(np.float32(spacing_cm), np.float32(sigma), tangents),
        )
        return tangents
    axes = torch.eye(3, dtype=points.dtype, device=points.device)
    u = _difference(points, right, left, axes[0] * spacing_cm)
    v = _difference(points, down, up, -axes[1] * spacing_cm)
    tangents = torch.stack([u, v], -2)
    length = tangents.norm(dim=-1, keepdim=True)
    limit = (MAX_STRETCH * spacing_cm) / length.clamp_min(1e-8)
    return tangents * (sigma * limit.clamp_max(1.0))


def _difference(
    points: Float[Tensor, "*b m 3"],
    forward: Int[Tensor, " m"],
    backward: Int[Tensor, " m"],
    alone: Float[Tensor, " 3"],
) -> Float[Tensor, "*b m 3"]:
    own = torch.arange(points.shape[-2], device=points.device)
    steps = (forward != own).to(points.dtype) + (backward != own).to(points.dtype)
    between = points[..., forward, :] - points[..., backward, :]
    difference = between / steps.clamp_min(1.0)[:, None]
    return torch.where(steps[:, None] > 0, difference, alone)


@jit
def _tangents(  # type: ignore[no-untyped-def]
    begin, end, points, right, left, down, up, spacing_cm, sigma, tangents
):
    """Write `tangents_from_grid` of the points begin..end."""
    zero = np.float32(0)
    for row in range(begin, end):
        i = np.uint64(row)  # unsigned: no negative indices to check for
        _step(i, points, right[i], left[i], spacing_cm, zero, spacing_cm, sigma, tangents[i, 0])
        _step(i, points, down[i], up[i], zero, -spacing_cm, spacing_cm, sigma, tangents[i, 1])


@jit
def _step(  # type: ignore[no-untyped-def]
    i, points, forward, backward, alone_x, alone_y, spacing_cm, sigma, tangent
):
    """Write one scaled tangent (3,) of point i from its neighbours; alone if it has none."""
    f, b = np.uint32(forward), np.uint32(backward)
    x, y = points[f, 0] - points[b, 0], points[f, 1] - points[b, 1]
    z = points[f, 2] - points[b, 2]
    if f != i and b != i:
        half = np.float32(0.5)
        x, y, z = half * x, half * y, half * z
    elif f == i and b == i:
        x, y = alone_x, alone_y
    length = math.sqrt(x * x + y * y + z * z)
    limit = np.float32(MAX_STRETCH) * spacing_cm / max(length, np.float32(1e-8))
    scale = sigma * min(limit, np.float32(1))
    tangent[0], tangent[1], tangent[2] = scale * x, scale * y, scale * z


def rotation_and_scale(
    tangents: Float[Tensor, "m 2 3"], *, thickness_cm: float | Float[Tensor, " m"]
) -> tuple[Float[Tensor, "m 4"], Float[Tensor, "m 3"]]:
    """Return quaternions wxyz and scales (cm) with R diag(s)^2 R^T = a a^T + b b^T + thickness^2.

    The principal axes of two vectors need only the 2x2 Gram matrix, in closed form.
    """
    a, b = tangents[:, 0], tangents[:, 1]
    aa, bb, ab = (a * a).sum(-1), (b * b).sum(-1), (a * b).sum(-1)
    angle = 0.5 * torch.atan2(2 * ab, aa - bb)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    first, second = cos * a + sin * b, cos * b - sin * a
    s1, s2 = first.norm(dim=-1), second.norm(dim=-1)
    x_axis = _unit(first, fallback=(1.0, 0.0, 0.0))
    z_axis = _perpendicular(x_axis, second)
    y_axis = torch.linalg.cross(z_axis, x_axis)
    thickness = torch.zeros_like(s1) + thickness_cm
    scales = torch.stack([(s1**2 + thickness**2).sqrt(), (s2**2 + thickness**2).sqrt(), thickness])
    return quaternion_from_axes(torch.stack([x_axis, y_axis, z_axis], -1)), scales.T.contiguous()


def _unit(vector: Float[Tensor, "m 3"], fallback: tuple[float, ...]) -> Float[Tensor, "m 3"]:
    length = vector.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-9, vector / length.clamp_min(1e-9), vector.new_tensor(fallback))


def _perpendicular(axis: Float[Tensor, "m 3"], other: Float[Tensor, "m 3"]) -> Float[Tensor, "m 3"]:
    """Return the unit normal of axis and other, any normal of axis where they are parallel."""
    normal = torch.linalg.cross(axis, other)
    aside = torch.where(
        axis[:, :1].abs() < 0.9, axis.new_tensor([1.0, 0, 0]), axis.new_tensor([0, 1.0, 0])
    )
    spare = _unit(torch.linalg.cross(axis, aside.expand_as(axis)), fallback=(0.0, 0.0, 1.0))
    length = normal.norm(dim=-1, keepdim=True)
    good = length > 1e-6 * other.norm(dim=-1, keepdim=True).clamp_min(1e-9)
    return torch.where(good, normal / length.clamp_min(1e-12), spare)


def quaternion_from_axes(rotation: Float[Tensor, "m 3 3"]) -> Float[Tensor, "m 4"]:
    """Return unit quaternions wxyz, w >= 0, of rotation matrices (columns = axes)."""
    r = rotation
    trace = r[:, 0, 0] + r[:, 1, 1] + r[:, 2, 2]
    squares = torch.stack(
        [
            1 + trace,
            1 + 2 * r[:, 0, 0] - trace,
            1 + 2 * r[:, 1, 1] - trace,
            1 + 2 * r[:, 2, 2] - trace,
        ],
        -1,
    ).clamp_min(0)
    # Each row is the quaternion times four of its own components: take the best conditioned one.
    w, x, y, z = squares.unbind(-1)
    wx, wy, wz = r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]
    xy, xz, yz = r[:, 0, 1] + r[:, 1, 0], r[:, 0, 2] + r[:, 2, 0], r[:, 1, 2] + r[:, 2, 1]
    rows = torch.stack(
        [
            torch.stack([w, wx, wy, wz], -1),
            torch.stack([wx, x, xy, xz], -1),
            torch.stack([wy, xy, y, yz], -1),
            torch.stack([wz, xz, yz, z], -1),
        ],
        1,
    )
    best = squares.argmax(-1)
    chosen = rows[torch.arange(len(rows), device=rows.device), best]
    chosen = chosen / chosen.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return torch.where(chosen[:, :1] < 0, -chosen, chosen)
