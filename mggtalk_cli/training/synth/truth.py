"""What is true of a drawn scene, in the form an example keeps it.

True depths and cameras are those of the scene; the head is what `build-head` makes of the drawn
photo. The note keeps what a comparison needs (see `compare`): the cameras' `focal_px`, and
`fitted_from_scene`, the similarity (16 numbers, row by row) from the scene's head frame to the
fitted one.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

from mggtalk_cli import __version__
from mggtalk_cli.artifacts.memory import in_memory
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.camera import Y_UP_TO_OPENCV, Camera
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.landmark_groups import RIGID
from mggtalk_cli.core.rotation import quaternion_from_matrix
from mggtalk_cli.errors import InputError
from mggtalk_cli.heads import build_head
from mggtalk_cli.portrait import BuildOptions
from mggtalk_cli.tensors import camera_of, source_state
from mggtalk_cli.training.synth.compare import similarity
from mggtalk_cli.training.synth.draw import Drawn
from mggtalk_cli.training.synth.scene import Scene, Studio, background, developed, yaw_deg
from mggtalk_cli.variants import ANALYTIC

FPS = 25.0  # of the views as frames: a number is needed, they do not follow each other in time
# Detected landmarks lie this near to the true ones, mean over the face, in eye distances.
FOUND_WITHIN = 0.12
EYE_CORNERS = (33, 263)


class Drawing(NamedTuple):
    """A finished scene: its `head`, and of each view picture, what was seen, landmarks."""

    scene: Scene
    head: Artifact
    pictures: list[np.ndarray]
    seen: list[Drawn]
    landmarks: list[np.ndarray]


def drawing_of(scene: Scene, source: dict[str, str]) -> Drawing:
    """Return a scene drawn from all its cameras, and the head of its photo.

    Raises:
        InputError: the face is not found where it is.
    """
    studio, size = Studio(scene), scene.cameras[0].width
    behind = background(scene)
    seen = [studio.draw(0)]
    pictures = [developed(seen[0], behind, scene, 0)]
    options = BuildOptions(size=size, crop="none")
    head = build_head(pictures[0], options, source=source, variants=ANALYTIC)
    landmarks = [studio.landmarks(view) for view in range(len(scene.cameras))]
    _check_found(head, scene.cameras[0].project(landmarks[0])[:, :2])
    for view in range(1, len(scene.cameras)):
        seen.append(studio.draw(view))
        pictures.append(developed(seen[view], behind, scene, view))
    return Drawing(scene, head, pictures, seen, landmarks)


def _check_found(head: Artifact, true: np.ndarray) -> None:
    """Check that the landmarks of a head lie on the true ones (468, 2) px.

    Raises:
        InputError: they do not.
    """
    camera = camera_of(head)
    found = camera.project(head.arrays["rig_controls"][:468])[:, :2]
    right, left = EYE_CORNERS
    # Both, because in profile the eyes are close together.
    size = max(float(np.hypot(*(true[left] - true[right]))), 0.5 * float(np.ptp(true[:, 1])))
    apart = float(np.hypot(*(found - true).T).mean()) / size
    if apart > FOUND_WITHIN:
        raise InputError(f"the face was found {apart:.2f} eye distances beside the true one")


def description(drawing: Drawing) -> dict[str, object]:
    """Return what a note tells of a scene, and how scene and fitted head belong together."""
    scene = drawing.scene
    fitted = similarity(drawing.landmarks[0], drawing.head.arrays["rig_controls"][:468])
    return {
        "focal_px": [float(camera.focal_px) for camera in scene.cameras],
        "fitted_from_scene": [float(x) for x in fitted.ravel()],
        "yaw_deg": round(yaw_deg(scene.cameras[0]), 2),
        "hair": scene.hair.style,
        "beard": scene.hair.beard,
        "headwear": scene.outfit.headwear,
        "glasses": scene.outfit.glasses > 0,
    }


def truth(drawing: Drawing) -> dict[str, np.ndarray]:
    """Return the arrays of `example_folder.TRUTH`."""
    scene, seen = drawing.scene, drawing.seen
    cover = np.stack([_bytes(one.coverage) for one in seen])
    marks = zip(scene.cameras, drawing.landmarks, strict=True)
    return {
        "frames": np.stack(drawing.pictures),
        "person": cover,
        "face": np.stack([c.project(points)[:, :2] for c, points in marks]).astype(np.float32),
        "depth": np.stack([one.depth for one in seen]),
        "normals": np.stack(
            [_head_normals(one, c) for one, c in zip(seen, scene.cameras, strict=True)]
        ),
        "mask": cover,
        "beta": np.stack([moment.beta for moment in scene.faces]).astype(np.float32),
        "viewmats": np.stack([camera.viewmat for camera in scene.cameras]),
    }


def _bytes(share: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8))


def _head_normals(seen: Drawn, camera: Camera) -> np.ndarray:
    """Return (H, W, 3) int8 127 x normals in the head frame."""
    to_camera = Y_UP_TO_OPENCV @ camera.viewmat[:3, :3]
    return np.asarray(
        np.rint(127 * np.einsum("hwc,cd->hwd", seen.normals, to_camera)).astype(np.int8)
    )


def motion(drawing: Drawing) -> Artifact:
    """Return the true motion as the fitted head would have to make it; view 0 is the reference.

    The pose of each view is the one in which the fitted head's landmarks, moved as the true face
    moves, project nearest to the true ones through the head's own lens.
    """
    scene, head = drawing.scene, drawing.head
    camera, source = camera_of(head), source_state(head)
    fitted = head.arrays["rig_controls"][:468]
    poses = [
        _pose(fitted[list(RIGID)], c.project(points)[list(RIGID), :2], camera, source)
        for c, points in zip(scene.cameras, drawing.landmarks, strict=True)
    ]
    beta = np.stack([moment.beta for moment in scene.faces]).astype(np.float32)
    gaze = np.stack([moment.gaze_deg for moment in scene.faces]).astype(np.float32)
    rotation = quaternion_from_matrix(np.stack([pose[0] for pose in poses])).astype(np.float32)
    translation = np.stack([pose[1] for pose in poses]).astype(np.float32)
    arrays = {
        "beta": beta,
        "rotation": rotation,
        "translation": translation,
        "gaze": gaze,
        "confidence": np.ones(len(beta), np.float32),
        "reference_beta": beta[0],
        "reference_rotation": rotation[0],
        "reference_translation": translation[0],
        "reference_gaze": gaze[0],
        "reference_landmarks": fitted.astype(np.float32),
    }
    lens = {"focal_px": camera.focal_px, "width": camera.width, "height": camera.height}
    meta = {
        "fps": FPS,
        "source": "video",
        "parts": {},
        "audio": None,
        "camera": lens,
        "created_by": f"mggtalk {__version__}",
    }
    return in_memory("motion", meta, arrays)


def _pose(
    points: np.ndarray, xy: np.ndarray, camera: Camera, start: FaceState
) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation (3, 3) and translation (3,), y-up camera frame, of points seen at xy px."""
    turn, _ = cv2.Rodrigues((Y_UP_TO_OPENCV @ start.rotation).astype(np.float64))
    shift = (Y_UP_TO_OPENCV @ start.translation).astype(np.float64)[:, None]
    _, turn, shift = cv2.solvePnP(
        points.astype(np.float64), xy.astype(np.float64), camera.intrinsics.astype(np.float64),
        None, turn, shift, True, cv2.SOLVEPNP_ITERATIVE,
    )  # fmt: skip
    rotation, _ = cv2.Rodrigues(turn)
    return Y_UP_TO_OPENCV @ rotation, (Y_UP_TO_OPENCV @ shift)[:, 0]
