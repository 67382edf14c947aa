"""From one photo to the sheets of a head: the build side of `pipeline.py`.

photo -> framing -> landmarks, matte, face fit -> depth, normals, surface -> front sheet, mirrored
sheet, back shell, eyes, mouth -> colour pre-compensation. Each step is a stage function; here they
are only put in order.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from mggtalk_cli import deform, face, head, inpaint
from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.image import Mapped, crop_square, fit_longer_side
from mggtalk_cli.core.landmark_groups import IRIS_LEFT, IRIS_RIGHT, MIRROR
from mggtalk_cli.core.rotation import angles_from_matrix
from mggtalk_cli.core.sheet import (
    GATE_EYE_LEFT,
    GATE_EYE_RIGHT,
    GATE_MOUTH,
    GATE_NONE,
    LINK_DOWN,
    LINK_RIGHT,
    Sheet,
    grid_links,
)
from mggtalk_cli.errors import InputError

logger = logging.getLogger("mggtalk")

# The face crop is this many times the larger side of the face.
CROP_FACES = 2.6

# Faces smaller than this (px of the photo) hold too little to build a head from.
MIN_FACE_PX = 64

# Opacity of a skin Gaussian: the photo's colours come back under it, and folds still cover.
OPACITY = 0.9

# Share of the head's shift that shoulders follow, so that the collar does not tear off.
TORSO_FOLLOW = 0.25


@dataclass(frozen=True)
class BuildOptions:
    """What a user may choose when a head is built.

    Attributes:
        size: longer side of the working picture, px.
        crop: "face" (the square 2.6 x face crop) or "none" (the photo's own framing).
        face: which face to take, 0 = the largest; None = the largest, with a warning if several.
        depth: variant of the depth stage: "analytic" or "file".
        depth_file: depth map for the "file" variant.
        normals_file: normal map for the "file" variant.
        voxel_size_cm: voxel edge of the symmetric completion; None = the stage's own.
    """

    size: int = 512
    crop: str = "face"
    face: int | None = None
    depth: str = "analytic"
    depth_file: str | None = None
    normals_file: str | None = None
    voxel_size_cm: float | None = None


@dataclass(frozen=True)
class Portrait:
    """A framed photo and everything measured on it.

    Attributes:
        image: (H, W, 3) uint8 working picture.
        crop_box: x0, y0, x1, y1 of the working picture in px of the photo.
        points: (478, 3) landmarks, px.
        matte: (H, W) float32 person matte.
        fit: the fitted face.
        camera: the photo's camera; world = head frame.
    """

    image: np.ndarray
    crop_box: tuple[float, float, float, float]
    points: np.ndarray
    matte: np.ndarray
    fit: face.FaceFit
    camera: Camera


def measure_portrait(photo: np.ndarray, options: BuildOptions) -> Portrait:
    """Return the framed, measured photo.

    Args:
        photo: (H, W, 3) uint8 RGB.
        options: framing and choice of face.

    Raises:
        InputError: no face, a face below `MIN_FACE_PX`, or no such face.
    """
    box = choose_face(photo, options.face)
    framed, crop_box = frame_photo(photo, box, size=options.size, crop=options.crop)
    corners = framed.points(np.array([[box[0], box[1]], [box[2], box[3]]], np.float64))
    landmarks = face.find_landmarks(framed.image, corners.reshape(4).astype(np.float32))
    image = framed.image
    height, width = image.shape[:2]
    fit = face.fit_face(landmarks.points, image_size=(width, height))
    matte = face.person_mask(image, corners.reshape(4).astype(np.float32))
    viewmat = viewmat_from_pose(fit.state.rotation, fit.state.translation)
    camera = Camera(viewmat, float(fit.focal_px), width, height)
    return Portrait(image, crop_box, landmarks.points, matte, fit, camera)


def choose_face(photo: np.ndarray, number: int | None) -> np.ndarray:
    """Return the box (4,) x0, y0, x1, y1 in px of the chosen face."""
    faces = face.detect_faces(photo)
    count = len(faces.boxes)
    if count == 0:
        height, width = photo.shape[:2]
        raise InputError(
            f"no face found in the {width}x{height} photo: use one that shows a face from the"
            " front or half turned, larger than 64 px"
        )
    if number is not None and not 0 <= number < count:
        raise InputError(f"--face {number}: the photo has {count} face(s), numbered from 0")
    if number is None and count > 1:
        x0, y0, x1, y1 = faces.boxes[0].round().astype(int)
        logger.warning(
            f"{count} faces found: taking the largest, at x {x0}-{x1}, y {y0}-{y1};"
            " --face N takes another (0 = largest)"
        )
    box = np.asarray(faces.boxes[number or 0], np.float32)
    side = float(max(box[2] - box[0], box[3] - box[1]))
    if side < MIN_FACE_PX:
        raise InputError(
            f"the face is {side:.0f} px large, at least {MIN_FACE_PX} px are needed: use a larger"
            " or closer photo"
        )
    return box


def frame_photo(
    photo: np.ndarray, box: np.ndarray, *, size: int, crop: str
) -> tuple[Mapped, tuple[float, float, float, float]]:
    """Return the working picture and its box in the photo.

    The face crop is moved, and shrunk if it must be, to lie inside the photo.
    """
    height, width = photo.shape[:2]
    if crop == "none":
        return fit_longer_side(photo, size), (0.0, 0.0, float(width), float(height))
    face_side = float(max(box[2] - box[0], box[3] - box[1]))
    side = min(CROP_FACES * face_side, height, width)
    x = float(np.clip((box[0] + box[2]) / 2, side / 2, width - side / 2))
    y = float(np.clip((box[1] + box[3]) / 2, side / 2, height - side / 2))
    mapped = crop_square(photo, (x, y), side, size)
    return mapped, (x - side / 2, y - side / 2, x + side / 2, y + side / 2)


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
    shapes = [model.landmark_shapes]
    vertices = model.vertices(beta, fit.identity)
    parts, offset = [], len(fit.landmarks_head)
    for code, name in MOUTH_PARTS.items():
        triangles = model.triangles[model.part == code].astype(np.int64)
        used = np.unique(triangles)
        rest.append(vertices[used])
        shapes.append(model.vertex_shapes(used))
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


def head_weight_map(positions: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Return (H, W) float32: 1 on the head, fading to 0 down the neck and off to the sides.

    Args:
        positions: (H, W, 3) head frame, cm.
        landmarks: (468, 3) head frame, cm.
    """
    chin, top = landmarks[152, 1], landmarks[10, 1]
    face_height = top - chin
    half_width = float(np.ptp(landmarks[:, 0])) / 2
    x, y = np.abs(positions[..., 0]), positions[..., 1]
    vertical = 1 - _smoothstep((chin - y) / (0.2 * face_height))
    # Hair may be wide beside the face; beside the chin it lies on the shoulders.
    high = _smoothstep((y - chin) / (0.5 * face_height))
    reach = half_width * (1.35 + 1.35 * high)
    lateral = 1 - _smoothstep((x - reach) / (0.5 * half_width))
    return (vertical * lateral).astype(np.float32)


def torso_follow_map(height: int, width: int) -> np.ndarray:
    """Return (H, W) float32 share of the head's shift followed by the torso; 0 at the border.

    Points at the picture's border must stay: nothing lies beyond them to move in.
    """
    x = (np.arange(width) + 0.5) / width
    y = (np.arange(height) + 0.5) / height
    across = _smoothstep(np.minimum(x, 1 - x) / 0.12)
    down = _smoothstep((1 - y) / 0.15)
    return (TORSO_FOLLOW * across[None, :] * down[:, None]).astype(np.float32)


def _smoothstep(t: np.ndarray) -> np.ndarray:
    t = np.clip(t, 0, 1)
    return t * t * (3 - 2 * t)


def build_sheets(portrait: Portrait, controls: Controls, options: BuildOptions) -> list[Sheet]:
    """Return all sheets of the head, the front one first."""
    camera, landmarks = portrait.camera, portrait.fit.landmarks_head
    image = portrait.image.astype(np.float32) / 255
    model = face.load_face_model()
    vertices = model.vertices(portrait.fit.state.beta, portrait.fit.identity)
    skin = model.triangles[model.part == 0]
    view = head.head_view(portrait.matte, landmarks, vertices, skin, camera)
    depth, normals = head.estimate(view, options)
    surface = head.build_surface(view, camera, depth=depth, normals=normals)
    binding = deform.bind_face(
        camera.project(landmarks), landmarks, height=camera.height, width=camera.width
    )
    front = front_sheet(image, portrait.matte, surface, binding, landmarks)
    light = light_on_skin(image, view.face)
    sheets = [front]
    gain = head.symmetry_gain(float(angles_from_matrix(portrait.fit.state.rotation)[0]))
    if gain > 0:
        sheets.append(mirror_sheet(front, view, portrait, gain, options))
    sheets.append(back_sheet(front, image))
    sheets += eyes(portrait, image, surface.depth, light)
    box = mouth_box(camera.project(landmarks), camera)
    sheets += deform.mouth_sheets(
        controls.parts, controls.rest, camera=camera, mouth_box=box, light_rgb=light
    )
    return sheets


def front_sheet(
    image: np.ndarray,
    matte: np.ndarray,
    surface: head.Surface,
    binding: deform.Binding,
    landmarks: np.ndarray,
) -> Sheet:
    """Return the photo's own pixels as a sheet, eyes left out, lips cut."""
    eye = (binding.layer == deform.EYE_RIGHT) | (binding.layer == deform.EYE_LEFT)
    valid = surface.valid & ~eye
    links = grid_links(valid, binding.layer) & surface.links
    side = binding.lip_side
    links[:, :-1][side[:, :-1] * side[:, 1:] < 0] &= ~np.uint8(LINK_RIGHT)
    links[:-1][side[:-1] * side[1:] < 0] &= ~np.uint8(LINK_DOWN)
    # Edge pixels are part background: the person's own colour is pushed outwards.
    pure = inpaint.fill_unknown(image, (matte > 0.95).astype(np.float32))
    color = np.where((matte > 0.95)[..., None], image, pure)
    height, width = matte.shape
    return Sheet(
        name="front",
        positions=surface.positions.astype(np.float32),
        valid=valid,
        links=links,
        color=color.astype(np.float32),
        opacity=(OPACITY * np.clip(matte / 0.95, 0, 1)).astype(np.float32),
        index=binding.index,
        weight=binding.weight,
        head_weight=head_weight_map(surface.positions, landmarks),
        gate=np.where(binding.layer == deform.MOUTH, GATE_MOUTH, GATE_NONE).astype(np.uint8),
    )


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
    return front._replace(
        name="mirror",
        positions=completion.positions.astype(np.float32),
        valid=valid,
        links=front.links & grid_links(valid),
        index=MIRROR[front.index].astype(np.int32),
        opacity=front.opacity * np.float32(gain),
    )


def back_sheet(front: Sheet, image: np.ndarray) -> Sheet:
    """Return the rear of the head, coloured like its outline."""
    positions, valid = head.back_shell(front.positions, front.valid, front.head_weight)
    shape = valid.shape
    rim = head.outline_band(front.valid)
    color = inpaint.fill_unknown(image, rim.astype(np.float32))[::2, ::2][: shape[0], : shape[1]]
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
    )


def eyes(
    portrait: Portrait, image: np.ndarray, depth: np.ndarray, light: np.ndarray
) -> list[Sheet]:
    """Return white and iris of both eyes."""
    sides = (
        ("right", deform.EYE_RIGHT_RING, IRIS_RIGHT, GATE_EYE_RIGHT),
        ("left", deform.EYE_LEFT_RING, IRIS_LEFT, GATE_EYE_LEFT),
    )
    sheets = []
    for side, ring, iris, gate in sides:
        sheets += deform.eye_sheets(
            image,
            np.asarray(depth, np.float32),
            side=side,
            ring_px=portrait.points[ring, :2],
            iris_px=portrait.points[list(iris), :2],
            camera=portrait.camera,
            gate=gate,
            light_rgb=light,
        )
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
