"""Analytic depth of the whole person: face model inside the face, inflated silhouette outside it.

With h = z_base - z the height above a base plane through the ears, f = h^2 solves the screened
Poisson equation  -lap f + w (f - g) = 4:  w is huge in the face (f = model), moderate where the
model's skull and neck lie under the pixel, and moderate below the chin where g is a flat chest;
f = 0 at the silhouette and free at the picture's border. For w = 0 an ellipse inflates to an
ellipsoid. Heights are then limited in slope at the silhouette and beside the face.
"""

from __future__ import annotations

import cv2
import numpy as np

from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.head.stencil import solve_stencil
from mggtalk_cli.head.view import CHIN, FACE_OVAL, INNER_LIPS, HeadView

# Longer side of the grid the Poisson equation is solved on.
WORK_SIDE = 160
# The base plane lies this far behind the side contour of the skull above the eyes, cm.
BASE_BEHIND_SKULL_CM = 0.3
# Share of the skull's pixels that lie before its side contour.
CONTOUR_PERCENTILE = 75
# Where no skull is known: distance of the ear landmarks to the base plane, cm.
BASE_BEHIND_TEMPLES_CM = 0.5
TEMPLES = (234, 454)
# The shoulders' contour lies this far behind the base plane where no model covers them, the range
# allowed where one does, and the drop's range below the chin, cm.
SHOULDERS_BEHIND_CM = 3.0
SHOULDERS_RANGE_CM = (0.0, 5.0)
# Ears, neck and shoulders of the model count at most this far behind the base plane, cm.
SINK_MAX_CM = 4.0
SHOULDERS_FADE_CM = (-4.0, 8.0)
SHOULDERS_BELOW_CM = 4.0
# Pull (1 / cm^2) towards the face, the skull under the hair, the neck, and a flat chest.
FACE_PULL = 100.0
# The pinned face dominates the right-hand side: a looser solve leaves the rest where it began.
SOLVER_TOLERANCE = 1e-7
SKULL_PULL = 0.12
NECK_PULL = 0.3
CHEST_PULL = 0.08
# Hair is as thick in front as the silhouette stands off the model's, between these, cm; the skull
# says less the thicker the hair (pull falls as a Gaussian of this width, cm).
HAIR_RANGE_CM = (0.3, 2.5)
HAIR_TRUST_CM = 2.0
# The chest stands this far before the base plane, cm, where no neck
# is known, and before the neck's front where one is.
CHEST_CM = 5.0
CHEST_RANGE_CM = (3.5, 7.5)
# The chest starts below the chin over this range, cm.
CHEST_FADE_CM = (1.0, 6.0)
# Steepest rise at the silhouette (cm per cm): steeper rims stretch when the head turns.
RIM_SLOPE = 3.0
# Hair and cloth may stand this far before the nearest point of the face's outline, cm; without
# the limit veils rise to a ridge beside the cheek.
ABOVE_OUTLINE_CM = 1.5
ABOVE_OUTLINE_TOP_CM = 2.5
LIMIT_SMOOTH_CM = 2.5
LEAST_LIMIT_CM = 2.0
# Width (cm) over which limits round off and over which the model takes over inside the oval.
SOFT_CM = 0.5
FACE_BLEND_CM = 1.2
# The coarse height is smoothed by this many coarse cells, the rim distance by this many cm.
SMOOTH_CELLS = 0.6
RIM_SMOOTH_CM = 0.5
# Slits of the model narrower than this are closed; open mouths are at most this deep, cm.
SLIT_CM = 0.7
MOUTH_CM = 0.8
NEGLIGIBLE = 1e-6


def soft_minimum(a: np.ndarray, b: np.ndarray, width: float) -> np.ndarray:
    """Return a smooth lower bound of min(a, b) that differs only where |a - b| < `width`."""
    t = np.clip(0.5 - 0.5 * (a - b) / width, 0.0, 1.0)
    return b + (a - b) * t - width * t * (1.0 - t)


def inner_distance(mask: np.ndarray, *, border_is_edge: bool) -> np.ndarray:
    """Return (H, W) float32 distance in px of the mask's pixels to the nearest one outside."""
    padded = cv2.copyMakeBorder(
        mask.astype(np.uint8),
        *(1, 1, 1, 1),
        cv2.BORDER_CONSTANT if border_is_edge else cv2.BORDER_REPLICATE,
        value=0,
    )
    if padded.all():
        return np.full(mask.shape, float(sum(mask.shape)), np.float32)
    distance = cv2.distanceTransform(padded, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.maximum(distance[1:-1, 1:-1] - 0.5, 0) * mask


def shrink(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return float32 `values` averaged over areas to `size` (height, width), ignoring NaN."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0).astype(np.float32)
    if values.ndim == 3:
        known = known.all(-1)
    weight = cv2.resize(known.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA)
    mean = cv2.resize(filled, size[::-1], interpolation=cv2.INTER_AREA)
    if values.ndim == 3:
        weight = weight[..., None]
    return np.where(weight > 0.4, mean / np.maximum(weight, NEGLIGIBLE), np.nan)


def work_size(view: HeadView) -> tuple[int, int]:
    """Return (height, width) of the coarse grid of a view."""
    height, width = view.matte.shape
    factor = min(1.0, WORK_SIDE / max(height, width))
    return max(8, round(height * factor)), max(8, round(width * factor))


def base_depth(view: HeadView) -> np.ndarray:
    """Return (H, 1) camera depth (cm) of the plane through the silhouette, deeper at shoulders."""
    rows = np.arange(view.matte.shape[0])[:, None] + 0.5
    eyes_y, chin_y = float(view.landmarks[:, 1].mean()), float(view.landmarks[CHIN, 1])
    known = np.isfinite(view.model_depth) & ~view.face
    skull = known & (rows < eyes_y)
    base = float(view.landmarks[list(TEMPLES), 2].mean()) + BASE_BEHIND_TEMPLES_CM
    if skull.sum() > 0.1 * view.face.sum():
        contour = np.percentile(view.model_depth[skull], CONTOUR_PERCENTILE)
        base = float(contour) + BASE_BEHIND_SKULL_CM
    base = max(base, float(np.percentile(view.model_depth[view.face], 98)) + BASE_BEHIND_SKULL_CM)
    below_cm = (rows - chin_y) * view.cm_per_px
    shoulders = known & (below_cm > SHOULDERS_BELOW_CM)
    drop = SHOULDERS_BEHIND_CM
    if shoulders.sum() > 0.05 * view.face.sum():
        contour = float(np.percentile(view.model_depth[shoulders], CONTOUR_PERCENTILE))
        drop = float(np.clip(contour + BASE_BEHIND_SKULL_CM - base, *SHOULDERS_RANGE_CM))
    return base + drop * smoothstep(below_cm, *SHOULDERS_FADE_CM)


def inflate(
    inside: np.ndarray, pull: np.ndarray, target: np.ndarray, *, source: float, cell_cm: float
) -> np.ndarray:
    """Solve -lap f + pull (f - target) = source with f = 0 outside, free at the grid's border.

    Args:
        inside: (h, w) bool.
        pull: (h, w) weight of the target, 1 / cm^2.
        target: (h, w) wanted values, cm^2.
        source: right-hand side, 4 = sphere-like.
        cell_cm: size of a grid cell in cm.

    Returns:
        (h, w) float64 f, 0 outside.
    """
    height, width = inside.shape
    ones = np.ones((height, width))
    neighbours = 4.0 * ones
    neighbours[0] -= 1
    neighbours[-1] -= 1
    neighbours[:, 0] -= 1
    neighbours[:, -1] -= 1
    right, down = np.zeros_like(ones), np.zeros_like(ones)
    right[:, :-1] = inside[:, :-1] & inside[:, 1:]
    down[:-1] = inside[:-1] & inside[1:]
    area = cell_cm**2
    rhs = np.where(inside, (source + pull * target) * area, 0.0)
    diagonal = np.where(inside, neighbours + pull * area, 1.0)
    start = np.where(inside, target, 0.0)
    solution, _ = solve_stencil(start, rhs, diagonal, right, down, tolerance=SOLVER_TOLERANCE)
    return solution


def _guides(
    view: HeadView, size: tuple[int, int], z_base: np.ndarray, cell_cm: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (pull, target, sink) of face, skull, neck and chest on the coarse grid.

    `sink` is how far (cm) ears, neck and shoulders of the model lie behind the base plane.
    """
    model = shrink(face_surface(view), size)
    face = shrink(view.face.astype(np.float32), size) > 0.5
    covered = np.isfinite(model)
    height = np.where(covered, z_base - np.nan_to_num(model), 0.0)
    scale = size[0] / view.matte.shape[0]
    rows = (np.arange(size[0]) + 0.5)[:, None] * np.ones(size)
    below_chin_cm = (rows - float(view.landmarks[CHIN, 1]) * scale) * cell_cm
    body = smoothstep(below_chin_cm, *CHEST_FADE_CM) * ~face

    from_face_cm = cell_cm * inner_distance(~face, border_is_edge=False)
    gap_cm = silhouette_gap(view, size, covered, cell_cm)
    near_face = 1.0 - smoothstep(from_face_cm, 0.0, 3.0)
    hair = np.clip(gap_cm, *HAIR_RANGE_CM) * (1 - near_face) * (1 - body)
    on_model = np.maximum(height + hair, 0.0) ** 2
    trust = silhouette_trust(gap_cm)
    pull = np.where(covered, SKULL_PULL * trust * (1 - body) + NECK_PULL * body, 0.0)
    target = np.where(covered, on_model, 0.0)

    behind = np.where(covered & ~face, np.clip(-height, 0.0, SINK_MAX_CM) * trust, 0.0)
    sink = cv2.GaussianBlur(behind, (0, 0), SOFT_CM / cell_cm)

    chest = float(np.clip(_neck_height(height, covered & (body > 0.5)), *CHEST_RANGE_CM))
    chest_pull = CHEST_PULL * body * ~covered
    target = np.where(covered, target, chest**2)
    pull = np.where(face, FACE_PULL, pull + chest_pull)
    target = np.where(face, np.maximum(height, 0.0) ** 2, target)
    return pull, target, sink


def silhouette_trust(gap_cm: np.ndarray) -> np.ndarray:
    """Return 0..1, how much the model says about the surface under hair or cloth that thick."""
    return np.exp(-((np.maximum(gap_cm, 0) / HAIR_TRUST_CM) ** 2))


def silhouette_gap(
    view: HeadView, size: tuple[int, int], covered: np.ndarray, cell_cm: float
) -> np.ndarray:
    """Return (h, w) how far (cm) the person's silhouette stands off the model's, smoothed."""
    person = shrink(view.valid.astype(np.float32), size) > 0.5
    outer = inner_distance(person, border_is_edge=False)
    inner = inner_distance(covered, border_is_edge=False)
    gap = (outer - inner).astype(np.float32) * cell_cm
    sigma = 1.0 / cell_cm
    share = cv2.GaussianBlur(covered.astype(np.float32), (0, 0), sigma)
    return cv2.GaussianBlur(np.where(covered, gap, 0), (0, 0), sigma) / np.maximum(share, 0.1)


def _neck_height(height: np.ndarray, neck: np.ndarray) -> float:
    if neck.sum() < 8:
        return CHEST_CM
    return float(np.percentile(height[neck], 90))


def _limits(
    view: HeadView, h: np.ndarray, size: tuple[int, int], z_base: np.ndarray, cell_cm: float
) -> np.ndarray:
    """Return the coarse height map limited beside the face's outline."""
    outline = view.landmarks[list(FACE_OVAL)]
    scale = size[1] / view.matte.shape[1], size[0] / view.matte.shape[0]
    seeds = np.ones(size, np.uint8)
    columns = np.clip((outline[:, 0] * scale[0]).astype(int), 0, size[1] - 1)
    rows = np.clip((outline[:, 1] * scale[1]).astype(int), 0, size[0] - 1)
    seeds[rows, columns] = 0
    _, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    nearest = np.zeros(int(labels.max()) + 1)
    nearest[labels[rows, columns]] = z_base[rows, 0] - outline[:, 2]
    top = float(outline[:, 1].min()) * scale[1]
    brow = 0.5 * (top + float(outline[:, 1].mean()) * scale[1])
    up_cm = (brow - np.arange(size[0]))[:, None] * cell_cm
    extra = ABOVE_OUTLINE_CM + (ABOVE_OUTLINE_TOP_CM - ABOVE_OUTLINE_CM) * smoothstep(up_cm, 0, 4)
    face = shrink(view.face.astype(np.float32), size) > 0.5
    from_face_cm = cell_cm * inner_distance(~face, border_is_edge=False)
    extra = extra * smoothstep(from_face_cm, -1.0, 4.0)
    limit = cv2.GaussianBlur(nearest[labels] + extra, (0, 0), LIMIT_SMOOTH_CM / cell_cm)
    limit = -soft_minimum(-limit, -LEAST_LIMIT_CM * np.ones(size), 2 * SOFT_CM)
    return np.where(face, h, soft_minimum(h, limit, 3 * SOFT_CM))


def face_surface(view: HeadView) -> np.ndarray:
    """Return the model's depth (H, W) in cm without slits at lids and lips, NaN off the model.

    Pits narrower than `SLIT_CM` are closed (grey opening of depth); between open lips the surface
    lies at most `MOUTH_CM` behind them.
    """
    radius = max(1, round(0.5 * SLIT_CM / view.cm_per_px))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    known = np.isfinite(view.model_depth)
    far = float(np.nanmax(view.model_depth)) + 1.0
    depth = np.where(known, view.model_depth, far).astype(np.float32)
    depth = cv2.morphologyEx(depth, cv2.MORPH_OPEN, kernel)
    mouth = np.zeros(depth.shape, np.uint8)
    lips = view.landmarks[list(INNER_LIPS)]
    cv2.fillPoly(mouth, [np.round(lips[:, :2] * 16 - 8).astype(np.int32)], 1, shift=4)
    behind = float(np.median(lips[:, 2])) + MOUTH_CM
    depth = np.where((mouth > 0) & known, np.minimum(depth, behind), depth)
    return np.where(known, depth, np.nan)


def _rim_distance(valid: np.ndarray, cm_per_px: float) -> np.ndarray:
    """Return (H, W) distance (cm) to a smoothed silhouette: strands must not pleat the rim."""
    sigma = RIM_SMOOTH_CM / cm_per_px
    smooth = cv2.GaussianBlur(valid.astype(np.float32), (0, 0), sigma) > 0.5
    distance = inner_distance(smooth, border_is_edge=False) * cm_per_px
    return cv2.GaussianBlur(distance, (0, 0), 0.5 * sigma)


def analytic_depth(view: HeadView) -> np.ndarray:
    """Return the camera depth (H, W) float32 in cm of every pixel of the person, NaN elsewhere.

    Equal to the model well inside the face oval, without a step across it, and rounded to the
    base plane through the ears at the silhouette.
    """
    height, width = view.matte.shape
    valid, face = view.valid, view.face
    size = work_size(view)
    cell_cm = view.cm_per_px * height / size[0]
    z_base = base_depth(view)
    inside = cv2.resize(valid.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0.5
    inside |= shrink(face.astype(np.float32), size) > 0.5
    coarse_base = cv2.resize(z_base, (1, size[0]), interpolation=cv2.INTER_AREA).reshape(-1, 1)
    pull, target, sink = _guides(view, size, coarse_base, cell_cm)
    f = inflate(inside, pull, target, source=4.0, cell_cm=cell_cm)
    h = _limits(view, np.sqrt(np.maximum(f, 0.0)), size, coarse_base, cell_cm)
    sink = cv2.resize(sink.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    h = cv2.resize(h.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    h = cv2.GaussianBlur(h, (0, 0), SMOOTH_CELLS * height / size[0])
    rim_cm = _rim_distance(valid, view.cm_per_px)
    h = soft_minimum(np.maximum(h, 0.0), RIM_SLOPE * rim_cm, SOFT_CM)
    inner = smoothstep(
        inner_distance(face, border_is_edge=False) * view.cm_per_px, 0, FACE_BLEND_CM
    )
    depth = z_base - h + sink
    depth = np.where(inner > 0, depth + inner * (face_surface(view) - depth), depth)
    return np.where(valid, depth, np.nan).astype(np.float32)
