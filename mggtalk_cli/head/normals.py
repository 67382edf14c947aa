"""Normals that do not come from the depth map: face model inside, inflated silhouette outside.

The silhouette's normal is known exactly: perpendicular to the contour, n_z = 0. Outside the face
n_x and n_y solve a membrane equation between the silhouette and the face's border, drawn to the
viewer on the chest; n_z follows from unit length.
"""

from __future__ import annotations

import cv2
import numpy as np

from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.head.depth import (
    CHEST_FADE_CM,
    FACE_BLEND_CM,
    SOLVER_TOLERANCE,
    inner_distance,
    shrink,
    silhouette_gap,
    silhouette_trust,
    work_size,
)
from mggtalk_cli.head.stencil import solve_stencil
from mggtalk_cli.head.view import CHIN, HeadView

# Pull (1 / cm^2) of a chest pixel towards facing the viewer, and of a skull pixel towards the
# model's normal.
CHEST_PULL = 0.15
SKULL_PULL = 0.1
PINNED = 100.0
# The contour is smoothed by this much before its direction is taken, cm.
CONTOUR_SMOOTH_CM = 0.8
# Normals nearer to the image plane than this cannot be integrated.
MIN_NZ = 0.1


def _contour(inside: np.ndarray, cell_cm: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rim (h, w) bool and outward directions (h, w, 2) x right, y up, of a silhouette."""
    padded = cv2.copyMakeBorder(inside.astype(np.float32), 4, 4, 4, 4, cv2.BORDER_REPLICATE)
    smooth = cv2.GaussianBlur(padded, (0, 0), CONTOUR_SMOOTH_CM / cell_cm)
    direction = -np.stack([np.gradient(smooth, axis=1), -np.gradient(smooth, axis=0)], -1)
    direction = direction[4:-4, 4:-4]
    length = np.linalg.norm(direction, axis=-1, keepdims=True)
    rim = inside & (cv2.erode(padded, np.ones((3, 3), np.uint8))[4:-4, 4:-4] < 0.5)
    return rim, direction / np.maximum(length, 1e-6)


def _membrane(inside: np.ndarray, pull: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Solve -lap v + pull (v - target) = 0 inside, free at every border; pull per cell."""
    right, down = np.zeros(inside.shape), np.zeros(inside.shape)
    right[:, :-1] = inside[:, :-1] & inside[:, 1:]
    down[:-1] = inside[:-1] & inside[1:]
    diagonal = right + down + pull
    diagonal[:, 1:] += right[:, :-1]
    diagonal[1:] += down[:-1]
    diagonal = np.where(inside, np.maximum(diagonal, 1e-6), 1.0)
    rhs = np.where(inside, pull * target, 0.0)
    solution, _ = solve_stencil(
        np.where(inside, target, 0), rhs, diagonal, right, down, tolerance=SOLVER_TOLERANCE
    )
    return solution


def analytic_normals(view: HeadView) -> np.ndarray:
    """Return unit normals (H, W, 3) float32, y-up camera frame, NaN off the person."""
    height, width = view.matte.shape
    size = work_size(view)
    cell_cm = view.cm_per_px * height / size[0]
    inside = shrink(view.valid.astype(np.float32), size) > 0.5
    face = shrink(view.face.astype(np.float32), size) > 0.5
    inside |= face
    model = shrink(view.model_normals, size)
    covered = np.isfinite(model).all(-1)
    rim, outward = _contour(inside, cell_cm)
    rim &= ~face

    rows = (np.arange(size[0]) + 0.5)[:, None] * np.ones(size)
    chin = float(view.landmarks[CHIN, 1]) * size[0] / height
    body = smoothstep((rows - chin) * cell_cm, *CHEST_FADE_CM)
    trust = silhouette_trust(silhouette_gap(view, size, covered, cell_cm))
    pull = np.where(covered, SKULL_PULL * trust, CHEST_PULL * body) * cell_cm**2
    pull = np.where(face | rim, PINNED, pull)
    inflated = []
    for axis in range(2):
        target = np.where(covered, np.nan_to_num(model[..., axis]), 0.0)
        target = np.where(rim, outward[..., axis], target)
        inflated.append(_membrane(inside, pull, target))
    planar = cv2.resize(
        np.stack(inflated, -1).astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR
    )
    length = np.linalg.norm(planar, axis=-1, keepdims=True)
    planar *= np.minimum(1.0, np.sqrt(1 - MIN_NZ**2) / np.maximum(length, 1e-6))
    nz = np.sqrt(np.maximum(1.0 - (planar**2).sum(-1, keepdims=True), MIN_NZ**2))
    normals = np.concatenate([planar, nz], -1)
    inner = inner_distance(view.face, border_is_edge=False) * view.cm_per_px
    share = smoothstep(inner, 0, FACE_BLEND_CM)[..., None]
    normals = np.where(share > 0, normals + share * (view.model_normals - normals), normals)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-6)
    return np.where(view.valid[..., None], normals, np.nan).astype(np.float32)


def normals_from_depth(depth: np.ndarray, focal_px: float) -> np.ndarray:
    """Return unit normals (H, W, 3), y-up camera frame, of a depth map (cm); NaN where unknown.

    One-sided at the borders of the known region, central elsewhere.
    """
    height, width = depth.shape
    x = (np.arange(width) + 0.5 - width / 2) / focal_px
    y = (height / 2 - np.arange(height) - 0.5)[:, None] / focal_px
    points = np.stack([x * depth, y * depth, -depth], -1)
    across, downward = _differences(points, 1), _differences(points, 0)
    normals = np.cross(downward, across)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    return normals.astype(np.float32)


def _differences(points: np.ndarray, axis: int) -> np.ndarray:
    step = np.diff(points, axis=axis)
    gap = np.full_like(np.take(points, [0], axis), np.nan)
    forward = np.concatenate([step, gap], axis)
    backward = np.concatenate([gap, step], axis)
    both = 0.5 * (forward + backward)
    one = np.where(np.isfinite(forward), forward, backward)
    return np.where(np.isfinite(both), both, one)
