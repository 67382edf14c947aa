"""Clouds of Gaussians: how they turn, and the camera that frames one."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli import pipeline
from mggtalk_cli.artifacts.ply import GaussianCloud, sh_from_color, write_ply
from mggtalk_cli.cli.options import Up
from mggtalk_cli.clouds import UP_TURNS, framing_view, harmonics_rotation, resized, rotate
from mggtalk_cli.core.rotation import matrix_from_angles, matrix_from_quaternion
from mggtalk_cli.errors import InputError
from mggtalk_cli.render.harmonics import sh_basis

SIDE = 128


def ball(count: int = 2000, *, radius: float = 1.0, seed: int = 0) -> GaussianCloud:
    """A ball full of small round Gaussians."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((count, 3))
    means *= (
        radius
        * rng.uniform(0, 1, (count, 1)) ** (1 / 3)
        / np.linalg.norm(means, axis=1, keepdims=True)
    )
    return cloud_at(means, scale=0.04 * radius)


def cloud_at(means: np.ndarray, *, scale: float = 0.05, opacity: float = 0.9) -> GaussianCloud:
    n = len(means)
    return GaussianCloud(
        means=np.asarray(means, np.float32),
        quats=np.tile(np.float32([1, 0, 0, 0]), (n, 1)),
        scales=np.full((n, 3), scale, np.float32),
        opacities=np.full(n, opacity, np.float32),
        sh=sh_from_color(np.full((n, 3), 0.8, np.float32)).astype(np.float32),
    )


def together(*clouds: GaussianCloud) -> GaussianCloud:
    names = vars(clouds[0])
    return GaussianCloud(**{n: np.concatenate([getattr(c, n) for c in clouds]) for n in names})


def picture(cloud: GaussianCloud, **options: object) -> np.ndarray:
    view = pipeline.RenderOptions(device="cpu", **options)
    return pipeline.render_cloud(cloud, None, view, size=SIDE).arrays["matte"]


def box(matte: np.ndarray) -> np.ndarray:
    """First and last column and row of what is seen."""
    rows, columns = np.nonzero(matte > 128)
    return np.array([columns.min(), columns.max(), rows.min(), rows.max()])


# ---------------------------------------------------------------- turning


@pytest.mark.parametrize("degree", [1, 2, 3])
def test_harmonics_turn_like_functions_on_the_sphere(degree: int) -> None:
    rotation = matrix_from_angles(40, -75, 110)
    rng = np.random.default_rng(3)
    directions = rng.standard_normal((50, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    coefficients = rng.standard_normal(2 * degree + 1)

    def values(at: np.ndarray, c: np.ndarray) -> np.ndarray:
        return np.stack(sh_basis(*at.T), -1)[:, degree**2 : (degree + 1) ** 2] @ c

    turn = harmonics_rotation(rotation, degree)
    np.testing.assert_allclose(turn @ turn.T, np.eye(2 * degree + 1), atol=1e-12)
    np.testing.assert_allclose(
        values(directions @ rotation.T, turn @ coefficients), values(directions, coefficients)
    )


def test_centres_and_axes_turn() -> None:
    rng = np.random.default_rng(1)
    cloud = cloud_at(rng.standard_normal((20, 3)))
    quats = rng.standard_normal((20, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    cloud = GaussianCloud(**{**vars(cloud), "quats": quats.astype(np.float32)})
    R, t = matrix_from_angles(12, 34, -56), (1.0, 2.0, 3.0)
    turned = rotate(cloud, R, t)
    np.testing.assert_allclose(turned.means, cloud.means @ R.T + t, atol=1e-5)
    np.testing.assert_allclose(
        matrix_from_quaternion(turned.quats), R @ matrix_from_quaternion(quats), atol=1e-6
    )
    back = rotate(turned, R.T, -R.T @ t)
    np.testing.assert_allclose(back.means, cloud.means, atol=1e-5)
    assert all(array.dtype == np.float32 for array in vars(back).values())


@pytest.mark.parametrize(
    "matrix", [np.diag([1, 1, -1]), 2 * np.eye(3), np.eye(4), np.zeros((3, 3))]
)
def test_only_rotations_turn(matrix: np.ndarray) -> None:
    with pytest.raises(InputError, match="no rotation"):
        rotate(ball(3), matrix)


# ---------------------------------------------------------------- framing


def test_the_whole_cloud_is_in_the_picture_from_every_side() -> None:
    cloud = ball()
    for options in ({}, {"yaw_deg": 90.0}, {"yaw_deg": -140.0, "pitch_deg": 50.0}):
        left, right, top, bottom = box(picture(cloud, **options))
        assert min(left, top) >= 1
        assert max(right, bottom) <= SIDE - 2
        assert min(right - left, bottom - top) > 0.7 * SIDE


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e5])
@pytest.mark.parametrize("place", [(0, 0, 0), (30, -20, 10)])
def test_unit_and_place_do_not_matter(unit: float, place: tuple[float, ...]) -> None:
    moved = rotate(ball(radius=unit), np.eye(3), tuple(unit * x for x in place))
    np.testing.assert_allclose(box(picture(moved)), box(picture(ball())), atol=1)


def test_strays_do_not_shrink_the_picture() -> None:
    strays = cloud_at(np.random.default_rng(2).standard_normal((60, 3)) * 3000, scale=20.0)
    haze = cloud_at(np.random.default_rng(3).standard_normal((2000, 3)) * 50, opacity=0.005)
    alone, spoilt = framing_view(ball(), SIDE), framing_view(together(ball(), strays, haze), SIDE)
    np.testing.assert_allclose(spoilt.camera.viewmat, alone.camera.viewmat, rtol=0.2, atol=0.2)


def test_a_stray_before_the_lens_is_not_drawn() -> None:
    view = framing_view(ball(), SIDE)
    lens = -view.camera.viewmat[:3, :3].T @ view.camera.viewmat[:3, 3]
    spoilt = together(ball(), cloud_at(np.array([lens - [0, 0, 0.3]]), scale=0.5))
    np.testing.assert_array_equal(picture(spoilt)[0], 0)


def test_one_gaussian_is_framed() -> None:
    left, right, *_ = box(picture(cloud_at(np.array([[5.0, 6.0, 7.0]]))))
    assert 0.2 * SIDE < right - left < 0.8 * SIDE


def test_clouds_beyond_any_camera_are_refused() -> None:
    with pytest.raises(InputError, match="scale it down"):
        framing_view(ball(radius=1e30), SIDE)


def test_nothing_in_view_is_said(caplog: pytest.LogCaptureFixture) -> None:
    view = resized(framing_view(ball(), SIDE), SIDE)
    away = rotate(ball(), np.eye(3), (0.0, 0.0, 1e4))
    with caplog.at_level(logging.WARNING):
        frames = pipeline.render_cloud(away, view, pipeline.RenderOptions(device="cpu"))
    assert "nothing is in view" in caplog.text
    assert not frames.arrays["image"].any()


def test_size_is_that_of_the_longer_side() -> None:
    view = framing_view(ball(), 300)
    wide = resized(view, 200)
    assert (wide.camera.width, wide.camera.height) == (200, 200)
    assert wide.camera.focal_px / 200 == pytest.approx(view.camera.focal_px / 300)


# ---------------------------------------------------------------- up


@pytest.mark.parametrize(
    ("up", "top", "viewer"),
    [("y", "+y", "+z"), ("-y", "-y", "-z"), ("z", "+z", "-y"), ("-z", "-z", "+y")],
)
def test_up(tmp_path: Path, up: str, top: str, viewer: str) -> None:
    def axis(name: str) -> np.ndarray:
        return np.eye(3)["xyz".index(name[1])] * (1 if name[0] == "+" else -1)

    np.testing.assert_array_equal(UP_TURNS[up] @ axis(top), [0, 1, 0])
    np.testing.assert_array_equal(UP_TURNS[up] @ axis(viewer), [0, 0, 1])
    assert np.linalg.det(UP_TURNS[up]) == pytest.approx(1)
    # A wide plate with a mark on its top: the mark is above the middle of the picture.
    y = np.array([[a, b, 0] for a in np.linspace(-1, 1, 20) for b in np.linspace(-0.3, 0.3, 8)])
    marked = together(cloud_at(y), cloud_at(np.array([[0, 0.7, 0]] * 20), scale=0.1))
    write_ply(tmp_path / "a.ply", rotate(marked, UP_TURNS[up].T))
    cloud, view = pipeline.open_ply(str(tmp_path / "a.ply"), up=up)
    assert view is None
    np.testing.assert_allclose(picture(cloud), picture(marked), atol=1)
    assert [member.value for member in Up] == list(UP_TURNS)
