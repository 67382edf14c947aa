"""Eyes: a white that reaches under the lids and an iris disc that turns with the gaze.

The photo shows only what the lids leave open. The white is continued under the lids, the iris is
completed to a full disc (hidden parts mirrored from visible ones); both sit just behind the skin
and show only inside the lid outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from mggtalk_cli.core.camera import Camera, pixel_grid
from mggtalk_cli.core.landmark_groups import (
    EYE_LEFT_LOWER,
    EYE_LEFT_UPPER,
    EYE_RIGHT_LOWER,
    EYE_RIGHT_UPPER,
    IRIS_LEFT,
    IRIS_RIGHT,
)
from mggtalk_cli.core.sheet import (
    GATE_EYE_LEFT,
    GATE_EYE_RIGHT,
    GATE_LID_LEFT,
    GATE_LID_RIGHT,
    Sheet,
    skull_sheet,
)
from mggtalk_cli.deform.aperture import signed_distance
from mggtalk_cli.deform.binding import ring

# How far behind the eye's skin surface white and iris lie, cm.
WHITE_SETBACK_CM, IRIS_SETBACK_CM = 0.16, 0.10

# The iris disc is cut out this much larger than the detected iris: its dark rim belongs to it.
IRIS_MARGIN = 1.12

# Radius of the human eyeball, cm: gaze angle -> motion of the iris.
EYEBALL_RADIUS_CM = 1.2

# White of the eye when the photo shows none of it (relative to the light on the skin).
WHITE_RGB = (0.72, 0.69, 0.67)

# A patch around the eye reaches this share of the eye's width beyond its outline.
PATCH_MARGIN = 0.25


@dataclass(frozen=True)
class Eye:
    """Which landmarks and gates belong to one eye of the subject.

    Attributes:
        side: "right" or "left".
        upper: landmarks of the upper lid's edge from corner to corner; so `lower`.
        lower: see upper.
        iris: iris centre and four rim points.
        gate: what shows through the open lids.
        lid_gate: what the closed lids have come to cover.
    """

    side: str
    upper: tuple[int, ...]
    lower: tuple[int, ...]
    iris: tuple[int, ...]
    gate: int
    lid_gate: int

    @property
    def ring(self) -> np.ndarray:
        """The lid outline as a closed polygon of landmarks."""
        return ring(self.upper, self.lower)


EYES = (
    Eye("right", EYE_RIGHT_UPPER, EYE_RIGHT_LOWER, IRIS_RIGHT, GATE_EYE_RIGHT, GATE_LID_RIGHT),
    Eye("left", EYE_LEFT_UPPER, EYE_LEFT_LOWER, IRIS_LEFT, GATE_EYE_LEFT, GATE_LID_LEFT),
)


@dataclass(frozen=True)
class EyePatch:
    """The photo around one eye, on its own pixel lattice.

    Attributes:
        image: (h, w, 3) float32 colours.
        depth: (h, w) float32 smooth camera depth of the face over the eye, cm.
        grid: (h, w, 2) pixel positions in the photo.
        lids: (h, w) signed distance to the lid outline in px, positive inside.
        pixel: (h, w) int32 flat pixel index in the photo.
        eye_width: px.
        camera: the photo's camera.
    """

    image: np.ndarray
    depth: np.ndarray
    grid: np.ndarray
    lids: np.ndarray
    pixel: np.ndarray
    eye_width: float
    camera: Camera


def eye_patch(
    eye: Eye, image: np.ndarray, depth: np.ndarray, points_px: np.ndarray, camera: Camera
) -> EyePatch:
    """Return the photo around an eye.

    Args:
        eye: which one.
        image: (H, W, 3) float32 photo.
        depth: (H, W) float32 camera depth of the surface, cm; NaN off the person.
        points_px: (478, 2 or 3) landmarks in px.
        camera: the photo's camera.
    """
    outline = points_px[eye.ring, :2]
    height, width = depth.shape
    eye_width = float(np.ptp(outline[:, 0]))
    margin = PATCH_MARGIN * eye_width + 3
    x0, y0 = np.clip(np.floor(outline.min(0) - margin), 0, [width - 2, height - 2]).astype(int)
    x1, y1 = np.clip(np.ceil(outline.max(0) + margin), [x0 + 2, y0 + 2], [width, height]).astype(
        int
    )
    window = (slice(y0, y1), slice(x0, x1))
    grid = pixel_grid(y1 - y0, x1 - x0) + np.array([x0, y0], np.float32)
    lids = signed_distance(grid.reshape(-1, 2), outline).reshape(grid.shape[:2])
    pixel = np.arange(height * width, dtype=np.int32).reshape(height, width)[window]
    smooth = _smooth_depth(depth[window])
    return EyePatch(image[window], smooth, grid, lids, pixel, eye_width, camera)


def eye_sheets(
    eye: Eye, patch: EyePatch, points_px: np.ndarray, light_rgb: np.ndarray
) -> list[Sheet]:
    """Return the sheets "white_SIDE" and "iris_SIDE" of one eye.

    Args:
        eye: which one.
        patch: the photo around it.
        points_px: (478, 2 or 3) landmarks in px.
        light_rgb: (3,) light on the skin.
    """
    iris_px = points_px[list(eye.iris), :2]
    centre = iris_px[0]
    radius = float(np.linalg.norm(iris_px[1:] - centre, axis=1).mean()) * IRIS_MARGIN
    off_iris = np.linalg.norm(patch.grid - centre, axis=-1) > radius + 1
    white = _white(patch.image, patch.lids, off_iris, light_rgb)
    iris, disc = _iris(patch.image, patch.lids, patch.grid, centre, radius)
    seen = np.where(patch.lids > 0.5, patch.pixel, -1)
    return [
        patch_sheet(
            f"white_{eye.side}",
            patch,
            white,
            opacity=np.ones(disc.shape),
            before_cm=-WHITE_SETBACK_CM,
            gate=eye.gate,
            pixel=np.where(disc < 0.5, seen, -1),
        ),
        patch_sheet(
            f"iris_{eye.side}",
            patch,
            iris,
            opacity=disc,
            before_cm=-IRIS_SETBACK_CM,
            gate=eye.gate,
            pixel=np.where(disc >= 0.5, seen, -1),
        ),
    ]


def patch_sheet(
    name: str,
    patch: EyePatch,
    color: np.ndarray,
    *,
    opacity: np.ndarray,
    before_cm: float,
    gate: int,
    pixel: np.ndarray | None = None,
) -> Sheet:
    """Return a sheet of the patch's pixels that stays with the skull.

    Args:
        name: of the sheet.
        patch: where it lies.
        color: (h, w, 3) float32.
        opacity: (h, w) 0..1; 0 = no point.
        before_cm: how far it lies before the face's surface, cm.
        gate: a GATE_ code.
        pixel: (h, w) int32 pixels of the photo that show it, None for none.
    """
    return skull_sheet(
        name,
        patch.camera.unproject(patch.grid, patch.depth - before_cm),
        opacity > 0.02,
        color,
        0.95 * opacity,
        gate=gate,
        pixel=pixel,
    )


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


def iris_shift(gaze_change_deg: np.ndarray) -> np.ndarray:
    """Return (3,) float32 motion of the iris in the head frame, cm, for a gaze change (2,)."""
    x, y = np.sin(np.radians(np.clip(gaze_change_deg, -35, 35)))
    return np.array([x, y, 0], np.float32) * np.float32(EYEBALL_RADIUS_CM)
