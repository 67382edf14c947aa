"""The side of the head the photo does not show: mirrored points, filtered; and a rear closing.

P_f^s = F_voxel(mirror_x(P_f), P_f), head frame. The supplement's rule drops a mirrored point that
lies behind the original's nearest z in its (x, y) voxel column, or in or beside a voxel the
original occupies. Added here: seen from the source camera it must lie inside the person and behind
the visible surface, or it would have been in the photo. Maps stay whole (row = counterpart's row).
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from scipy import ndimage

from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.head.depth import inflate, inner_distance
from mggtalk_cli.head.view import MATTE_THRESHOLD

VOXEL_SIZE_CM = 0.3
# Voxels round the original's that count as occupied.
ADJACENCY = 1
# A mirrored point must lie this far behind the visible surface, cm: less is noise of depth.
BEHIND_CM = 0.3
# What is left must hang together with the visible surface: pieces count as attached where they come
# within this distance of it, and need this share of attached voxels (mirrored curls of an
# asymmetric hairdo float beside the head otherwise).
ATTACH_CM = 1.5
ATTACH_SHARE = 0.05
# ... unless a piece has this share of the visible surface's voxels: then it is the other half of a
# face in profile, whose middle the photo hides.
HALF_SHARE = 0.2
# Largest voxel grid; beyond it voxels grow (a stray point must not allocate gigabytes).
MAX_VOXELS = 2**24
# Source yaw (degrees) over which completion fades in: a frontal photo shows both sides.
GAIN_YAW_DEG = (12.0, 25.0)

# The rear shell: head weight it takes, erosion from the outline (share of the longer side), rear
# length of a head relative to its inflated outline, and the coarse grid's longer side.
SHELL_WEIGHT = 0.5
SHELL_ERODE = 0.006
SHELL_DEPTH = 1.0
SHELL_SIDE = 96
SHELL_MAX_CM = 11.0
# Pixels of the region this near to its outermost ones make the outline; the plane lies behind all
# but this percentage of them.
OUTLINE_EDGE_PX = 1.5
OUTLINE_PERCENTILE = 10
# The outline's band (share of the longer side): past mixed edge pixels, before the face.
OUTLINE_BAND = (0.008, 0.04)


class Completion(NamedTuple):
    """Mirrored points in the rows of their originals.

    Attributes:
        positions: (H, W, 3) float32 head frame, cm: the mirrored map, whole.
        valid: (H, W) bool, the points that survive the filters.
    """

    positions: np.ndarray
    valid: np.ndarray


def symmetry_gain(yaw_deg: float) -> float:
    """Return the weight 0..1 of symmetric completion for a source turned by `yaw_deg`.

    >>> symmetry_gain(5.0), symmetry_gain(-30.0)
    (0.0, 1.0)
    """
    return float(smoothstep(np.abs(np.asarray(yaw_deg, np.float64)), *GAIN_YAW_DEG))


def complete_by_symmetry(
    positions: np.ndarray,
    valid: np.ndarray,
    *,
    camera: Camera,
    matte: np.ndarray,
    voxel_size_cm: float = VOXEL_SIZE_CM,
    behind_cm: float = BEHIND_CM,
) -> Completion:
    """Return the mirrored position map and which of its points complete the original.

    Args:
        positions: (H, W, 3) head frame, cm.
        valid: (H, W) bool.
        camera: the source photo's camera.
        matte: (H, W) person matte 0..1 in the source photo.
        voxel_size_cm: edge of the filter's voxels; 0 = only the source view decides.
        behind_cm: least distance behind the visible surface.
    """
    mirrored = positions * np.array([-1.0, 1.0, 1.0], np.float32)
    keep = valid.copy()
    points = mirrored[valid]
    if len(points):
        hidden = _hidden_in_source(points, positions, valid, camera, matte, behind_cm)
        if voxel_size_cm > 0:
            hidden = _voxel_filter(points, hidden, positions[valid], voxel_size_cm)
        keep[valid] = hidden
    return Completion(mirrored.astype(np.float32), keep)


def _voxel_filter(
    points: np.ndarray, candidate: np.ndarray, original: np.ndarray, size: float
) -> np.ndarray:
    """Return (n,) bool: the candidates that complete the original.

    They lie neither behind the original's nearest z in their column, nor in or beside its voxels,
    and hang together with it.
    """
    low = np.minimum(points.min(0), original.min(0))
    extent = np.maximum(points.max(0), original.max(0)) - low
    size = max(size, float((extent.prod() / MAX_VOXELS) ** (1 / 3)), 1e-3)
    reach = max(ADJACENCY + 1, round(ATTACH_CM / size))
    margin = reach + 1
    shape = tuple((extent / size).astype(int) + 1 + 2 * margin)
    cells = np.floor((original - low) / size).astype(int) + margin
    occupied = np.zeros(shape, bool)
    occupied[tuple(cells.T)] = True
    nearest = np.full(shape[:2], -1, int)
    np.maximum.at(nearest, (cells[:, 0], cells[:, 1]), cells[:, 2])
    nearest = ndimage.maximum_filter(nearest, 2 * ADJACENCY + 1)
    beside = _grow(occupied, ADJACENCY)
    at = np.floor((points - low) / size).astype(int) + margin
    behind = at[:, 2] < nearest[at[:, 0], at[:, 1]]
    keep = candidate & ~behind & ~beside[tuple(at.T)]
    if not keep.any():
        return keep

    pieces = np.zeros(shape, bool)
    pieces[tuple(at[keep].T)] = True
    labels, count = ndimage.label(_grow(pieces, 1))
    attached = pieces & _grow(beside, reach - ADJACENCY)
    touching = np.bincount(labels[attached], minlength=count + 1)
    total = np.bincount(labels[pieces], minlength=count + 1)
    belongs = (touching > ATTACH_SHARE * total) | (total > HALF_SHARE * occupied.sum())
    return keep & belongs[labels[tuple(at.T)]]


def _grow(voxels: np.ndarray, steps: int) -> np.ndarray:
    """Return a bool volume grown by `steps` voxels along each axis, diagonals included."""
    return ndimage.maximum_filter(voxels.view(np.uint8), 2 * steps + 1).astype(bool)


def _hidden_in_source(
    points: np.ndarray,
    positions: np.ndarray,
    valid: np.ndarray,
    camera: Camera,
    matte: np.ndarray,
    behind_cm: float,
) -> np.ndarray:
    """Return (n,) bool: inside the person and behind the visible surface in the photo."""
    projected = camera.project(points)
    columns = np.floor(projected[:, 0]).astype(int)
    rows = np.floor(projected[:, 1]).astype(int)
    height, width = valid.shape
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    columns, rows = np.clip(columns, 0, width - 1), np.clip(rows, 0, height - 1)
    depth = np.where(valid, camera.to_camera(positions)[..., 2], -np.inf)
    # Pixels without a surface of their own (cut-out eyes) borrow the nearest one's depth.
    holes = (matte > MATTE_THRESHOLD) & ~valid
    if holes.any() and valid.any():
        source = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
        depth = np.where(holes, depth[tuple(source)], depth)
    person = (matte > MATTE_THRESHOLD)[rows, columns] & inside
    return person & (projected[:, 2] > depth[rows, columns] + behind_cm)


def back_shell(
    positions: np.ndarray, valid: np.ndarray, head_weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the rear of the head on a grid of half the resolution.

    A smooth dome behind the plane through the head's outline, as deep as the inflated outline;
    it starts inside the outline, so that the source view does not show it.

    Args:
        positions: (H, W, 3) head frame, cm, defined also in holes of `valid` (eyes).
        valid: (H, W) bool.
        head_weight: (H, W) 0..1, 1 on the head, 0 on the torso.

    Returns:
        positions (ceil(H/2), ceil(W/2), 3) float32 head frame, valid (ceil(H/2), ceil(W/2)) bool.
    """
    height, width = valid.shape
    solid = ndimage.binary_fill_holes(valid)
    erode = max(1.0, SHELL_ERODE * max(height, width))
    region = inner_distance(solid, border_is_edge=False) > erode
    region &= head_weight > SHELL_WEIGHT
    small = np.zeros(((height + 1) // 2, (width + 1) // 2), bool)
    if region.sum() < 16:
        return np.zeros((*small.shape, 3), np.float32), small
    filled = _fill(positions, valid, region)
    centre, axis = _outline_plane(filled, solid, region)
    distance = (filled - centre) @ axis
    dome = _dome(region, filled)
    shell = filled - (distance + dome)[..., None] * axis
    valid_half = region[::2, ::2]
    shell_half = np.where(valid_half[..., None], shell[::2, ::2], 0.0)
    return shell_half.astype(np.float32), valid_half


def _fill(positions: np.ndarray, valid: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Return positions with holes of the region taken from the nearest valid pixel."""
    if not (region & ~valid).any():
        return positions
    source = ndimage.distance_transform_edt(~valid, return_distances=False, return_indices=True)
    return np.where(valid[..., None], positions, positions[tuple(source)])


def _outline_plane(
    positions: np.ndarray, solid: np.ndarray, region: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return a point and the unit normal (towards the viewer) of the plane through the outline."""
    outline = inner_distance(solid, border_is_edge=False)
    nearest = float(outline[region].min()) + OUTLINE_EDGE_PX
    edge = region & (outline <= nearest)
    if edge.sum() < 32:
        edge = region
    rim = positions[edge].astype(np.float64)
    for _ in range(3):
        centre = np.median(rim, 0)
        axis = np.linalg.svd(rim - centre, full_matrices=False)[2][2]
        off = np.abs((rim - centre) @ axis)
        kept = rim[off <= np.percentile(off, 80)]
        rim = kept if len(kept) >= 16 else rim
    front = positions[region].astype(np.float64).mean(0) - centre
    axis = axis if axis @ front >= 0 else -axis
    # Outlines cut by the picture's border can tilt the plane: the viewer is in front of a face.
    if axis[2] < 0.5:
        axis = np.array([0.0, 0.0, 1.0])
    # The outermost ring already rises towards the viewer: the plane goes through its rear.
    depth = (positions[edge] - centre) @ axis
    centre = centre + axis * np.percentile(depth, OUTLINE_PERCENTILE)
    return centre, axis.astype(np.float32)


def _dome(region: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return (H, W) float32 height (cm) of the dome behind the outline's plane, 0 at its edge."""
    height, width = region.shape
    factor = min(1.0, SHELL_SIDE / max(height, width))
    size = max(4, round(height * factor)), max(4, round(width * factor))
    inside = cv2.resize(region.astype(np.float32), size[::-1], interpolation=cv2.INTER_AREA) > 0.5
    step = np.linalg.norm(np.diff(positions[..., :2], axis=1), axis=-1)
    pixel_cm = float(np.median(step[region[:, 1:] & region[:, :-1]]))
    nothing = np.zeros(size)
    cell_cm = pixel_cm * width / size[1]
    f = inflate(inside, nothing, nothing, source=4.0, cell_cm=cell_cm)
    h = SHELL_DEPTH * np.sqrt(np.maximum(f, 0.0))
    h = np.minimum(h, SHELL_MAX_CM)
    h = cv2.resize(h.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.maximum(h, 0.0)


def outline_band(valid: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: a band just inside the outline, whose colours suit the unseen rear."""
    distance = inner_distance(ndimage.binary_fill_holes(valid), border_is_edge=False)
    low, high = (share * max(valid.shape) for share in OUTLINE_BAND)
    return valid & (distance > low) & (distance < high)
