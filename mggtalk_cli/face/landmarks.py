"""Face box -> 468 mesh landmarks and 2 x 5 iris landmarks in image pixels.

The mesh network sees a square of 1.5 x the face, turned so that the eyes lie level, at 192 px. It
is re-framed from its own result, and the last word is the mean of four slightly turned and mirrored
views, which halves the jitter of the head pose in video. Each eye is then cut out again at 64 px
for the iris; that network knows the eye at the left of the image, so the other one is mirrored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mggtalk_cli.core.expression import LANDMARK_COUNT
from mggtalk_cli.core.landmark_groups import MIRROR
from mggtalk_cli.errors import InputError
from mggtalk_cli.face.crop import Square, crop_square
from mggtalk_cli.face.models import FACE_LANDMARK, IRIS_LANDMARK, run_model

_MESH_SIZE = 192
_MESH_MARGIN = 1.5
_IRIS_SIZE = 64
_IRIS_MARGIN = 2.3  # crop side in eye widths
# Outer eye corners, subject's right and left: the eye line.
_EYE_LINE = (33, 263)
# Corners of each eye: (image-left, image-right) in a frontal photo.
_EYE_CORNERS = ((33, 133), (362, 263))
_REFRAMINGS = 3  # passes from a detector box to a stable frame; one from landmarks
# The averaged views: turned by so many radians, mirrored or not.
_VIEWS = ((0.06, False), (-0.06, True), (-0.06, False), (0.06, True))


@dataclass(frozen=True)
class Landmarks:
    """Landmarks of one face.

    Attributes:
        points: (478, 3) float32 image x right, y down in px (pixel centres at .5) and z in px,
            smaller nearer, 0 near the head's centre plane. 468 mesh points, then the iris of the
            subject's right eye (468..472, centre first) and left eye (473..477).
        score: the network's belief that the crop shows a face, 0..1.
    """

    points: np.ndarray
    score: float


def find_landmarks(image: np.ndarray, box_or_points: np.ndarray) -> Landmarks:
    """Return the landmarks of the face inside a box or near earlier points.

    Args:
        image: (H, W, 3) uint8 RGB.
        box_or_points: (4,) box x0, y0, x1, y1 in px; or (6, 2) detector key points; or (>= 468,
            2 or 3) landmarks of the same face a moment ago.

    Raises:
        InputError: `box_or_points` has another shape.
    """
    where = np.asarray(box_or_points, np.float64)
    if where.ndim == 2 and len(where) >= LANDMARK_COUNT:
        square, passes = square_of_landmarks(where), 1
    elif where.shape == (4,):
        square, passes = _square_of_box(where), _REFRAMINGS
    elif where.shape == (6, 2):
        square, passes = _square_of_keypoints(where), _REFRAMINGS
    else:
        raise InputError(
            f"expected a face box (4,), key points (6, 2) or landmarks (468+, 2), got {where.shape}"
        )
    for _ in range(passes):
        square = square_of_landmarks(_mesh(image, square)[0])
    views = [
        _mesh(image, replace(square, angle=square.angle + turn), flip=flip) for turn, flip in _VIEWS
    ]
    mesh = np.mean([view[0] for view in views], 0)
    score = float(np.mean([view[1] for view in views]))
    iris = [_iris(image, mesh, right=True), _iris(image, mesh, right=False)]
    return Landmarks(np.concatenate([mesh, *iris]).astype(np.float32), score)


def square_of_landmarks(points: np.ndarray) -> Square:
    """Return the crop that frames (>= 468, 2+) landmarks, eyes level."""
    xy = points[:LANDMARK_COUNT, :2].astype(np.float64)
    angle = float(np.arctan2(*(xy[_EYE_LINE[1]] - xy[_EYE_LINE[0]])[::-1]))
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    level = xy @ turn
    low, high = level.min(0), level.max(0)
    centre = turn @ ((low + high) / 2)
    side = max(float((high - low).max()), 1.0)
    return Square(centre[0], centre[1], side * _MESH_MARGIN, angle)


def _square_of_box(box: np.ndarray) -> Square:
    side = max(box[2] - box[0], box[3] - box[1], 1.0)
    return Square((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, side * _MESH_MARGIN)


def _square_of_keypoints(keypoints: np.ndarray) -> Square:
    """Return the crop around eyes, nose and mouth; the box is about 2.2 x their spread."""
    eyes = keypoints[1] - keypoints[0]
    angle = float(np.arctan2(eyes[1], eyes[0]))
    middle = (keypoints[0] + keypoints[1]) / 2
    mouth = keypoints[3]
    spread = max(float(np.hypot(*eyes)), float(np.hypot(*(mouth - middle))), 1.0)
    centre = (middle + mouth) / 2
    return Square(centre[0], centre[1], 2.2 * spread * _MESH_MARGIN, angle)


def _mesh(image: np.ndarray, square: Square, *, flip: bool = False) -> tuple[np.ndarray, float]:
    """Return (468, 3) float64 px and the face score of one crop, looked at in a mirror or not."""
    crop = crop_square(image, square, _MESH_SIZE, flip=flip)
    raw, logit = run_model(FACE_LANDMARK, crop[None].astype(np.float32) / 255)
    unit = raw.reshape(LANDMARK_COUNT, 3).astype(np.float64) / _MESH_SIZE
    if flip:
        unit = unit[MIRROR] * (-1, 1, 1) + (1, 0, 0)
    points = np.concatenate([square.to_image(unit[:, :2]), unit[:, 2:] * square.side], 1)
    return points, float(1 / (1 + np.exp(-np.clip(logit.item(), -80, 80))))


def _iris(image: np.ndarray, mesh: np.ndarray, *, right: bool) -> np.ndarray:
    """Return (5, 3) iris points px (centre first) of the subject's right or left eye."""
    a, b = mesh[list(_EYE_CORNERS[0 if right else 1])]
    centre = (a + b) / 2
    side = max(float(np.hypot(*(b - a)[:2])), 1.0) * _IRIS_MARGIN
    square = Square(centre[0], centre[1], side, float(np.arctan2(*(b - a)[:2][::-1])))
    crop = crop_square(image, square, _IRIS_SIZE, flip=not right)
    outputs = run_model(IRIS_LANDMARK, crop[None].astype(np.float32) / 255)
    raw = next(o for o in outputs if o.size == 15)
    unit = raw.reshape(5, 3)[:, :2].astype(np.float64) / _IRIS_SIZE
    if not right:
        unit[:, 0] = 1 - unit[:, 0]
    # The network's own iris depth is not in the mesh's frame; the corners' mean depth is.
    return np.concatenate([square.to_image(unit), np.full((5, 1), centre[2])], 1)
