"""From a measured portrait to the sheets of a head: the building side of `pipeline.py`.

depth, normals -> surface -> front sheet, mirrored sheet, back shell, eyes, mouth -> flat arrays.
Each step is a stage function; here they are only put in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from mggtalk_cli import deform, face, head, inpaint
from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.image import LUMA
from mggtalk_cli.core.landmark_groups import TRIANGLES
from mggtalk_cli.core.rotation import angles_from_matrix, quaternion_from_matrix
from mggtalk_cli.core.sheet import (
    FlatSheets,
    Sheet,
    flatten,
    neighbours,
)
from mggtalk_cli.portrait import BuildOptions, Portrait, measure_portrait
from mggtalk_cli.sheets import back_sheet, beyond_border, cover_of, front_sheet, mirror_sheet


@dataclass(frozen=True)
class Controls:
    """The control mesh of one head: landmarks, then the mouth parts' vertices.

    Attributes:
        rest: (c, 3) float32 head frame, cm.
        shapes: (52, c, 3) float32 motion per unit of each coefficient, cm.
        parts: teeth and tongue as triangles of controls.
    """

    rest: np.ndarray
    shapes: np.ndarray
    parts: list[deform.Part]


# Part codes of the face model that lie inside the mouth.
MOUTH_PARTS = {3: "tongue", 4: "teeth_upper", 5: "teeth_lower"}


def control_mesh(fit: face.FaceFit) -> Controls:
    """Return the controls of a fitted face; landmarks project onto the detected ones."""
    model = face.load_face_model()
    beta = fit.state.beta
    rest = [fit.landmarks_head]
    shapes = [model.landmark_expression]
    relaxed = model.vertices(np.zeros_like(beta), fit.identity)
    parts, offset = [], len(fit.landmarks_head)
    for code, name in MOUTH_PARTS.items():
        triangles = model.triangles[model.part == code].astype(np.int64)
        used = np.unique(triangles)
        motion = model.expression[:, used]
        placed = deform.placed(name, relaxed[used])
        rest.append(placed + np.einsum("k,kcd->cd", beta, motion))
        shapes.append(motion)
        parts.append(deform.Part(name, np.searchsorted(used, triangles) + offset))
        offset += len(used)
    controls = np.concatenate(rest).astype(np.float32)
    moved = deform.within_reach(controls, np.concatenate(shapes, 1).astype(np.float32))
    return Controls(controls, moved, parts)


def light_on_skin(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return (3,) float32 light colour: what white would look like where the face is lit.

    Taken from the brightest skin, so that dark skin in good light still gets white teeth.
    """
    bright = np.percentile(image[inside], 97, axis=0) if inside.any() else np.full(3, 0.8)
    luminance = float(bright @ LUMA)
    level = np.clip(luminance / 0.85, 0.45, 1.1)
    tint = np.clip(bright / max(luminance, 1e-3), 0.7, 1.3)
    return (level * tint**0.8).astype(np.float32)


def visible_surface(
    portrait: Portrait, options: BuildOptions, refiner: head.Refiner = head.no_refinement
) -> tuple[head.HeadView, head.Surface]:
    """Return what is known of the portrait, and its integrated and refined surface."""
    landmarks, camera = portrait.fit.landmarks_head, portrait.camera
    view = head.head_view(portrait.matte, landmarks, *visible_mesh(portrait.fit), camera)
    maps = head.MapFiles(
        options.depth_file, options.normals_file, portrait.crop_box, portrait.photo_size
    )
    estimate = head.estimate(view, options.depth, files=maps)
    image = portrait.image.astype(np.float32) / 255
    surface = head.build_surface(view, camera, **estimate._asdict(), rgb=image, refiner=refiner)
    return view, surface


def build_sheets(
    portrait: Portrait, controls: Controls, options: BuildOptions, refiner: head.Refiner
) -> tuple[list[Sheet], np.ndarray]:
    """Return all sheets of the head, the front one first, and the plate (H, W, 3) behind them."""
    camera, landmarks = portrait.camera, portrait.fit.landmarks_head
    image = portrait.image.astype(np.float32) / 255
    view, surface = visible_surface(portrait, options, refiner)
    binding = deform.bind_face(image, camera.project(landmarks), landmarks)
    cover = cover_of(surface, portrait.matte, landmarks, camera)
    plate = inpaint.fill_behind(image, cover.alpha, cover.head_weight)
    front = front_sheet(image, plate, cover, surface.links, binding)
    light = light_on_skin(image, view.face)
    sheets = [front, *beyond_border(front)]
    gain = head.symmetry_gain(float(angles_from_matrix(portrait.fit.state.rotation)[0]))
    if gain > 0:
        sheets.append(mirror_sheet(front, view, portrait, gain, options))
    eye_row = int(portrait.points[[33, 263], 1].mean())
    sheets.append(back_sheet(front, landmarks, eye_row))
    sheets += eyes(portrait, image, surface.depth, light)
    box = mouth_box(camera.project(landmarks), camera)
    sheets += deform.mouth_sheets(
        controls.parts,
        controls.rest,
        controls.shapes,
        camera=camera,
        mouth_box=box,
        light_rgb=light,
        teeth_rgb=deform.seen_teeth(image, binding.layer == deform.MOUTH),
    )
    return sheets, plate


def visible_mesh(fit: face.FaceFit) -> tuple[np.ndarray, np.ndarray]:
    """Return vertices (V, 3) and triangles (F, 3) of the fitted head as a closed surface.

    The face model is hollow behind lips and lids; lids of landmark triangles close it, so that
    the depth of the mouth and of the eyes is that of the face's surface.
    """
    model = face.load_face_model()
    vertices = model.vertices(fit.state.beta, fit.identity)
    skin = model.triangles[model.part == 0]
    rings = (deform.MOUTH_RING, deform.EYE_RIGHT_RING, deform.EYE_LEFT_RING)
    lids = [t for ring in rings for t in TRIANGLES[np.isin(TRIANGLES, ring).all(1)]]
    return (
        np.concatenate([vertices, fit.landmarks_head]),
        np.concatenate([skin, np.array(lids) + len(vertices)]),
    )


def eyes(
    portrait: Portrait, image: np.ndarray, depth: np.ndarray, light: np.ndarray
) -> list[Sheet]:
    """Return white, iris, lid and lashes of both eyes."""
    sheets = []
    for eye in deform.EYES:
        patch = deform.eye_patch(eye, image, depth, portrait.points, portrait.camera)
        sheets += deform.eye_sheets(eye, patch, portrait.points, light)
        sheets += deform.lid_sheets(eye, patch, portrait.points)
    return sheets


def with_seen_lips(portrait: Portrait) -> Portrait:
    """Return the portrait with inner lips where its photo shows them."""
    image = portrait.image.astype(np.float32) / 255
    lips = deform.snap_lips(image, portrait.fit.landmarks_head, portrait.camera)
    return replace(portrait, fit=replace(portrait.fit, landmarks_head=lips))


def mouth_box(landmarks_px: np.ndarray, camera: Camera) -> tuple[int, int, int, int]:
    """Return x0, y0, x1, y1 px of all that the widest open mouth may show."""
    left, right = landmarks_px[[78, 308], :2]
    width = float(np.linalg.norm(right - left))
    xs = (min(left[0], right[0]) - 0.4 * width, max(left[0], right[0]) + 0.4 * width)
    ys = (landmarks_px[13, 1] - 0.4 * width, landmarks_px[152, 1] + 0.6 * width)
    x0, x1 = np.clip(np.round(xs), 0, camera.width).astype(int)
    y0, y1 = np.clip(np.round(ys), 0, camera.height).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


class Assembled(NamedTuple):
    """A head ready to be written: its camera, framing, sheets and header arrays.

    `pixel` (m,) int32 is the photo's pixel that shows each point, -1 for none.
    """

    camera: Camera
    crop_box: tuple[float, float, float, float]
    sheet_names: list[str]
    arrays: dict[str, np.ndarray]
    pixel: np.ndarray


def assemble(
    photo: np.ndarray, options: BuildOptions, refiner: head.Refiner = head.no_refinement
) -> Assembled:
    """Return everything a head artifact holds, colours not yet compensated.

    Args:
        photo: (H, W, 3) uint8 RGB.
        options: what the user chose.
        refiner: gives depth offsets on the integrated surface.
    """
    portrait = with_seen_lips(measure_portrait(photo, options))
    controls = control_mesh(portrait.fit)
    sheets, plate = build_sheets(portrait, controls, options, refiner)
    flat = flatten(sheets)
    points = flat.columns
    front = sheets[0].valid
    follow = deform.torso_follow_map(*front.shape)[front]
    state = portrait.fit.state
    arrays = {
        "image": portrait.image,
        "plate": to_bytes(plate),
        "matte": to_bytes(portrait.matte),
        "grid_shape": flat.grid_shape,
        "valid": flat.valid,
        "links": flat.links,
        "positions": points["positions"],
        "normals": point_normals(flat),
        "color": points["color"],
        "opacity": points["opacity"],
        "head_weight": points["head_weight"],
        "rig_index": points["index"].astype(np.uint16),
        "rig_weight": points["weight"],
        "rig_gate": points["gate"],
        "rig_iris": np.concatenate(
            [np.full(s.valid.sum(), s.name.startswith("iris")) for s in sheets]
        ),
        "rig_torso_follow": np.pad(follow, (0, len(points["opacity"]) - len(follow))),
        "rig_controls": controls.rest,
        "rig_shapes": controls.shapes.astype(np.float16),
        "rig_source_beta": state.beta,
        "rig_source_rotation": quaternion_from_matrix(state.rotation).astype(np.float32),
        "rig_source_translation": state.translation,
        "rig_source_gaze": state.gaze,
    }
    names = [sheet.name for sheet in sheets]
    return Assembled(portrait.camera, portrait.crop_box, names, arrays, points["pixel"])


def to_bytes(picture: np.ndarray) -> np.ndarray:
    """Return a 0..1 picture as uint8."""
    return (np.clip(picture, 0, 1) * 255).round().astype(np.uint8)


def point_normals(flat: FlatSheets) -> np.ndarray:
    """Return (m, 3) float32 unit normals of the flattened points, towards +z, head frame."""
    near = neighbours(flat.grid_shape, flat.valid, flat.links)
    points = flat.columns["positions"]
    across = points[near.right] - points[near.left]
    down = points[near.down] - points[near.up]
    normals = np.cross(down, across)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(length > 1e-9, normals / np.maximum(length, 1e-9), [0.0, 0.0, 1.0])
    return np.where(normals[:, 2:] < 0, -normals, normals).astype(np.float32)
