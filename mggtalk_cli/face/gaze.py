"""Irises -> gaze angles relative to the head.

The eyeball is a sphere that sits at a fixed place relative to the eye corners; the iris centre on
its surface gives the direction. Offsets and radius were calibrated on photos of people who look
into the camera.
"""

from __future__ import annotations

import numpy as np

from mggtalk_cli.core.landmark_groups import IRIS_LEFT, IRIS_RIGHT

_CORNERS = ((33, 133), (263, 362))  # outer, inner; subject's right and left eye
# Where the iris centre of a straight-ahead gaze lies relative to the middle of the corners:
# outwards and up, in eye widths.
_REST_OUT, _REST_UP = 0.0, 0.0
# Radius on which the iris centre turns, in eye widths.
_RADIUS = 0.43
_MAX_DEG = 45.0


def gaze_of_irises(
    points: np.ndarray,
    image_size: tuple[int, int],
    focal_px: float,
    rotation: np.ndarray,
    translation: np.ndarray,
    landmarks_head: np.ndarray,
) -> np.ndarray:
    """Return (2,) float32 degrees: mean of both eyes, + x to image right, + y up.

    Args:
        points: (478, 3) landmarks px.
        image_size: (width, height) px.
        focal_px: focal length.
        rotation, translation: head pose in the y-up camera frame.
        landmarks_head: (468, 3) cm landmarks in the head frame.
    """
    angles = [
        _angles(offset)
        for offset in iris_offsets(
            points, image_size, focal_px, rotation, translation, landmarks_head
        )
    ]
    return np.mean(angles, 0).astype(np.float32)


def iris_offsets(
    points: np.ndarray,
    image_size: tuple[int, int],
    focal_px: float,
    rotation: np.ndarray,
    translation: np.ndarray,
    landmarks_head: np.ndarray,
) -> np.ndarray:
    """Return (2, 2) iris centre minus straight-ahead place, right and left eye, eye widths."""
    offsets = []
    centre_px = np.array(image_size, np.float64) / 2
    for eye, (outer, inner) in enumerate(_CORNERS):
        iris = points[(IRIS_RIGHT, IRIS_LEFT)[eye][0], :2]
        middle = (landmarks_head[outer] + landmarks_head[inner]) / 2
        width = float(np.linalg.norm(landmarks_head[outer] - landmarks_head[inner]))
        # Cut the pixel's ray with the head-frame plane z = middle.z.
        ray = np.array([*((iris - centre_px) * (1, -1) / focal_px), -1.0]) @ rotation
        eye_point = -translation @ rotation
        along = (middle[2] - eye_point[2]) / (ray[2] if abs(ray[2]) > 1e-6 else -1e-6)
        hit = eye_point + along * ray
        outwards = -1.0 if eye == 0 else 1.0
        rest = np.array([outwards * _REST_OUT, _REST_UP])
        offsets.append((hit - middle)[:2] / max(width, 1e-3) - rest)
    return np.array(offsets)


def _angles(offset: np.ndarray) -> np.ndarray:
    limit = np.sin(np.deg2rad(_MAX_DEG))
    return np.rad2deg(np.arcsin(np.clip(offset / _RADIUS, -limit, limit)))
