"""Rotations survive every change of form."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mggtalk_cli.core.rotation import (
    angles_from_matrix,
    matrix_from_angles,
    matrix_from_quaternion,
    quaternion_from_matrix,
    rotation_exp,
    rotation_log,
)

MANY = Rotation.random(100, random_state=np.random.RandomState(0)).as_matrix()


def test_angles_are_ry_rx_rz() -> None:
    y, x, z = (
        matrix_from_angles(30, 0, 0),
        matrix_from_angles(0, 20, 0),
        matrix_from_angles(0, 0, 10),
    )
    np.testing.assert_allclose(matrix_from_angles(30, 20, 10), y @ x @ z, atol=1e-12)


@pytest.mark.parametrize("angles", [(0, 0, 0), (30, -20, 10), (-80, 60, -170), (89, -89, 1)])
def test_angles_round_trip(angles: tuple[float, float, float]) -> None:
    np.testing.assert_allclose(angles_from_matrix(matrix_from_angles(*angles)), angles, atol=1e-9)


def test_quaternion_round_trip_is_wxyz_and_canonical() -> None:
    quats = quaternion_from_matrix(MANY)
    assert (quats[:, 0] >= 0).all()
    np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(matrix_from_quaternion(quats), MANY, atol=1e-12)
    half = np.sqrt(0.5)
    quarter_turn = quaternion_from_matrix(matrix_from_angles(90, 0, 0))
    np.testing.assert_allclose(quarter_turn, [half, 0, half, 0], atol=1e-12)


def test_quaternions_are_normalised_when_read() -> None:
    quats = quaternion_from_matrix(MANY)
    np.testing.assert_allclose(matrix_from_quaternion(-7 * quats), MANY, atol=1e-12)


def test_exp_and_log_are_inverse() -> None:
    for rotation in MANY[:20]:
        np.testing.assert_allclose(rotation_exp(rotation_log(rotation)), rotation, atol=1e-12)
    assert (rotation_log(np.eye(3)) == 0).all()


def test_batches_keep_their_shape() -> None:
    batch = MANY.reshape(4, 25, 3, 3)
    assert angles_from_matrix(batch).shape == (4, 25, 3)
    assert matrix_from_quaternion(quaternion_from_matrix(batch)).shape == batch.shape
