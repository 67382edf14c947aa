"""Where the lips part in the photo: inner lip landmarks moved onto the edge that is seen.

Detected inner lips are often a few pixels off: a rim of teeth then sticks to a lip, or a lip hangs
inside the mouth. Along each line across the mouth the opening is the stretch that looks least like
lip (dark, or as pale as teeth) and lies near the detected one; lips that touch part at their
darkest line.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.landmark_groups import (
    LOWER_LIP_INNER,
    LOWER_LIP_OUTER,
    UPPER_LIP_INNER,
    UPPER_LIP_OUTER,
)

# The rows of lip landmarks behind the inner ones, and their share of an inner one's correction.
UPPER_ROWS = (
    ((78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308), 1.0),
    ((62, 183, 42, 41, 38, 12, 268, 271, 272, 407, 292), 0.6),
    ((76, 184, 74, 73, 72, 11, 302, 303, 304, 408, 306), 0.25),
)
LOWER_ROWS = (
    ((78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308), 1.0),
    ((62, 96, 89, 179, 86, 15, 316, 403, 319, 325, 292), 0.6),
    ((76, 77, 90, 180, 85, 16, 315, 404, 320, 307, 306), 0.25),
)

# A correction is at most this share of the mouth's width; it fades out over this share of it at
# the corners.
REACH, CORNER = 0.07, 0.12

# Lips less red (a of CIE Lab) than this cannot be told from teeth by colour.
GREY_REDNESS = 8.0

# Mouths smaller than this, px, show too little.
SMALL_PX = 16.0

# Less of an opening than this (px) is none: the lips touch.
TOUCHING_PX = 1.2


class _Strip(NamedTuple):
    """The photo around the mouth line, straightened: columns along it, rows across it.

    Attributes:
        lab: (r, n, 3) CIE Lab.
        across: (r,) px of each row off the detected mouth line, downwards.
        upper: (n,) detected upper inner lip, px off the mouth line; so `lower`.
        lower: see upper.
        upper_red: (r, n) bool, where the red of the upper lip is; so `lower_red`.
        lower_red: see upper_red.
    """

    lab: np.ndarray
    across: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    upper_red: np.ndarray
    lower_red: np.ndarray


def snap_lips(image: np.ndarray, landmarks: np.ndarray, camera: Camera) -> np.ndarray:
    """Return the landmarks (468, 3; head frame, cm) with inner lips where the photo has them.

    Args:
        image: (H, W, 3) float32 RGB photo.
        landmarks: (468, 3) head frame, cm.
        camera: the photo's camera.
    """
    seen = camera.project(landmarks)
    xy = seen[:, :2].astype(np.float64)
    axis = xy[UPPER_LIP_INNER[-1]] - xy[UPPER_LIP_INNER[0]]
    length = float(np.linalg.norm(axis))
    if length < SMALL_PX:
        return landmarks
    axis /= length
    down = np.array([-axis[1], axis[0]])
    strip = _straighten(image, xy, axis, down, length)
    found = _opening(strip, REACH * length)
    if found is None:
        return landmarks
    along = (np.arange(len(strip.upper)) + 0.5) / len(strip.upper)
    taper = smoothstep(np.minimum(along, 1 - along), 0.0, CORNER)
    limit = REACH * length
    moved = landmarks.copy()
    edges = [
        given + taper * np.clip(wanted - given, -limit, limit)
        for wanted, given in zip(found, (strip.upper, strip.lower), strict=True)
    ]
    middle = (edges[0] + edges[1]) / 2
    for rows, edge, given in (
        (UPPER_ROWS, np.minimum(edges[0], middle), strip.upper),
        (LOWER_ROWS, np.maximum(edges[1], middle), strip.lower),
    ):
        shift = edge - given
        inner = (xy[list(rows[0][0])] - xy[UPPER_LIP_INNER[0]]) @ axis / length
        shift_px = np.interp(inner, along, shift)
        for row, share in rows:
            ids = list(row)[1:-1]
            step = share * shift_px[1:-1, None] * down * (seen[ids, 2:] / camera.focal_px)
            moved[ids] += step @ camera.viewmat[:2, :3]
    return moved.astype(landmarks.dtype)


def _straighten(
    image: np.ndarray, xy: np.ndarray, axis: np.ndarray, down: np.ndarray, length: float
) -> _Strip:
    """Return the photo in the mouth's own directions."""
    origin = xy[UPPER_LIP_INNER[0]]
    columns = np.linspace(0, length, max(12, round(length)))

    def at_columns(ids: tuple[int, ...]) -> np.ndarray:
        offset = xy[list(ids)] - origin
        order = np.argsort(offset @ axis)
        return np.interp(columns, (offset @ axis)[order], (offset @ down)[order])

    upper, lower = at_columns(UPPER_LIP_INNER), at_columns(LOWER_LIP_INNER)
    middle = (upper + lower) / 2
    outer_upper = at_columns(UPPER_LIP_OUTER) - middle
    outer_lower = at_columns(LOWER_LIP_OUTER) - middle
    reach = float(max(np.abs(outer_upper).max(), np.abs(outer_lower).max(), 4.0))
    across = np.arange(-reach, reach + 0.5, 0.5)
    at = origin + columns[:, None] * axis + (across[:, None] + middle)[..., None] * down
    at = (at - 0.5).astype(np.float32)
    lab = cv2.cvtColor(np.ascontiguousarray(image, np.float32), cv2.COLOR_RGB2Lab)
    lab = cv2.remap(lab, at[..., 0], at[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    upper, lower = np.minimum(upper - middle, 0), np.maximum(lower - middle, 0)
    row = across[:, None]
    rim = REACH / 2 * length
    return _Strip(
        lab,
        across,
        upper,
        lower,
        (row > outer_upper + 1) & (row < upper - rim),
        (row < outer_lower - 1) & (row > lower + rim),
    )


def _opening(strip: _Strip, reach: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (n,) upper and (n,) lower edge of the opening, px off the line; None = unclear."""
    light, red = strip.lab[..., 0], strip.lab[..., 1]
    if min(strip.upper_red.sum(), strip.lower_red.sum()) < 20:
        return None
    is_upper = strip.across[:, None] < 0
    redness, lightness = (
        np.where(is_upper, *(np.median(of[lip]) for lip in (strip.upper_red, strip.lower_red)))
        for of in (red, light)
    )
    if redness.min() < GREY_REDNESS:
        return None
    dark = smoothstep(-light / np.maximum(lightness, 1), -0.7, -0.4)
    pale = smoothstep(-red / redness, -0.75, -0.45) * smoothstep(light / lightness, 0.6, 0.9)
    off = np.maximum(strip.upper - strip.across[:, None], strip.across[:, None] - strip.lower)
    gain = np.maximum(dark, pale) - 0.5 - 0.6 * (np.maximum(off, 0) / reach) ** 2
    upper, lower, score = _best_stretch(gain, strip.across)
    # Where lips touch, they part at the darkest line.
    valley = light / np.maximum(lightness, 1) + 0.5 * (np.maximum(off, 0) / reach) ** 2
    line = strip.across[np.argmin(cv2.GaussianBlur(valley, (0, 0), 1.5), axis=0)]
    touching = score < TOUCHING_PX
    upper, lower = np.where(touching, line, upper), np.where(touching, line, lower)
    return _steady(upper), _steady(lower)


def _best_stretch(
    gain: np.ndarray, across: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return start, end and length (px) of the stretch of rows with the greatest total gain."""
    step = float(across[1] - across[0])
    total = np.concatenate([np.zeros((1, gain.shape[1])), np.cumsum(gain, axis=0)])
    lowest = np.minimum.accumulate(total, axis=0)
    end = np.argmax(total - lowest, axis=0)
    columns = np.arange(gain.shape[1])
    level = lowest[end, columns]
    start = np.argmax(total <= level + 1e-9, axis=0)
    edge = np.append(across, across[-1] + step) - step / 2
    return edge[start], edge[end], (end - start) * step


def _steady(edge: np.ndarray) -> np.ndarray:
    """Return (n,) an edge without leaps: running median, then a soft mean."""
    size = max(3, len(edge) // 10 * 2 + 1)
    padded = np.pad(edge, size // 2, mode="edge")
    median = np.median(np.lib.stride_tricks.sliding_window_view(padded, size), axis=-1)
    return cv2.GaussianBlur(median[None], (0, 0), max(1.0, len(edge) / 25)).ravel()
