"""The motion of a rigid body from the flow of its points: analytic truth."""

from __future__ import annotations

import numpy as np
import pytest

from mggtalk_cli.core.rotation import rotation_exp, rotation_log
from mggtalk_cli.face import rigid_motion

FOCAL_PX = 900.0


def head_like(count: int = 400) -> np.ndarray:
    """Return (n, 3) points of a half-ellipsoid 60 cm in front of the camera, cm."""
    rng = np.random.default_rng(3)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    direction[:, 2] = -np.abs(direction[:, 2])
    return direction * [7.0, 10.0, 8.0] + [3.0, -2.0, 60.0]


def project(points: np.ndarray) -> np.ndarray:
    return points[:, :2] / points[:, 2:] * FOCAL_PX


def flow_of(points: np.ndarray, rotation: np.ndarray, shift: np.ndarray) -> np.ndarray:
    centre = points.mean(0)
    moved = (points - centre) @ rotation.T + centre + shift
    return project(moved) - project(points)


def test_a_small_motion_is_found() -> None:
    points = head_like()
    turn, shift = np.deg2rad([0.4, -0.6, 0.3]), np.array([0.1, -0.05, 0.2])
    found = rigid_motion(points, flow_of(points, rotation_exp(turn), shift), FOCAL_PX)
    assert found is not None
    np.testing.assert_allclose(rotation_log(found.rotation), turn, atol=3e-4)
    np.testing.assert_allclose(found.shift, shift, atol=0.02)
    assert found.agreement > 0.9


def test_no_flow_is_no_motion() -> None:
    points = head_like()
    found = rigid_motion(points, np.zeros((len(points), 2)), FOCAL_PX)
    assert found is not None
    np.testing.assert_array_equal(found.rotation, np.eye(3))
    np.testing.assert_array_equal(found.shift, 0)
    assert found.agreement == 1


def test_a_third_that_moves_otherwise_is_ignored() -> None:
    points = head_like()
    turn, shift = np.deg2rad([0.0, 1.0, 0.0]), np.array([0.2, 0.0, 0.0])
    flow = flow_of(points, rotation_exp(turn), shift)
    flow[::3] += [6.0, -9.0]
    found = rigid_motion(points, flow, FOCAL_PX)
    assert found is not None
    np.testing.assert_allclose(rotation_log(found.rotation), turn, atol=2e-3)
    assert found.agreement == pytest.approx(2 / 3, abs=0.03)


def test_flow_of_nothing_rigid_does_not_agree() -> None:
    points = head_like()
    flow = np.random.default_rng(1).normal(scale=20, size=(len(points), 2))
    found = rigid_motion(points, flow, FOCAL_PX)
    assert found is not None
    assert found.agreement < 0.15


@pytest.mark.parametrize("count", [0, 5])
def test_a_few_points_say_nothing(count: int) -> None:
    assert rigid_motion(head_like()[:count], np.zeros((count, 2)), FOCAL_PX) is None
