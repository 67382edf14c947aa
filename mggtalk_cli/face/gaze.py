"""Irises -> gaze angles relative to the head.

The iris centre turns on a sphere about the eyeball's centre, which sits at a fixed place relative
to the eye corners; where the pixel's ray meets that sphere is where the eye looks. Radius and depth
are anatomy; the height is the mean of nine speakers in clips that may be used for it.
"""

from __future__ import annotations

import numpy as np

from mggtalk_cli.core.landmark_groups import IRIS_LEFT, IRIS_RIGHT

# (outer corner, inner corner, iris centre) of the subject's right and left eye.
_EYES = ((33, 133, IRIS_RIGHT[0]), (263, 362, IRIS_LEFT[0]))
# All in eye widths: radius on which the iris centre turns (about 1.1 cm), and the sphere's centre
# above and behind (about half a centimetre) the middle of the corners.
_RADIUS = 0.39
_CENTRE_UP = 0.044
_CENTRE_BACK = 0.18


def gaze_of_irises(
    points: np.ndarray,
    image_size: tuple[int, int],
    focal_px: float,
    rotation: np.ndarray,
    translation: np.ndarray,
    landmarks_head: np.ndarray,
) -> np.ndarray:
    """Return (2,) float32 degrees, mean of both eyes: + x to image right, + y up.

    Args:
        points: (478, 3) landmarks px.
        image_size: (width, height) px.
        focal_px: focal length.
        rotation: (3, 3) head rotation in the y-up camera frame.
        translation: (3,) head origin in that frame, cm.
        landmarks_head: (468, 3) cm landmarks in the head frame.
    """
    centre_px = np.array(image_size, np.float64) / 2
    camera = -np.asarray(translation, np.float64) @ rotation
    directions = []
    for outer, inner, iris in _EYES:
        middle = (landmarks_head[outer] + landmarks_head[inner]) / 2
        width = max(float(np.linalg.norm(landmarks_head[outer] - landmarks_head[inner])), 1e-3)
        centre = middle + np.array([0.0, _CENTRE_UP, -_CENTRE_BACK]) * width
        ray = np.array([*((points[iris, :2] - centre_px) * (1, -1) / focal_px), -1.0]) @ rotation
        directions.append(_towards(camera - centre, ray / np.linalg.norm(ray), _RADIUS * width))
    x, y, z = np.mean(directions, 0)
    return np.rad2deg([np.arctan2(x, z), np.arctan2(y, np.hypot(x, z))]).astype(np.float32)


def _towards(start: np.ndarray, ray: np.ndarray, radius: float) -> np.ndarray:
    """Return the unit vector to where a ray first meets (or passes nearest) a sphere at 0."""
    along = -float(start @ ray)
    nearest = start + along * ray
    depth = np.sqrt(max(radius**2 - float(nearest @ nearest), 0.0))
    hit = nearest - depth * ray
    return hit / max(float(np.linalg.norm(hit)), 1e-9)
