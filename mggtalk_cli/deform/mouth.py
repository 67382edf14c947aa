"""The inside of the mouth: cavity, teeth and tongue of the face model, behind the lips.

Teeth and tongue are looked at through a wide open mouth from the photo's camera, drawn on the
photo's pixel lattice and bound to their own control vertices: lower teeth and tongue follow the
jaw, upper teeth the skull. Colours are procedural, lit like the photo's skin; everything darkens
towards the throat.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.expression import ARKIT_INDEX, LANDMARK_COUNT
from mggtalk_cli.core.image import LUMA
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.landmark_groups import FACE_OVAL, TRIANGLES
from mggtalk_cli.core.mesh import rasterize_mesh
from mggtalk_cli.core.sheet import GATE_MOUTH, Sheet, skull_sheet
from mggtalk_cli.deform.aperture import signed_distance
from mggtalk_cli.deform.teeth import ARCHES, crowns

# Albedo of the parts under white light, sRGB 0..1.
TEETH_RGB = (0.86, 0.83, 0.77)
GUM_RGB, GUM_LIGHT = (0.62, 0.33, 0.33), 0.6
TONGUE_RGB = (0.72, 0.36, 0.36)
CAVITY_RGB = (0.11, 0.045, 0.042)

# Light on skin that is less tinted than this comes from a black-and-white photo.
GREY_TINT = 0.03

# The dark back of the mouth: the face's own surface pushed to this far behind the lips, and at
# least this far behind itself, cm; up to this height above and below the lips at rest, cm. It ends
# this far within the outline of the face and fades over as much. From aside the lips show what
# lies far beside them; it must be dark as well, yet stay within the head.
CAVITY_DEPTH_CM, CAVITY_UNDER_SKIN_CM, CAVITY_HALF_CM, CAVITY_RIM_CM = 5.2, 1.0, 2.6, 0.5

# The parts start this far behind the lips, cm, so that the lips always cover them.
PART_SETBACK_CM = 0.35

# The parts are drawn as this opening of the jaw shows them: the top of the tongue and the lower
# teeth hide in a closed mouth.
SEEN_AT_JAW = 0.8

# Light fades by 1/e over this way from the front teeth to the throat, cm.
TEETH_FADE_CM, TONGUE_FADE_CM = 1.6, 1.1

# Light falls in from the front and a little from above (head frame).
LIGHT = np.array([0.0, 0.55, 0.83])

# Width of the tongue's soft outline in shares of the mouth's box.
SOFT = 0.03

# A wet tongue's highlight: how bright, how narrow.
GLOSS, GLOSS_POWER = 0.16, 24

# The face model's upper teeth sit hidden above the lip line; incisors of a speaking person show a
# few millimetres below it. Its lower teeth stand as high as the lip; they show little in speech.
PART_SHIFT_CM = {"teeth_upper": (0.0, -0.4, 0.0), "teeth_lower": (0.0, -0.22, 0.0)}

# A picture shows the upper incisors this far below the lip's edge; for this they move down by at
# most the second number, cm.
INCISORS_SHOW_CM, INCISORS_DOWN_CM = 0.35, 0.6
UPPER_LIP_MIDDLE, LOWER_LIP_MIDDLE = 13, 14

# Its tongue fills the mouth up to the palate and pokes through the teeth; a resting tongue lies
# between the lower teeth. Height and width are kept in these shares, the tip is drawn back by cm.
TONGUE_HEIGHT, TONGUE_WIDTH, TONGUE_BACK_CM = 0.5, 0.92, 0.55


class Palette(NamedTuple):
    """Colours (3,) in a photo's light: of teeth, gums, tongue and cavity, and the light itself."""

    teeth: np.ndarray
    gum: np.ndarray
    tongue: np.ndarray
    cavity: np.ndarray
    light: np.ndarray


def palette(light_rgb: np.ndarray, teeth_rgb: np.ndarray | None) -> Palette:
    """Return the colours in this light; the teeth have the photo's colour where it shows them."""
    teeth = tinted(TEETH_RGB, light_rgb) if teeth_rgb is None else teeth_rgb
    gum, tongue, cavity = (tinted(rgb, light_rgb) for rgb in (GUM_RGB, TONGUE_RGB, CAVITY_RGB))
    return Palette(teeth, GUM_LIGHT * gum, tongue, cavity, light_rgb)


class Part(NamedTuple):
    """One piece of the face model inside the mouth, in control-vertex indices.

    Attributes:
        name: "teeth_upper", "teeth_lower" or "tongue".
        triangles: (f, 3) int, indices into the controls.
    """

    name: str
    triangles: np.ndarray


def placed(name: str, vertices: np.ndarray) -> np.ndarray:
    """Return a part's (v, 3) vertices at rest (head frame, cm) where anatomy has them."""
    vertices = vertices + np.array(PART_SHIFT_CM.get(name, (0.0, 0.0, 0.0)), np.float32)
    if name == "tongue":
        floor = vertices[:, 1].min()
        shares = np.array([TONGUE_WIDTH, TONGUE_HEIGHT, 1.0], np.float32)
        origin = np.array([0.0, floor, TONGUE_BACK_CM], np.float32)
        vertices = (vertices - origin) * shares + origin * np.array([1, 1, 0], np.float32)
    return vertices.astype(np.float32)


def mouth_sheets(
    parts: list[Part],
    controls: np.ndarray,
    shapes: np.ndarray,
    *,
    camera: Camera,
    mouth_box: tuple[int, int, int, int],
    light_rgb: np.ndarray,
    teeth_rgb: np.ndarray | None = None,
) -> list[Sheet]:
    """Return the sheets behind the lips.

    Args:
        parts: teeth and tongue.
        controls: (c, 3) control rest positions, head frame, cm.
        shapes: (52, c, 3) their motion per unit of each coefficient, cm.
        camera: the photo's camera (world = head frame).
        mouth_box: x0, y0, x1, y1 in px: everything the open mouth may ever show.
        light_rgb: (3,) colour of the light on the skin, about 1 under full white light.
        teeth_rgb: (3,) colour of the teeth that the photo shows; None = it shows none.
    """
    colors = palette(light_rgb, teeth_rgb)
    shown = _show_incisors(parts, controls, camera)
    opened = controls + SEEN_AT_JAW * shapes[ARKIT_INDEX["jawOpen"]]
    sheets = [_cavity(controls, opened, camera, colors)]
    for part in parts:
        sheet = _part_sheet(part, controls, opened, camera, mouth_box, colors)
        if sheet is None:
            continue
        if part.name == "teeth_upper":
            sheet = replace(sheet, positions=sheet.positions + shown)
        sheets.append(sheet)
    return sheets


# A photo's teeth are the brighter ones of this many pixels or more between its lips; paler than
# their lips, and lit at least so.
SEEN_TEETH_PX, SEEN_TEETH_LIGHT, SEEN_TEETH_REDNESS = 40, 0.25, 0.3


def seen_teeth(image: np.ndarray, mouth: np.ndarray) -> np.ndarray | None:
    """Return (3,) the colour of the teeth that a photo shows, None where it shows too little.

    Args:
        image: (H, W, 3) float32 RGB photo.
        mouth: (H, W) bool, what lies between the lips.
    """
    pixels = image[mouth]
    if len(pixels) < SEEN_TEETH_PX:
        return None
    luminance = pixels @ LUMA
    bright = pixels[luminance >= np.percentile(luminance, 60)]
    teeth = np.median(bright, axis=0)
    pale = teeth[0] - teeth[1] < SEEN_TEETH_REDNESS * teeth[0]
    return teeth.astype(np.float32) if pale and teeth @ LUMA > SEEN_TEETH_LIGHT else None


def _show_incisors(parts: list[Part], controls: np.ndarray, camera: Camera) -> np.ndarray:
    """Return (3,) float32 how far the upper teeth move down so that a picture shows them, cm.

    Seen from above they vanish behind the lip; a small parting of the lips would look toothless.
    """
    upper = [np.unique(part.triangles) for part in parts if part.name == "teeth_upper"]
    if not upper:
        return np.zeros(3, np.float32)
    front = controls[upper[0]] + PART_SETBACK_CM * camera.viewmat[2, :3]
    front = front[front[:, 2] >= np.median(front[:, 2])]
    down = np.array([0.0, -1.0, 0.0], np.float32)
    lip = controls[UPPER_LIP_MIDDLE]
    seen, edge, unit = (
        camera.project(points)[..., :2] for points in (front, lip[None], lip[None] + down)
    )
    axis = (unit - edge)[0]
    below_cm = float(((seen - edge) @ axis).max() / max(float(axis @ axis), 1e-6))
    return down * np.float32(np.clip(INCISORS_SHOW_CM - below_cm, 0, INCISORS_DOWN_CM))


def _part_sheet(
    part: Part,
    controls: np.ndarray,
    opened: np.ndarray,
    camera: Camera,
    box: tuple[int, int, int, int],
    colors: Palette,
) -> Sheet | None:
    x0, y0, x1, y1 = box
    projected = camera.project(opened)
    which, bary, _ = rasterize_mesh(
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
    weight = bary * valid[..., None]
    rest, seen = ((weight[..., None] * at[index]).sum(-2) for at in (controls, opened))
    if part.name == "tongue":
        normals = (weight[..., None] * _normals(opened, part.triangles)[index]).sum(-2)
        color, cover = _tongue(seen, normals, valid, colors)
    else:
        color, cover = _teeth(part.name, rest, valid, colors)
    positions = rest + PART_SETBACK_CM * camera.viewmat[2, :3]
    return _sheet(part.name, positions, valid & (cover > 0.02), color, cover, index, weight)


def _normals(vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Return (c, 3) unit normals of the vertices that triangles use, towards the viewer."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    faces = np.cross(b - a, c - a)
    total = np.zeros_like(vertices)
    for corner in range(3):
        np.add.at(total, triangles[:, corner], faces)
    total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-9)
    return np.where(total[:, 2:] < 0, -total, total)


def _depth_fade(z: np.ndarray, valid: np.ndarray, fade_cm: float) -> np.ndarray:
    """Return (h, w) the share of light that reaches a depth z behind the foremost points."""
    nearest = float(np.percentile(z[valid], 97))
    return np.exp(-np.maximum(nearest - z, 0) / fade_cm)


def _teeth(
    name: str, rest: np.ndarray, valid: np.ndarray, colors: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """Return (h, w, 3) colours of crowns and gums, and (h, w) where there are any."""
    arch = ARCHES[name]
    coverage, shade, gum = crowns(arch, rest, valid)
    albedo = colors.teeth + gum[..., None] * (colors.gum - colors.teeth)
    shade = arch.light * shade * _depth_fade(rest[..., 2], valid, TEETH_FADE_CM)
    return (albedo * shade[..., None]).astype(np.float32), coverage * valid


def _tongue(
    seen: np.ndarray, normals: np.ndarray, valid: np.ndarray, colors: Palette
) -> tuple[np.ndarray, np.ndarray]:
    """Return (h, w, 3) colours of the tongue as the open mouth shows it, and its (h, w) cover."""
    facing = np.clip(normals @ (LIGHT / np.linalg.norm(LIGHT)), 0, 1)
    fade = _depth_fade(seen[..., 2], valid, TONGUE_FADE_CM)
    # The furrow along its middle.
    furrow = 1 - 0.16 * np.exp(-((seen[..., 0] / 0.14) ** 2)) * smoothstep(fade, 0.1, 0.7)
    half = LIGHT / np.linalg.norm(LIGHT) + np.array([0.0, 0.0, 1.0])
    gloss = GLOSS * np.clip(normals @ (half / np.linalg.norm(half)), 0, 1) ** GLOSS_POWER
    lit = colors.tongue * ((0.18 + 0.72 * facing) * furrow)[..., None]
    lit = lit + gloss[..., None] * colors.light.mean()
    color = colors.cavity + (lit - colors.cavity) * fade[..., None]
    # Its outline is soft: a round body turns away there, and the throat is out of focus.
    rim = cv2.GaussianBlur(valid.astype(np.float32), (0, 0), max(1.0, SOFT * valid.shape[1]))
    cover = smoothstep(rim, 0.45, 1.0) * smoothstep(fade, 0.03, 0.25)
    return color.astype(np.float32), cover * valid


def tinted(albedo: tuple[float, float, float], light_rgb: np.ndarray) -> np.ndarray:
    """Return (3,) albedo under the light; a grey photo's light (no tint at all) makes it grey."""
    color = np.array(albedo) * light_rgb
    tint = float(np.ptp(light_rgb) / max(light_rgb.max(), 1e-3))
    saturation = min(tint / GREY_TINT, 1.0)
    return color.mean() + (color - color.mean()) * saturation


def _cavity(controls: np.ndarray, opened: np.ndarray, camera: Camera, colors: Palette) -> Sheet:
    """Return the back of the mouth; it moves with the face before it.

    It is behind the skin wherever the mouth is shut, so no window limits it: seen from aside, a
    window judged from the front would leave a hole.
    """
    rest, seen = controls[:LANDMARK_COUNT], opened[:LANDMARK_COUNT]
    centre = rest[[UPPER_LIP_MIDDLE, LOWER_LIP_MIDDLE]].mean(0)
    spacing = float(camera.to_camera(centre)[2]) / camera.focal_px
    corner = np.array([seen[:, 0].min(), seen[:, 1].max()])
    across = (seen[:, :2] - corner) / spacing * np.array([1, -1])
    width, height = np.ceil(across.max(0)).astype(int) + 1
    which, bary, _ = rasterize_mesh(across, -seen[:, 2], TRIANGLES, height=height, width=width)
    index = TRIANGLES[np.maximum(which, 0)]
    weight = bary * (which >= 0)[..., None]
    positions = (weight[..., None] * rest[index]).sum(-2)
    near = np.abs(positions[..., 1] - centre[1]) < CAVITY_HALF_CM
    back = np.minimum(centre[2] - CAVITY_DEPTH_CM, positions[..., 2] - CAVITY_UNDER_SKIN_CM)
    positions = np.concatenate([positions[..., :2], back[..., None]], -1)
    # Nothing of it may look out beside a turned face.
    outline = camera.project(rest[list(FACE_OVAL)])[:, :2]
    at = camera.project(positions)[..., :2].reshape(-1, 2)
    within_cm = spacing * signed_distance(at, outline).reshape(which.shape)
    color = np.broadcast_to(colors.cavity, positions.shape)
    return skull_sheet(
        "cavity",
        positions,
        (which >= 0) & near & (within_cm > CAVITY_RIM_CM),
        color,
        0.95 * smoothstep(within_cm, CAVITY_RIM_CM, 2 * CAVITY_RIM_CM),
        index=index,
        weight=weight,
    )


def _sheet(
    name: str,
    positions: np.ndarray,
    valid: np.ndarray,
    color: np.ndarray,
    cover: np.ndarray,
    index: np.ndarray,
    weight: np.ndarray,
) -> Sheet:
    return skull_sheet(
        name, positions, valid, color, 0.95 * cover, gate=GATE_MOUTH, index=index, weight=weight
    )
