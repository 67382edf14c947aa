"""The conventions everything follows: frames, pixel centres, signs of the head pose."""

from __future__ import annotations

import numpy as np
import pytest

from mggtalk_cli.core.camera import Camera, pixel_grid, viewmat_from_pose
from mggtalk_cli.core.rotation import matrix_from_angles

NOSE, CROWN = np.array([0.0, 0.0, 10.0]), np.array([0.0, 10.0, 0.0])
AWAY = np.array([0.0, 0.0, -75.0])


def camera(yaw: float = 0, pitch: float = 0, roll: float = 0, at: np.ndarray = AWAY) -> Camera:
    return Camera(viewmat_from_pose(matrix_from_angles(yaw, pitch, roll), at), 600.0, 320, 240)


def test_project_and_unproject_are_inverse() -> None:
    seen_by = camera(20, -10, 5, np.array([3.0, -2.0, -60.0]))
    points = np.random.default_rng(0).uniform(-12, 12, (200, 3))
    projected = seen_by.project(points)
    assert (projected[:, 2] > 0).all()
    back = seen_by.unproject(projected[:, :2], projected[:, 2])
    np.testing.assert_allclose(back, points, atol=1e-4)


def test_project_is_the_pinhole_matrix() -> None:
    seen_by = camera(15, 5, -8)
    points = np.random.default_rng(1).uniform(-8, 8, (50, 3))
    ray = (seen_by.to_camera(points)) @ seen_by.intrinsics.T
    np.testing.assert_allclose(seen_by.project(points)[:, :2], ray[:, :2] / ray[:, 2:], atol=1e-3)


def test_origin_is_seen_in_the_middle_and_a_cm_has_its_size() -> None:
    x, y, depth = camera().project(np.zeros(3))
    assert (x, y, depth) == (160, 120, 75)
    moved = camera().project(np.array([1.0, 1.0, 0.0]))
    # +x to image right, +y up (smaller row), f / z = 8 px per cm.
    np.testing.assert_allclose(moved, [168, 112, 75], atol=1e-4)


@pytest.mark.parametrize(
    ("angles", "point", "axis", "sign"),
    [
        ((20, 0, 0), NOSE, 0, 1),  # positive yaw: nose to image right
        ((0, 20, 0), NOSE, 1, 1),  # positive pitch: nose down
        ((0, 0, 20), CROWN, 0, -1),  # positive roll: counter-clockwise, the crown goes left
    ],
)
def test_sign_of_each_head_angle(
    angles: tuple[float, float, float], point: np.ndarray, axis: int, sign: int
) -> None:
    before, after = camera().project(point), camera(*angles).project(point)
    assert sign * (after - before)[axis] > 10
    assert sign * (camera(*(-a for a in angles)).project(point) - before)[axis] < -10


def test_translation_is_y_up_and_towards_the_viewer() -> None:
    x, y, depth = camera(at=np.array([2.0, 1.0, -50.0])).project(np.zeros(3))
    assert x > 160
    assert y < 120
    assert depth == 50


def test_points_behind_the_camera_stay_finite() -> None:
    projected = camera().project(np.array([[1.0, 1.0, 75.0], [0.0, 0.0, 200.0]]))
    assert np.isfinite(projected).all()
    assert (projected[:, 2] <= 0).all()


def test_pixel_centres_lie_at_a_half() -> None:
    grid = pixel_grid(2, 3)
    assert grid.shape == (2, 3, 2)
    assert grid[0, 0].tolist() == [0.5, 0.5]
    assert grid[1, 2].tolist() == [2.5, 1.5]
