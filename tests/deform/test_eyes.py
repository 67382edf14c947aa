"""Iris, white and lids of a drawn eye whose colours are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mggtalk_cli.core.camera import Camera, pixel_grid, viewmat_from_pose
from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.core.landmark_groups import CANONICAL
from mggtalk_cli.core.sheet import GATE_NONE
from mggtalk_cli.deform import (
    EYES,
    HeadRig,
    deform_analytic,
    eye_patch,
    eye_sheets,
    lid_sheets,
)
from mggtalk_cli.deform.aperture import signed_distance
from mggtalk_cli.deform.eyes import EyePatch

SIZE = 200
CAMERA = Camera(viewmat_from_pose(np.eye(3), np.array([0, 0, -80.0])), 1600.0, SIZE, SIZE)
EYE = EYES[0]
SKIN, WHITE, LASH = np.array([0.8, 0.6, 0.5]), np.array([0.9, 0.88, 0.86]), np.array([0.1] * 3)
PUPIL, IRIS = np.array([0.02] * 3), np.array([0.25, 0.4, 0.6])
RADIUS = 12.0
LIGHT = np.full(3, 0.95, np.float32)


def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return picture, leaning depth (nearer at the brow) and landmarks in px of one eye."""
    ring = CANONICAL[EYE.ring]
    landmarks = np.zeros((478, 2))
    centre = np.array([SIZE, SIZE]) / 2
    flat = (CANONICAL[:, :2] - ring[:, :2].mean(0)) * np.array([20, -28])
    landmarks[:468] = centre + flat
    # The iris as people have it: its upper third under the lid.
    iris = centre + np.array([0, -4])
    landmarks[list(EYE.iris)] = iris + RADIUS * np.array([[0, 0], [1, 0], [0, 1], [-1, 0], [0, -1]])
    grid = pixel_grid(SIZE, SIZE)
    lids = signed_distance(grid.reshape(-1, 2), landmarks[EYE.ring]).reshape(SIZE, SIZE)
    away = np.linalg.norm(grid - iris, axis=-1)
    image = np.where((away < RADIUS)[..., None], IRIS, WHITE)
    image = np.where((away < RADIUS / 3)[..., None], PUPIL, image)
    image = np.where((lids < 0)[..., None], SKIN, image)
    upper = (np.abs(lids) < 1.5) & (grid[..., 1] < centre[1])
    image = np.where(upper[..., None], LASH, image).astype(np.float32)
    depth = 80 + 0.4 * (grid[..., 1] - SIZE / 2) / 20
    return image, depth.astype(np.float32), landmarks


@pytest.fixture(scope="module")
def eye() -> tuple[np.ndarray, EyePatch]:
    image, depth, landmarks = drawn()
    return landmarks, eye_patch(EYE, image, depth, landmarks, CAMERA)


# Where rims of ordinary glasses lie, in eye widths above and below the lid outline: a lens is about
# one and a third eye widths high, its middle a little below the pupil.
RIM_ABOVE, RIM_BELOW = 0.45, 0.5


@pytest.mark.parametrize(("blink", "look_deg"), [(1.0, 0.0), (0.5, 0.0), (0.0, 20.0), (0.0, -20.0)])
def test_lids_do_not_bend_the_rims_of_glasses(
    head_rig: HeadRig, source: FaceState, blink: float, look_deg: float
) -> None:
    beta = source.beta.copy()
    lids = [ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"]]
    beta[lids] = np.maximum(beta[lids], blink)
    gaze = source.gaze + np.array([0, look_deg], np.float32)
    posed = deform_analytic(head_rig, source, replace(source, beta=beta, gaze=gaze))
    camera, skin = head_rig.camera, head_rig.gate == GATE_NONE
    before = camera.project(head_rig.rig.points.numpy()[skin])[:, :2]
    moved = np.hypot(*(camera.project(posed.points.numpy()[skin])[:, :2] - before).T)
    moved *= 512 / max(camera.width, camera.height)
    controls = camera.project(head_rig.rig.controls.numpy())[:, :2]
    rims, edges = np.zeros(len(before), bool), np.zeros(len(before), bool)
    for eye in EYES:
        low, high = controls[eye.ring].min(0), controls[eye.ring].max(0)
        width = high[0] - low[0]
        beside = (before[:, 0] > low[0] - 0.2 * width) & (before[:, 0] < high[0] + 0.2 * width)
        above, below = (low[1] - before[:, 1]) / width, (before[:, 1] - high[1]) / width
        rims |= beside & (np.maximum(above - RIM_ABOVE, below - RIM_BELOW) > 0)
        edges |= beside & (np.maximum(above, below) < 0.1)
    assert rims.sum() > 1000
    assert moved[rims].max() < 0.3
    assert moved[edges].max() > 1.0


def test_iris_is_completed_under_the_lid(eye: tuple[np.ndarray, EyePatch]) -> None:
    landmarks, patch = eye
    _, iris = eye_sheets(EYE, patch, landmarks, LIGHT)
    away = np.linalg.norm(patch.grid - landmarks[EYE.iris[0]], axis=-1)
    hidden = iris.valid & (patch.lids < -1) & (away < RADIUS - 1.5) & (away > RADIUS / 3 + 1.5)
    assert hidden.sum() > 20
    np.testing.assert_allclose(iris.color[hidden], IRIS + np.zeros((hidden.sum(), 3)), atol=0.08)
    disc = np.pi * (1.12 * RADIUS) ** 2
    assert iris.valid.sum() == pytest.approx(disc, rel=0.12)


def test_white_continues_under_the_iris_unstained(eye: tuple[np.ndarray, EyePatch]) -> None:
    landmarks, patch = eye
    white, _ = eye_sheets(EYE, patch, landmarks, LIGHT)
    away = np.linalg.norm(patch.grid - landmarks[EYE.iris[0]], axis=-1)
    under = (away < RADIUS - 1) & (patch.lids > 0.13 * patch.eye_width)
    assert under.sum() > 20
    np.testing.assert_allclose(white.color[under], WHITE + np.zeros((under.sum(), 3)), atol=0.06)


@pytest.mark.parametrize("shift", [(0.0, 0.4), (0.0, -0.4), (0.4, 0.0), (-0.4, 0.0)])
def test_turned_iris_stays_before_the_white(
    eye: tuple[np.ndarray, EyePatch], shift: tuple[float, float]
) -> None:
    """However the face leans around the eye."""
    landmarks, patch = eye
    white, iris = eye_sheets(EYE, patch, landmarks, LIGHT)
    moved = CAMERA.project(iris.positions[iris.valid] + np.array([*shift, 0.0], np.float32))
    x, y = (moved[:, :2] - patch.grid[0, 0]).round().astype(int).T
    inside = (x >= 0) & (y >= 0) & (x < white.valid.shape[1]) & (y < white.valid.shape[0])
    behind = CAMERA.project(white.positions[y[inside], x[inside]])[:, 2]
    assert inside.mean() > 0.6
    assert (moved[inside, 2] < behind - 0.05).all()


def test_lids_are_skin_and_leave_the_lower_lashes(eye: tuple[np.ndarray, EyePatch]) -> None:
    landmarks, patch = eye
    skin, lashes = lid_sheets(EYE, patch, landmarks)
    eye_open = patch.lids > 1
    assert skin.valid[eye_open].all()
    np.testing.assert_allclose(
        skin.color[eye_open], SKIN + np.zeros((eye_open.sum(), 3)), atol=0.05
    )
    lower = landmarks[list(EYE.lower), :2]
    floor = np.interp(patch.grid[..., 0], *lower[np.argsort(lower[:, 0])].T)
    far_below = patch.grid[..., 1] > floor + 0.06 * patch.eye_width
    middle = np.abs(patch.grid[..., 0] - lower[:, 0].mean()) < 0.2 * patch.eye_width
    assert not skin.valid[far_below & middle].any()
    assert lashes.color.mean() < 0.35
    # Skin lies before the eye, and the lash line before the skin.
    assert (
        skin.positions[skin.valid][:, 2].min()
        > patch.camera.unproject(patch.grid, patch.front)[eye_open][:, 2].min()
    )
