"""Eyes: a white under the lids, an iris disc that turns with the gaze, and lid skin for blinks.

The photo shows only what the lids leave open. The white is continued under the lids, the iris is
completed to a full disc (hidden parts mirrored from visible ones), both sit just behind the skin
and show only inside the lid outline. The lid itself is hidden in an open eye: stretching the few
pixels above the lashes smears them, so a patch of the surrounding skin's colour shows wherever the
lid has come down.
"""

from __future__ import annotations

from functools import partial

import cv2
import numpy as np

from mggtalk_cli.core.camera import Camera, pixel_grid
from mggtalk_cli.core.sheet import Sheet, grid_links
from mggtalk_cli.deform.aperture import signed_distance

# How far behind the eye's skin surface white and iris lie, cm.
WHITE_SETBACK_CM, IRIS_SETBACK_CM = 0.16, 0.10

# Lid skin lies this far before the eye's surface, cm: over smeared lashes, under nothing.
LID_RELIEF_CM = 0.4

# Lid skin reaches this far beyond the lid outline (share of the eye's width): outlines are often
# a little tighter than the eye.
LID_MARGIN = 0.2

# The iris disc is cut out this much larger than the detected iris: its dark rim belongs to it.
IRIS_MARGIN = 1.12

# Radius of the human eyeball, cm: gaze angle -> motion of the iris.
EYEBALL_RADIUS_CM = 1.2

# White of the eye when the photo shows none of it (relative to the light on the skin).
WHITE_RGB = (0.72, 0.69, 0.67)


def eye_sheets(
    image: np.ndarray,
    depth: np.ndarray,
    *,
    side: str,
    ring_px: np.ndarray,
    iris_px: np.ndarray,
    camera: Camera,
    gate: int,
    lid_gate: int,
    light_rgb: np.ndarray,
) -> list[Sheet]:
    """Return the sheets "white_SIDE", "iris_SIDE" and "lid_SIDE" of one eye.

    Args:
        image: (H, W, 3) float32 photo.
        depth: (H, W) float32 camera depth of the surface over the eye, cm.
        side: "right" or "left" (the subject's).
        ring_px: (k, 2) lid outline in px.
        iris_px: (5, 2) iris centre and four rim points in px.
        camera: the photo's camera.
        gate: GATE_EYE_RIGHT or GATE_EYE_LEFT.
        lid_gate: GATE_LID_RIGHT or GATE_LID_LEFT.
        light_rgb: (3,) light on the skin.
    """
    height, width = depth.shape
    span = np.ptp(ring_px, axis=0)
    margin = 0.25 * span[0] + 3
    x0, y0 = np.maximum(np.floor(ring_px.min(0) - margin), 0).astype(int)
    x1, y1 = np.minimum(np.ceil(ring_px.max(0) + margin), [width, height]).astype(int)
    patch = image[y0:y1, x0:x1]
    grid = pixel_grid(y1 - y0, x1 - x0) + np.array([x0, y0], np.float32)
    shape = grid.shape[:2]
    lids = signed_distance(grid.reshape(-1, 2), ring_px).reshape(shape)
    centre = iris_px[0]
    radius = float(np.linalg.norm(iris_px[1:] - centre, axis=1).mean()) * IRIS_MARGIN
    from_iris = np.linalg.norm(grid - centre, axis=-1)
    white = _white(patch, lids, from_iris > radius + 1, light_rgb)
    iris, disc = _iris(patch, lids, grid, centre, radius)
    base = _smooth_depth(depth[y0:y1, x0:x1])
    near = lids > -margin
    pixel = np.arange(height * width, dtype=np.int32).reshape(height, width)[y0:y1, x0:x1]
    open_eye = np.where(lids > 0.5, pixel, -1)
    make = partial(_sheet, camera=camera, grid=grid)
    return [
        make(
            f"white_{side}",
            base + WHITE_SETBACK_CM,
            near,
            white,
            np.ones(shape),
            gate=gate,
            pixel=np.where(disc < 0.5, open_eye, -1),
        ),
        make(
            f"iris_{side}",
            base + IRIS_SETBACK_CM,
            disc > 0.02,
            iris,
            disc,
            gate=gate,
            pixel=np.where(disc >= 0.5, open_eye, -1),
        ),
        make(
            f"lid_{side}",
            base - LID_RELIEF_CM,
            lids > -LID_MARGIN * span[0],
            _lid(patch, lids, span[0]),
            np.clip(1 + (lids + LID_MARGIN * span[0] * 0.6) / (LID_MARGIN * span[0] * 0.4), 0, 1),
            gate=lid_gate,
            pixel=np.full(shape, -1),
        ),
    ]


def _smooth_depth(depth: np.ndarray) -> np.ndarray:
    size = max(3, depth.shape[0] // 4 * 2 + 1)
    depth = np.where(np.isfinite(depth), depth, np.nanmedian(depth))
    return cv2.blur(depth, (size, size), borderType=cv2.BORDER_REPLICATE)


def _white(
    patch: np.ndarray, lids: np.ndarray, off_iris: np.ndarray, light_rgb: np.ndarray
) -> np.ndarray:
    known = (lids > 1.0) & off_iris
    if known.sum() < 12:
        return np.broadcast_to(np.array(WHITE_RGB) * light_rgb, patch.shape).astype(np.float32)
    pixels = np.clip(patch * 255, 0, 255).round().astype(np.uint8)
    filled = cv2.inpaint(pixels, (~known).astype(np.uint8), 3, cv2.INPAINT_TELEA)
    soft = cv2.GaussianBlur(filled, (0, 0), 1.5).astype(np.float32) / 255
    return np.where(known[..., None], patch, soft).astype(np.float32)


def _lid(patch: np.ndarray, lids: np.ndarray, eye_width: float) -> np.ndarray:
    """Return (h, w, 3) skin colours continued over the eye from the bright skin around it."""
    margin = LID_MARGIN * eye_width
    band = (lids < -0.7 * margin) & (lids > -2.2 * margin - 2)
    luminance = patch @ np.array([0.299, 0.587, 0.114], np.float32)
    # Brows, lashes and shadows are darker than most of the skin around the eye.
    known = band & (luminance > 0.85 * np.percentile(luminance[band], 75)) if band.any() else band
    if known.sum() < 12:
        return patch.astype(np.float32)
    pixels = np.clip(patch * 255, 0, 255).round().astype(np.uint8)
    filled = cv2.inpaint(pixels, (~known).astype(np.uint8), 5, cv2.INPAINT_TELEA)
    soft = cv2.GaussianBlur(filled, (0, 0), max(1.5, 0.08 * eye_width))
    return soft.astype(np.float32) / 255


def _iris(
    patch: np.ndarray, lids: np.ndarray, grid: np.ndarray, centre: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (h, w, 3) iris colours, completed under the lids, and its (h, w) soft disc."""
    offset = grid - centre
    distance = np.linalg.norm(offset, axis=-1)
    disc = np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)
    visible = (lids > 1.0).astype(np.float32)
    color, weight = patch * visible[..., None], visible.copy()
    origin = grid[0, 0]
    for flip in ((1, -1), (-1, 1), (-1, -1)):
        source = (centre + offset * np.array(flip, np.float32) - origin).astype(np.float32)
        other = cv2.remap(patch.astype(np.float32), source, None, cv2.INTER_LINEAR)
        seen = cv2.remap(visible, source, None, cv2.INTER_LINEAR)
        use = np.where(weight < 0.5, np.where(seen > 0.95, 1, 0), 0).astype(np.float32)
        color += use[..., None] * other
        weight += use
    known = (weight > 0.5) & (disc > 0)
    mean = color[known].mean(0) if known.any() else np.array([0.2, 0.15, 0.12], np.float32)
    color = np.where(known[..., None], color / np.maximum(weight, 1)[..., None], mean)
    return color.astype(np.float32), disc


def _sheet(
    name: str,
    depth: np.ndarray,
    valid: np.ndarray,
    color: np.ndarray,
    opacity: np.ndarray,
    *,
    camera: Camera,
    grid: np.ndarray,
    gate: int,
    pixel: np.ndarray,
) -> Sheet:
    shape = valid.shape
    nothing = np.zeros((*shape, 3), np.float32)
    return Sheet(
        name=name,
        positions=camera.unproject(grid, depth).astype(np.float32),
        valid=valid,
        links=grid_links(valid),
        color=color,
        opacity=(0.95 * opacity).astype(np.float32),
        index=nothing.astype(np.int32),
        weight=nothing,
        head_weight=np.ones(shape, np.float32),
        gate=np.full(shape, gate, np.uint8),
        pixel=pixel.astype(np.int32),
    )


def iris_shift(gaze_change_deg: np.ndarray) -> np.ndarray:
    """Return (3,) float32 motion of the iris in the head frame, cm, for a gaze change (2,)."""
    x, y = np.sin(np.radians(np.clip(gaze_change_deg, -35, 35)))
    return np.array([x, y, 0], np.float32) * np.float32(EYEBALL_RADIUS_CM)
