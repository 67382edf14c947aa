"""Bind every pixel of the photo to the landmark mesh, once, when the head is built.

Inside the face a pixel hangs barycentrically on its landmark triangle. Outside it follows the
nearest face pixel, faded with distance (the decay of a screened Laplace equation), so that jaw and
cheeks pull hair and neck along softly. Inside closed lips a pixel belongs to the upper or lower
lip; inside open lips or lids it leaves the skin and becomes a layer of its own.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from mggtalk_cli.core.image import LUMA
from mggtalk_cli.core.landmark_groups import (
    EYE_LEFT_LOWER,
    EYE_LEFT_UPPER,
    EYE_RIGHT_LOWER,
    EYE_RIGHT_UPPER,
    LIPS_OUTER,
    LOWER_LIP_INNER,
    LOWER_LIP_OUTER,
    TRIANGLES,
    UPPER_LIP_INNER,
    UPPER_LIP_OUTER,
)
from mggtalk_cli.core.mesh import rasterize_mesh

# Layers of the front sheet.
SKIN, MOUTH, EYE_RIGHT, EYE_LEFT = 0, 1, 2, 3

# Lips closer than this (cm) are closed: what lies between them is lip, not teeth.
CLOSED_GAP_CM = 0.28

# Distance, in face widths, over which the motion of the face edge fades outside the face.
OUTSIDE_DECAY = 0.10


class Binding(NamedTuple):
    """How front-sheet pixels hang on the landmarks.

    Attributes:
        index: (H, W, 3) int32 control indices.
        weight: (H, W, 3) float32 weights; their sum fades from 1 (face) to 0 (far outside).
        layer: (H, W) uint8, one of SKIN, MOUTH, EYE_RIGHT, EYE_LEFT.
        lip_side: (H, W) int8, +1 on the upper and -1 on the lower side of the mouth line, 0 away
            from the mouth; neighbours of opposite sides are not connected.
    """

    index: np.ndarray
    weight: np.ndarray
    layer: np.ndarray
    lip_side: np.ndarray


def ring(upper: tuple[int, ...], lower: tuple[int, ...]) -> np.ndarray:
    """Return the closed polygon (indices) of two corner-to-corner polylines."""
    return np.array([*upper, *lower[-2:0:-1]], np.int64)


# Lip landmarks between the inner and the outer line.
_UPPER_BETWEEN = (
    *(184, 74, 73, 72, 11, 302, 303, 304, 408),
    *(183, 42, 41, 38, 12, 268, 271, 272, 407),
)
_LOWER_BETWEEN = (
    *(77, 90, 180, 85, 16, 315, 404, 320, 307),
    *(96, 89, 179, 86, 15, 316, 403, 319, 325),
)

MOUTH_RING = ring(UPPER_LIP_INNER, LOWER_LIP_INNER)
EYE_RIGHT_RING = ring(EYE_RIGHT_UPPER, EYE_RIGHT_LOWER)
EYE_LEFT_RING = ring(EYE_LEFT_UPPER, EYE_LEFT_LOWER)


def bind_face(image: np.ndarray, landmarks_px: np.ndarray, landmarks_cm: np.ndarray) -> Binding:
    """Return the binding of a photo.

    Args:
        image: (H, W, 3) float32 RGB photo.
        landmarks_px: (468, 3) landmark x, y in px and camera depth in cm.
        landmarks_cm: (468, 3) the same landmarks in the head frame, cm.
    """
    height, width = image.shape[:2]
    triangles = np.asarray(TRIANGLES, np.int64)
    rings = {MOUTH: MOUTH_RING, EYE_RIGHT: EYE_RIGHT_RING, EYE_LEFT: EYE_LEFT_RING}
    in_ring = {layer: np.isin(triangles, r).all(1) for layer, r in rings.items()}
    skin = ~np.any(list(in_ring.values()), 0)
    xy, depth = landmarks_px[:, :2], landmarks_px[:, 2]
    which, bary, _ = rasterize_mesh(xy, depth, triangles[skin], height=height, width=width)
    inside = which >= 0
    index = triangles[skin][np.maximum(which, 0)].astype(np.int32)
    weight = np.where(inside[..., None], bary, 0).astype(np.float32)
    layer = np.zeros((height, width), np.uint8)
    for code, polygon in rings.items():
        layer[_polygon_mask(xy[polygon], height, width) & ~inside] = code
    side = _lip_side(xy, height, width)
    _cut_between_lips(side, index, weight)
    _carry_lashes(index, weight, inside)
    gap_cm = float(landmarks_cm[UPPER_LIP_INNER[5], 1] - landmarks_cm[LOWER_LIP_INNER[5], 1])
    if gap_cm < CLOSED_GAP_CM:
        layer[layer == MOUTH] = SKIN
    layer[_lips_inside(image, layer == MOUTH, xy)] = SKIN
    lower = _below_the_gap(image, layer == MOUTH)
    side[layer == MOUTH] = 1
    side[lower] = -1
    face_width = float(np.ptp(xy[:, 0]))
    _extend(index, weight, inside, layer, side, decay_px=OUTSIDE_DECAY * face_width)
    _hang_on_lower_lip(index, weight, lower, xy)
    return Binding(index, weight, layer, side)


UPPER_LIP = (*UPPER_LIP_INNER[1:-1], *UPPER_LIP_OUTER[1:-1], *_UPPER_BETWEEN)
LOWER_LIP = (*LOWER_LIP_INNER[1:-1], *LOWER_LIP_OUTER[1:-1], *_LOWER_BETWEEN)


def _cut_between_lips(side: np.ndarray, index: np.ndarray, weight: np.ndarray) -> None:
    """Let a lip's pixels lie on the side of the lip they hang on (in place): no strings of skin."""
    upper, lower = ((weight * np.isin(index, lip)).sum(-1) for lip in (UPPER_LIP, LOWER_LIP))
    near = (side != 0) & (upper + lower > 0.1)
    side[near] = np.where(upper > lower, 1, -1)[near]


# A gap between upper and lower teeth is darker than this share of the teeth above it, and there are
# so many rows lighter than the next number times it below; the mouth has one if it shows in this
# share of its columns.
GAP_DARKNESS, LOWER_ROWS, BELOW_GAP, GAP_COLUMNS = 0.6, 2, 1.5, 0.3


def _below_the_gap(image: np.ndarray, mouth: np.ndarray) -> np.ndarray:
    """Return (H, W) bool of pixels of the open mouth below the dark between the teeth."""
    luminance = image @ LUMA
    columns = np.flatnonzero(mouth.any(0))
    found, gap = [], []
    for column in columns:
        rows = np.flatnonzero(mouth[:, column])
        light = luminance[rows, column]
        dark = int(np.argmin(light))
        if not 0 < dark < len(rows) - LOWER_ROWS:
            continue
        # Beneath, one light row may be the lip's edge; teeth have more.
        upper, lower = light[:dark].max(), np.sort(light[dark + 1 :])[-LOWER_ROWS:][0]
        if light[dark] < min(GAP_DARKNESS * upper, lower / BELOW_GAP):
            found.append(column)
            gap.append(rows[dark])
    if len(found) < max(3, GAP_COLUMNS * len(columns)):
        return np.zeros_like(mouth)
    line = np.full(mouth.shape[1], np.inf)
    line[columns] = np.interp(columns, found, gap)
    return mouth & (np.arange(mouth.shape[0])[:, None] > line)


def _hang_on_lower_lip(
    index: np.ndarray, weight: np.ndarray, rows: np.ndarray, xy: np.ndarray
) -> None:
    """Bind pixels (H, W bool) to the lower lip's edge beneath them (in place)."""
    edge = np.array(LOWER_LIP_INNER)
    edge = edge[np.argsort(xy[edge, 0])]
    x = np.flatnonzero(rows) % rows.shape[1] + 0.5
    segment = np.clip(np.searchsorted(xy[edge, 0], x) - 1, 0, len(edge) - 2)
    start, end = xy[edge[segment], 0], xy[edge[segment + 1], 0]
    t = np.clip((x - start) / np.maximum(end - start, 1e-6), 0, 1)
    index[rows] = np.stack([edge[segment], edge[segment + 1], edge[segment]], -1)
    weight[rows] = np.stack([1 - t, t, np.zeros_like(t)], -1)


# Skin whose upper-lid share is above this moves wholly with the lid's edge: lashes stay lashes,
# and the skin between them and the brow takes the stretch of a blink.
LASH_SHARE = 0.45


def _carry_lashes(index: np.ndarray, weight: np.ndarray, inside: np.ndarray) -> None:
    """Let the pixels next to an upper lid's edge follow it rigidly (in place)."""
    lid = np.isin(index, (*EYE_RIGHT_UPPER[1:-1], *EYE_LEFT_UPPER[1:-1])) & inside[..., None]
    share = (weight * lid).sum(-1)
    rows = (share > 0.02) & (share < 0.98)
    t = share[rows]
    wanted = np.clip(t / LASH_SHARE, 0, 1)
    gain_lid, gain_rest = wanted / t, (1 - wanted) / (1 - t)
    weight[rows] *= np.where(lid[rows], gain_lid[:, None], gain_rest[:, None])


def _polygon_mask(polygon: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return (height, width) bool of pixels whose centre lies in the polygon (px, centres .5)."""
    shift = 8
    points = np.round((polygon - 0.5) * (1 << shift)).astype(np.int32)
    mask = np.zeros((height, width), np.uint8)
    cv2.fillPoly(mask, [points], 1, shift=shift)
    return mask.astype(bool)


# Inside open lips, a pixel with this share of the lips' median redness (a of CIE Lab) and lightness
# that hangs together with them is lip: outlines are seldom exact, and lips left behind look torn.
LIP_REDNESS, LIP_LIGHTNESS = 0.7, 0.55

# So is a pixel at the edge of the lips this share of the way from the redness of teeth to theirs.
MIXED_REDNESS = 0.45

# Lips less red than this cannot be told from teeth by colour: grey photos.
GREY_REDNESS = 8.0


def _lips_inside(image: np.ndarray, mouth: np.ndarray, xy: np.ndarray) -> np.ndarray:
    """Return (H, W) bool of pixels inside the lip line that show lip all the same."""
    height, width = mouth.shape
    if not mouth.any():
        return mouth
    rows = np.flatnonzero(mouth.any(1))
    columns = np.flatnonzero(mouth.any(0))
    margin = 4 + len(columns) // 8
    window = (
        slice(max(rows[0] - margin, 0), rows[-1] + margin),
        slice(max(columns[0] - margin, 0), columns[-1] + margin),
    )
    lab = cv2.cvtColor(np.ascontiguousarray(image[window], np.float32), cv2.COLOR_RGB2Lab)
    lightness, redness = lab[..., 0], lab[..., 1]
    inner = mouth[window]
    lips = _polygon_mask(xy[list(LIPS_OUTER)], height, width)[window] & ~inner
    if lips.sum() < 20 or np.median(redness[lips]) < GREY_REDNESS:
        return np.zeros_like(mouth)
    alike = (redness > LIP_REDNESS * np.median(redness[lips])) & (
        lightness > LIP_LIGHTNESS * np.median(lightness[lips])
    )
    # Without the specks between teeth: they are too small to be lip.
    alike = cv2.morphologyEx(alike.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3))) > 0
    _, labels = cv2.connectedComponents((alike & (inner | lips)).astype(np.uint8), connectivity=4)
    touching = np.unique(labels[lips & alike])
    found = inner & alike & np.isin(labels, touching[touching > 0])
    edge = cv2.dilate((found | ~inner).astype(np.uint8), np.ones((3, 3))) > 0
    pale = float(np.percentile(redness[inner], 20))
    mixed = redness > pale + MIXED_REDNESS * (float(np.median(redness[lips])) - pale)
    result = np.zeros_like(mouth)
    result[window] = found | (inner & edge & mixed)
    return result


def _lip_side(xy: np.ndarray, height: int, width: int) -> np.ndarray:
    """Return which side of the mouth line each pixel near the mouth lies on (+1 upper)."""
    middle = (xy[list(UPPER_LIP_INNER)] + xy[list(LOWER_LIP_INNER)]) / 2
    axis = middle[-1] - middle[0]
    length = float(np.linalg.norm(axis)) + 1e-6
    axis = axis / length
    down = np.array([-axis[1], axis[0]])
    along = (middle - middle[0]) @ axis
    order = np.argsort(along)
    grid = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), -1)
    u = (grid - middle[0]) @ axis
    v = (grid - middle[0]) @ down
    line = np.interp(u, along[order], ((middle - middle[0]) @ down)[order])
    near = (u > 0) & (u < length) & (np.abs(v - line) < 0.5 * length)
    return np.where(near, np.where(v < line, 1, -1), 0).astype(np.int8)


def _extend(
    index: np.ndarray,
    weight: np.ndarray,
    inside: np.ndarray,
    layer: np.ndarray,
    side: np.ndarray,
    *,
    decay_px: float,
) -> None:
    """Give pixels off the mesh the binding of the nearest mesh pixel (in place).

    Between closed lips the nearest pixel is sought on the pixel's own side of the mouth line.
    """
    flat_index, flat_weight = index.reshape(-1, 3), weight.reshape(-1, 3)
    mouth = ~inside & (side != 0) & (layer == SKIN)
    for own_side in (1, -1):
        target = mouth & (side == own_side)
        _copy_nearest(flat_index, flat_weight, inside & (side == own_side), target, None)
    outside = ~inside & (layer == SKIN) & ~mouth
    _copy_nearest(flat_index, flat_weight, inside, outside, decay_px)


def _copy_nearest(
    index: np.ndarray,
    weight: np.ndarray,
    known: np.ndarray,
    target: np.ndarray,
    decay_px: float | None,
) -> None:
    if not known.any() or not target.any():
        return
    distance, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    source = np.zeros(labels.max() + 1, np.int64)
    source[labels[known]] = np.flatnonzero(known)
    rows = np.flatnonzero(target)
    nearest = source[labels.ravel()[rows]]
    fade = np.ones(len(rows), np.float32)
    if decay_px is not None:
        fade = np.exp(-distance.ravel()[rows] / decay_px).astype(np.float32)
    index[rows] = index[nearest]
    weight[rows] = weight[nearest] * fade[:, None]
