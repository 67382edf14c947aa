"""From a measured portrait to the sheets of a head: the building side of `pipeline.py`.

depth, normals -> surface -> front sheet, mirrored sheet, back shell, eyes, mouth -> flat arrays.
Each step is a stage function; here they are only put in order.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np

from mggtalk_cli import deform, face, head, inpaint
from mggtalk_cli.core.camera import Camera, pixel_grid
from mggtalk_cli.core.landmark_groups import MIRROR, TRIANGLES
from mggtalk_cli.core.rotation import angles_from_matrix, quaternion_from_matrix
from mggtalk_cli.core.sheet import (
    GATE_MOUTH,
    GATE_NONE,
    LINK_DOWN,
    LINK_RIGHT,
    FlatSheets,
    Sheet,
    flatten,
    grid_links,
    neighbours,
)
from mggtalk_cli.portrait import BuildOptions, Portrait, measure_portrait

# Opacity of a skin Gaussian: low enough that neighbours mix instead of covering each other in
# depth order (a lower value gives the photo back better), high enough that folds cover.
OPACITY = 0.85


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
    vertices = model.vertices(beta, fit.identity)
    parts, offset = [], len(fit.landmarks_head)
    for code, name in MOUTH_PARTS.items():
        triangles = model.triangles[model.part == code].astype(np.int64)
        used = np.unique(triangles)
        shift = deform.PART_SHIFT_CM.get(name, (0.0, 0.0, 0.0))
        rest.append(vertices[used] + np.array(shift, np.float32))
        shapes.append(model.expression[:, used])
        parts.append(deform.Part(name, np.searchsorted(used, triangles) + offset))
        offset += len(used)
    return Controls(
        np.concatenate(rest).astype(np.float32),
        np.concatenate(shapes, 1).astype(np.float32),
        parts,
    )


def light_on_skin(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return (3,) float32 light colour: what white would look like where the face is lit.

    Taken from the brightest skin, so that dark skin in good light still gets white teeth.
    """
    bright = np.percentile(image[inside], 97, axis=0) if inside.any() else np.full(3, 0.8)
    luminance = float(bright @ np.array([0.299, 0.587, 0.114]))
    level = np.clip(luminance / 0.85, 0.45, 1.1)
    tint = np.clip(bright / max(luminance, 1e-3), 0.7, 1.3)
    return (level * tint**0.35).astype(np.float32)


def build_sheets(
    portrait: Portrait, controls: Controls, options: BuildOptions
) -> tuple[list[Sheet], np.ndarray]:
    """Return all sheets of the head, the front one first, and the plate (H, W, 3) behind them."""
    camera, landmarks = portrait.camera, portrait.fit.landmarks_head
    image = portrait.image.astype(np.float32) / 255
    view = head.head_view(portrait.matte, landmarks, *visible_mesh(portrait.fit), camera)
    maps = head.MapFiles(
        options.depth_file, options.normals_file, portrait.crop_box, portrait.photo_size
    )
    estimate = head.estimate(view, options.depth, files=maps)
    surface = head.build_surface(view, camera, **estimate._asdict(), rgb=image)
    binding = deform.bind_face(
        camera.project(landmarks), landmarks, height=camera.height, width=camera.width
    )
    cover = cover_of(surface, portrait.matte, landmarks, camera)
    plate = inpaint.fill_behind(image, cover.alpha, cover.head_weight)
    front = front_sheet(image, plate, cover, surface.links, binding)
    light = light_on_skin(image, view.face)
    sheets = [front, *beyond_border(front)]
    gain = head.symmetry_gain(float(angles_from_matrix(portrait.fit.state.rotation)[0]))
    if gain > 0:
        sheets.append(mirror_sheet(front, view, portrait, gain, options))
    eye_row = int(portrait.points[[33, 263], 1].mean())
    sheets.append(back_sheet(front, eye_row))
    sheets += eyes(portrait, image, surface.depth, light)
    box = mouth_box(camera.project(landmarks), camera)
    sheets += deform.mouth_sheets(
        controls.parts, controls.rest, camera=camera, mouth_box=box, light_rgb=light
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


class Cover(NamedTuple):
    """What the front sheet covers of the photo.

    Attributes:
        positions: (H, W, 3) float32 head frame, cm, soft edges of hair included.
        alpha: (H, W) float32 share of the person in each pixel, 0 where no point lies.
        head_weight: (H, W) float32, 1 on the head.
    """

    positions: np.ndarray
    alpha: np.ndarray
    head_weight: np.ndarray


# Pixels with less of the person than this are background.
MATTE_FLOOR = 0.03

# Soft edges reach at most this far beyond the surface (share of the picture's longer side).
RIM = 0.02


def cover_of(
    surface: head.Surface, matte: np.ndarray, landmarks: np.ndarray, camera: Camera
) -> Cover:
    """Return the surface with the soft edge of hair at the depth beside it."""
    distance, labels = cv2.distanceTransformWithLabels(
        (~surface.valid).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    depth = np.zeros(labels.max() + 1, np.float32)
    depth[labels[surface.valid]] = surface.depth[surface.valid]
    near = distance <= RIM * max(matte.shape)
    grid = pixel_grid(*matte.shape)
    positions = np.where(
        surface.valid[..., None], surface.positions, camera.unproject(grid, depth[labels])
    ).astype(np.float32)
    alpha = np.where(surface.valid | (near & (matte > MATTE_FLOOR)), matte, 0)
    # Well inside the outline a person is solid, however unsure the matte is about dark hair.
    inner = cv2.distanceTransform(surface.valid.astype(np.uint8), cv2.DIST_L2, 5)
    alpha = np.maximum(alpha, np.clip(inner / (0.5 * RIM * max(matte.shape)) - 0.25, 0, 1))
    weight = deform.head_weight_map(positions, landmarks)
    return Cover(positions, alpha.astype(np.float32), weight)


def front_sheet(
    image: np.ndarray,
    plate: np.ndarray,
    cover: Cover,
    surface_links: np.ndarray,
    binding: deform.Binding,
) -> Sheet:
    """Return the photo's own pixels as a sheet, eyes left out, lips cut."""
    eye = (binding.layer == deform.EYE_RIGHT) | (binding.layer == deform.EYE_LEFT)
    valid = (cover.alpha > 0) & ~eye
    links = grid_links(valid, binding.layer)
    links &= np.where(surface_links > 0, surface_links, LINK_RIGHT | LINK_DOWN).astype(np.uint8)
    side = binding.lip_side
    links[:, :-1][side[:, :-1] * side[:, 1:] < 0] &= ~np.uint8(LINK_RIGHT)
    links[:-1][side[:-1] * side[1:] < 0] &= ~np.uint8(LINK_DOWN)
    every = np.arange(valid.size, dtype=np.int32).reshape(valid.shape)
    return Sheet(
        name="front",
        positions=cover.positions,
        valid=valid,
        links=links,
        color=inpaint.unmix(image, plate, cover.alpha),
        opacity=opacity_of_coverage(cover.alpha),
        index=binding.index,
        weight=binding.weight,
        head_weight=cover.head_weight,
        gate=np.where(binding.layer == deform.MOUTH, GATE_MOUTH, GATE_NONE).astype(np.uint8),
        pixel=np.where(cover.alpha > FAINT, every, -1),
    )


# Fainter points keep their estimated colour: a picture says too little about them.
FAINT = 0.1

# Gaussians of the lattice that overlap at a pixel, weighted: 2 pi (sigma^2 + low-pass).
OVERLAP = 3.0


def opacity_of_coverage(coverage: np.ndarray) -> np.ndarray:
    """Return (H, W) float32 opacities whose overlapping Gaussians cover as much as asked.

    The lattice lets through exp(-OVERLAP o), so o = -log(1 - coverage) / OVERLAP.
    """
    opacity = -np.log1p(-np.clip(coverage, 0, 0.99)) / OVERLAP
    return np.minimum(opacity, OPACITY).astype(np.float32)


# The person goes on beyond a picture that cuts the head off, by this share of its longer side:
# what a turning or nodding head uncovers.
BEYOND = 0.06


def beyond_border(front: Sheet) -> list[Sheet]:
    """Return sheets that continue the head over the top and the sides of the picture, mirrored.

    Positions are point-reflected at the border, so the surface goes on without a kink.
    """
    depth = max(2, round(BEYOND * max(front.valid.shape)))
    sides = {
        "top": (slice(depth, 0, -1), slice(None), slice(0, 1), slice(None)),
        "left": (slice(None), slice(depth, 0, -1), slice(None), slice(0, 1)),
        "right": (slice(None), slice(-2, -depth - 2, -1), slice(None), slice(-1, None)),
    }
    sheets = []
    for name, (rows, columns, edge_rows, edge_columns) in sides.items():
        inner, edge = (rows, columns), (edge_rows, edge_columns)
        moving = front.head_weight[inner] > 0.5
        valid = front.valid[inner] & (front.valid & (front.opacity > 0.5))[edge] & moving
        if not valid.any():
            continue
        sheets.append(
            Sheet(
                name=f"beyond_{name}",
                positions=2 * front.positions[edge] - front.positions[inner],
                valid=valid,
                links=grid_links(valid),
                color=front.color[inner],
                opacity=front.opacity[inner],
                index=front.index[inner],
                weight=np.zeros_like(front.weight[inner]),
                head_weight=front.head_weight[inner],
                gate=np.zeros_like(front.gate[inner]),
                pixel=np.full_like(front.pixel[inner], -1),
            )
        )
    return sheets


def mirror_sheet(
    front: Sheet, view: head.HeadView, portrait: Portrait, gain: float, options: BuildOptions
) -> Sheet:
    """Return the front sheet mirrored into the side the photo does not show."""
    voxel = {} if options.voxel_size_cm is None else {"voxel_size_cm": options.voxel_size_cm}
    completion = head.complete_by_symmetry(
        front.positions, front.valid, camera=portrait.camera, matte=portrait.matte, **voxel
    )
    # The torso is not symmetric; hair hardly: only what moves with the head is mirrored.
    valid = completion.valid & (front.head_weight > 0.5) & (front.gate == GATE_NONE)
    return replace(
        front,
        name="mirror",
        positions=completion.positions.astype(np.float32),
        valid=valid,
        links=front.links & grid_links(valid),
        index=MIRROR[front.index].astype(np.int32),
        opacity=front.opacity * np.float32(gain),
        pixel=np.full_like(front.pixel, -1),
    )


def back_sheet(front: Sheet, eye_row: int) -> Sheet:
    """Return the rear of the head, coloured like its outline above the eyes: mostly hair."""
    solid = front.valid & (front.opacity > 0.5)
    positions, valid = head.back_shell(front.positions, solid, front.head_weight)
    shape = valid.shape
    rim = head.outline_band(solid)
    if rim[:eye_row].any():
        rim[eye_row:] = False
    color = inpaint.fill_unknown(front.color, rim.astype(np.float32))
    color = color[::2, ::2][: shape[0], : shape[1]]
    nothing = np.zeros((*shape, 3), np.float32)
    return Sheet(
        name="back",
        positions=positions.astype(np.float32),
        valid=valid,
        links=grid_links(valid),
        color=np.ascontiguousarray(color * np.float32(0.85)),
        opacity=np.full(shape, 0.95, np.float32),
        index=nothing.astype(np.int32),
        weight=nothing,
        head_weight=np.ones(shape, np.float32),
        gate=np.zeros(shape, np.uint8),
        pixel=np.full(shape, -1, np.int32),
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


def assemble(photo: np.ndarray, options: BuildOptions) -> Assembled:
    """Return everything a head artifact holds, colours not yet compensated.

    Args:
        photo: (H, W, 3) uint8 RGB.
        options: what the user chose.
    """
    portrait = measure_portrait(photo, options)
    controls = control_mesh(portrait.fit)
    sheets, plate = build_sheets(portrait, controls, options)
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
