"""The inside of the mouth: cavity, teeth and tongue of the face model, behind the lips.

The model's teeth and tongue are seen from the photo's camera and become small sheets on the
photo's pixel lattice, bound to their own control vertices: lower teeth and tongue follow the jaw,
upper teeth the skull. Colours are procedural, lit like the photo's skin.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mggtalk_cli.core.camera import Camera, pixel_grid
from mggtalk_cli.core.mesh import rasterize_mesh
from mggtalk_cli.core.sheet import GATE_MOUTH, Sheet, skull_sheet

# Albedo of the parts under white light, sRGB 0..1.
TEETH_RGB = (0.84, 0.81, 0.75)
TONGUE_RGB = (0.60, 0.33, 0.32)
CAVITY_RGB = (0.20, 0.09, 0.085)

# The mouth is lit less than the skin in front of it.
TEETH_LIGHT, TONGUE_LIGHT = 0.85, 0.7

# Light on skin that is less tinted than this comes from a black-and-white photo.
GREY_TINT = 0.03

# How far behind the lips the dark back of the mouth lies, cm.
CAVITY_DEPTH_CM = 6.0

# The parts start this far behind the lips, cm, so that the lips always cover them.
PART_SETBACK_CM = 0.35


# The face model's upper teeth sit hidden above the lip line; incisors of a speaking person show
# a few millimetres below it.
PART_SHIFT_CM = {"teeth_upper": (0.0, -0.35, 0.0), "tongue": (0.0, 0.1, 0.4)}


class Part(NamedTuple):
    """One piece of the face model inside the mouth, in control-vertex indices.

    Attributes:
        name: "teeth_upper", "teeth_lower" or "tongue".
        triangles: (f, 3) int, indices into the controls.
    """

    name: str
    triangles: np.ndarray


def mouth_sheets(
    parts: list[Part],
    controls: np.ndarray,
    *,
    camera: Camera,
    mouth_box: tuple[int, int, int, int],
    light_rgb: np.ndarray,
) -> list[Sheet]:
    """Return the sheets behind the lips.

    Args:
        parts: teeth and tongue.
        controls: (c, 3) control rest positions, head frame, cm.
        camera: the photo's camera (world = head frame).
        mouth_box: x0, y0, x1, y1 in px: everything the open mouth may ever show.
        light_rgb: (3,) colour of the light on the skin, about 1 under full white light.
    """
    sheets = [_cavity(controls, camera, mouth_box, light_rgb)]
    for part in parts:
        sheet = _part_sheet(part, controls, camera, mouth_box, light_rgb)
        if sheet is not None:
            sheets.append(sheet)
    return sheets


def _part_sheet(
    part: Part,
    controls: np.ndarray,
    camera: Camera,
    box: tuple[int, int, int, int],
    light_rgb: np.ndarray,
) -> Sheet | None:
    x0, y0, x1, y1 = box
    projected = camera.project(controls)
    which, bary, depth = rasterize_mesh(
        projected[:, :2] - np.array([x0, y0], np.float32),
        projected[:, 2],
        part.triangles,
        height=y1 - y0,
        width=x1 - x0,
    )
    valid = which >= 0
    if valid.sum() < 4:
        return None
    index = part.triangles[np.maximum(which, 0)].astype(np.int32)
    depth = np.where(valid, depth, 0) + PART_SETBACK_CM
    grid = pixel_grid(y1 - y0, x1 - x0) + np.array([x0, y0], np.float32)
    positions = camera.unproject(grid, depth).astype(np.float32)
    color = _shade(part.name, positions, valid, light_rgb)
    return _sheet(part.name, positions, valid, color, index, bary * valid[..., None])


def _shade(
    name: str, positions: np.ndarray, valid: np.ndarray, light_rgb: np.ndarray
) -> np.ndarray:
    """Return (h, w, 3) colours: darker towards the back and the sides of the mouth."""
    z = positions[..., 2]
    nearest = float(np.percentile(z[valid], 95))
    fade = np.exp(-np.maximum(nearest - z, 0) / (1.2 if name != "tongue" else 2.0))
    if name == "tongue":
        tongue = tinted(TONGUE_RGB, light_rgb) * TONGUE_LIGHT
        return (tongue * fade[..., None]).astype(np.float32)
    x = positions[..., 0]
    # Incisors are about .85 cm wide above and .55 cm below: faint dark lines between them.
    tooth = 0.85 if name == "teeth_upper" else 0.55
    phase = np.abs(np.cos(np.pi * x / tooth)) if name == "teeth_lower" else None
    line = np.abs(np.sin(np.pi * x / tooth)) if phase is None else phase
    shade = fade * (0.88 + 0.12 * np.clip(line * 4, 0, 1))
    return (tinted(TEETH_RGB, light_rgb) * TEETH_LIGHT * shade[..., None]).astype(np.float32)


def tinted(albedo: tuple[float, float, float], light_rgb: np.ndarray) -> np.ndarray:
    """Return (3,) albedo under the light; a grey photo's light (no tint at all) makes it grey."""
    color = np.array(albedo) * light_rgb
    tint = float(np.ptp(light_rgb) / max(light_rgb.max(), 1e-3))
    saturation = min(tint / GREY_TINT, 1.0)
    return color.mean() + (color - color.mean()) * saturation


def _cavity(
    controls: np.ndarray,
    camera: Camera,
    box: tuple[int, int, int, int],
    light_rgb: np.ndarray,
) -> Sheet:
    x0, y0, x1, y1 = box
    grid = pixel_grid(y1 - y0, x1 - x0) + np.array([x0, y0], np.float32)
    lips = camera.project(controls[:468])[[13, 14], 2].mean()
    positions = camera.unproject(grid, np.full(grid.shape[:2], lips + CAVITY_DEPTH_CM, np.float32))
    shape = grid.shape[:2]
    color = np.broadcast_to(tinted(CAVITY_RGB, light_rgb), (*shape, 3)).astype(np.float32)
    return _sheet("cavity", positions, np.ones(shape, bool), color)


def _sheet(
    name: str,
    positions: np.ndarray,
    valid: np.ndarray,
    color: np.ndarray,
    index: np.ndarray | None = None,
    weight: np.ndarray | None = None,
) -> Sheet:
    opacity = np.full(valid.shape, 0.95)
    return skull_sheet(
        name, positions, valid, color, opacity, gate=GATE_MOUTH, index=index, weight=weight
    )
