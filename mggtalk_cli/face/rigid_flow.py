"""Optical flow on a rigid body -> how the body has to move: six numbers, robustly.

Linearised about the present pose: a point X of a body that turns by w about its middle c and shifts
by t moves by w x (X - c) + t, which the pinhole camera shows as dx = f / z (dX - x / z dZ). Points
whose flow says something else (lips that talk, hair, what covers the face) lose their weight.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mggtalk_cli.core.rotation import rotation_exp

_ROUNDS = 6  # of iteratively reweighted least squares
# Flow errors are judged in units of their median times this, but of this many px at least: below
# it lies the noise of dense flow.
_SPREAD, _NOISE_PX = 1.5, 0.15
# Turn and shift look alike on a shallow face, and noise would shake both: a turn of one degree
# costs as much as .1 px of error at every point. The shift is free but for what keeps it solvable.
_RIDGE = np.diag([(0.1 / np.deg2rad(1)) ** 2] * 3 + [1e-6] * 3)
AGREES_CM = 0.15  # a point that lands nearer than this to where its flow says moves with the body
MIN_POINTS = 30  # fewer say nothing reliable about a head


class RigidMotion(NamedTuple):
    """X -> R (X - c) + c + t in the camera's frame, and how well it explains the flow.

    Attributes:
        rotation: (3, 3).
        shift: (3,) cm.
        centre: (3,) cm, what the rotation turns about.
        agreement: share of the points that land within `AGREES_CM` of where their flow says.
    """

    rotation: np.ndarray
    shift: np.ndarray
    centre: np.ndarray
    agreement: float


def rigid_motion(points: np.ndarray, flow: np.ndarray, focal_px: float) -> RigidMotion | None:
    """Return the motion that a body's flow shows, or None where too few points are seen.

    Args:
        points: (n, 3) OpenCV camera coordinates of points of the body, cm.
        flow: (n, 2) where the picture says they moved, px.
        focal_px: focal length.
    """
    if len(points) < MIN_POINTS:
        return None
    points = points.astype(np.float64)
    centre = points.mean(0)
    rows, wanted = _jacobian(points, centre, focal_px), flow.T.astype(np.float64)
    motion, weight = np.zeros(6), np.ones(len(points))
    for _ in range(_ROUNDS):
        weighted = rows * weight[:, None]
        normal = np.einsum("cni,cnj->ij", weighted, rows) + len(points) * _RIDGE
        motion = np.linalg.solve(normal, np.einsum("cni,cn->i", weighted, wanted))
        error = np.hypot(*(wanted - rows @ motion))
        scale = max(_SPREAD * float(np.median(error)), _NOISE_PX)
        weight = 1 / (1 + (error / scale) ** 2) ** 2
    agrees = np.hypot(*(wanted - rows @ motion)) * points[:, 2] < AGREES_CM * focal_px
    return RigidMotion(rotation_exp(motion[:3]), motion[3:], centre, float(agrees.mean()))


def _jacobian(points: np.ndarray, centre: np.ndarray, focal_px: float) -> np.ndarray:
    """Return (2, n, 6): px of x and of y per radian of turn and cm of shift."""
    x, y, z = points.T
    zero = np.zeros_like(z)
    image = (focal_px / z)[:, None] * np.array(
        [np.stack([zero + 1, zero, -x / z], -1), np.stack([zero, zero + 1, -y / z], -1)]
    )
    # image . (w x a) = w . (a x image)
    turn = np.cross((points - centre)[None], image)
    return np.concatenate([turn, image], -1)
