"""Rotations as 3x3 matrices, unit quaternions (w, x, y, z) and head angles, in numpy.

Head angles: yaw about +y (positive turns the nose to +x, image right), pitch about +x (positive
looks down), roll about +z (positive is counter-clockwise for the viewer); R = Ry Rx Rz.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def matrix_from_angles(yaw_deg: float, pitch_deg: float, roll_deg: float) -> np.ndarray:
    """Return the (3, 3) float64 rotation Ry(yaw) Rx(pitch) Rz(roll).

    >>> (matrix_from_angles(90, 0, 0) @ [0, 0, 1]).round(6).tolist()
    [1.0, 0.0, 0.0]
    """
    angles = [yaw_deg, pitch_deg, roll_deg]
    return np.asarray(Rotation.from_euler("YXZ", angles, degrees=True).as_matrix())


def angles_from_matrix(rotation: np.ndarray) -> np.ndarray:
    """Return (..., 3) yaw, pitch, roll in degrees of (..., 3, 3) rotations."""
    flat = np.asarray(rotation, np.float64).reshape(-1, 3, 3)
    angles = Rotation.from_matrix(flat).as_euler("YXZ", degrees=True)
    return np.asarray(angles).reshape(*np.shape(rotation)[:-2], 3)


def quaternion_from_matrix(rotation: np.ndarray) -> np.ndarray:
    """Return (..., 4) unit quaternions wxyz, w >= 0, of (..., 3, 3) rotations."""
    flat = np.asarray(rotation, np.float64).reshape(-1, 3, 3)
    quats = Rotation.from_matrix(flat).as_quat(canonical=True, scalar_first=True)
    return np.asarray(quats).reshape(*np.shape(rotation)[:-2], 4)


def matrix_from_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """Return (..., 3, 3) rotations of (..., 4) quaternions wxyz (normalised here; non-zero)."""
    flat = np.asarray(quaternion, np.float64).reshape(-1, 4)
    matrices = Rotation.from_quat(flat, scalar_first=True).as_matrix()
    return np.asarray(matrices).reshape(*np.shape(quaternion)[:-1], 3, 3)


def rotation_log(rotation: np.ndarray) -> np.ndarray:
    """Return the (3,) rotation vector (radians) of one (3, 3) rotation."""
    return np.asarray(Rotation.from_matrix(rotation).as_rotvec())


def rotation_exp(vector: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation of one (3,) rotation vector in radians."""
    return np.asarray(Rotation.from_rotvec(vector).as_matrix())
