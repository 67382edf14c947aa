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
from mggtalk_cli.core.image import LUMA
from mggtalk_cli.core.interpolation import smoothstep
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

# How far behind the eye's skin surface white and iris lie, cm; wherever the iris turns, it stays
# before the white.
WHITE_SETBACK_CM, IRIS_SETBACK_CM = 0.30, 0.10

# An eye's front turns with the face sideways, at most by this slope (dz/dx), and stands upright.
EYE_SLOPE = 0.3

# The iris disc is cut out this much larger than the detected iris: its dark rim belongs to it.
IRIS_MARGIN = 1.12

# Radius of the human eyeball, cm: gaze angle -> motion of the iris.
EYEBALL_RADIUS_CM = 1.2

# White of the eye when the photo shows none of it (relative to the light on the skin).
WHITE_RGB = (0.72, 0.69, 0.67)

# Next to the lids, up to this share of the eye's width, lashes and their shadow darken the eye,
# down to this share of its light.
LID_SHADOW, SHADOW_DARK = 0.12, 0.62

# Nearer to the lids than this share of the eye's width a photo shows lashes, not eye.
CLEAN = 0.055

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
        front: (h, w) float32 camera depth of the upright front of the eye, cm.
        grid: (h, w, 2) pixel positions in the photo.
        lids: (h, w) signed distance to the lid outline in px, positive inside.
        pixel: (h, w) int32 flat pixel index in the photo.
        eye_width: px.
        camera: the photo's camera.
    """

    image: np.ndarray
    depth: np.ndarray
    front: np.ndarray
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
    front = _eye_front(smooth, grid, lids, camera)
    return EyePatch(image[window], smooth, front, grid, lids, pixel, eye_width, camera)


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
    distance = np.linalg.norm(patch.grid - centre, axis=-1)
    disc = np.clip(radius + 0.5 - distance, 0, 1).astype(np.float32)
    white = _white(patch, distance > radius + 1, light_rgb)
    iris = _iris(patch, distance, radius)
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
        before_cm: how far it lies before the face's surface, cm; behind it, before the front of
            the eye.
        gate: a GATE_ code.
        pixel: (h, w) int32 pixels of the photo that show it, None for none.
    """
    surface = patch.depth if before_cm > 0 else patch.front
    return skull_sheet(
        name,
        patch.camera.unproject(patch.grid, surface - before_cm),
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


def _eye_front(depth: np.ndarray, grid: np.ndarray, lids: np.ndarray, camera: Camera) -> np.ndarray:
    """Return (h, w) the camera depth of the plane z = a + b x (head frame) through the open eye.

    The face's own surface leans: an iris that looks up along it would sink behind the white.
    """
    surface = camera.unproject(grid, depth)
    inside = lids > 0
    x, z = (surface[inside if inside.any() else slice(None)][..., axis] for axis in (0, 2))
    centre = float(x.mean())
    spread = float(((x - centre) ** 2).mean())
    slope = float(((x - centre) * (z - z.mean())).mean()) / max(spread, 1e-6)
    slope = float(np.clip(slope, -EYE_SLOPE, EYE_SLOPE))
    zeros = np.zeros_like(depth)
    origin = camera.unproject(grid, zeros)
    ray = camera.unproject(grid, zeros + 1) - origin
    ahead = z.mean() + slope * (origin[..., 0] - centre) - origin[..., 2]
    lean = ray[..., 2] - slope * ray[..., 0]
    lean = np.where(np.abs(lean) < 1e-3, -1e-3, lean)
    # Seen from far aside the plane runs away: it stays within a centimetre of the face.
    return np.clip(ahead / lean, depth - 1, depth + 1).astype(np.float32)


def _white(patch: EyePatch, off_iris: np.ndarray, light_rgb: np.ndarray) -> np.ndarray:
    """Return (h, w, 3) the white of the eye, continued under iris and lids."""
    image, lids = patch.image, patch.lids
    known = (lids > CLEAN * patch.eye_width) & off_iris
    if known.sum() < 12:
        base = np.broadcast_to(np.array(WHITE_RGB) * light_rgb, image.shape)
    else:
        # The brighter half: what the lids and the rim of the iris do not darken.
        luminance = image @ LUMA
        known &= luminance >= np.median(luminance[known])
        sigma = 0.15 * patch.eye_width
        weight = cv2.GaussianBlur(known.astype(np.float32), (0, 0), sigma) + 1e-6
        near = cv2.GaussianBlur(image * known[..., None].astype(np.float32), (0, 0), sigma)
        # Far from any white that is seen its mean has to do.
        few = 0.02
        base = (near + few * image[known].mean(0)) / (weight + few)[..., None]
    light = smoothstep(lids, 0.0, LID_SHADOW * patch.eye_width)
    filled = base * (SHADOW_DARK + (1 - SHADOW_DARK) * light)[..., None]
    return np.where(((lids > 1) & off_iris)[..., None], image, filled).astype(np.float32)


def _iris(patch: EyePatch, distance: np.ndarray, radius: float) -> np.ndarray:
    """Return (h, w, 3) iris colours; what the lids hide continues the rings that are seen."""
    image, lids = patch.image, patch.lids
    known = (lids > CLEAN * patch.eye_width) & (distance < radius + 1)
    if known.sum() < 6:
        known = (lids > 0.5) & (distance < radius + 1)
    if not known.any():
        return np.broadcast_to(np.array([0.2, 0.15, 0.12], np.float32), image.shape).copy()
    rings = np.arange(0, int(radius) + 2)
    profile = np.full((len(rings), 3), np.nan)
    for ring_px in rings:
        near = known & (np.abs(distance - ring_px) < 1.0)
        if near.sum() >= 3:
            profile[ring_px] = np.median(image[near], 0)
    seen = np.isfinite(profile[:, 0])
    if not seen.any():
        profile[:], seen[:] = np.median(image[known], 0), True
    rings_of = [np.interp(distance, rings[seen], profile[seen, c]) for c in range(3)]
    completed = np.stack(rings_of, -1)
    own = smoothstep(lids, 0.0, CLEAN * patch.eye_width)[..., None]
    return (own * image + (1 - own) * completed).astype(np.float32)


def eye_shift(residual_change: np.ndarray) -> np.ndarray:
    """Return (3,) float32 cm by which the eyes have moved with their corners.

    Args:
        residual_change: (468, 3) measured landmark motion beyond the face model, cm.
    """
    corners = [eye.upper[end] for eye in EYES for end in (0, -1)]
    return np.asarray(residual_change[corners].mean(0), np.float32)


def iris_shift(gaze_change_deg: np.ndarray) -> np.ndarray:
    """Return (3,) float32 motion of the iris in the head frame, cm, for a gaze change (2,)."""
    x, y = np.sin(np.radians(np.clip(gaze_change_deg, -35, 35)))
    return np.array([x, y, 0], np.float32) * np.float32(EYEBALL_RADIUS_CM)
