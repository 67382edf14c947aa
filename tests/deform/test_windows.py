"""Lips and lids as windows, alone and on the example head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.core.landmark_groups import (
    EYE_RIGHT_LOWER,
    EYE_RIGHT_UPPER,
    LOWER_LIP_INNER,
    UPPER_LIP_INNER,
)
from mggtalk_cli.core.sheet import (
    GATE_EYE_LEFT,
    GATE_EYE_RIGHT,
    GATE_LID_LEFT,
    GATE_LID_RIGHT,
    GATE_MOUTH,
    GATE_NONE,
)
from mggtalk_cli.deform import MOUTH_RING, HeadRig, deform_analytic, posed_landmarks
from mggtalk_cli.deform.aperture import EDGE_PX, signed_distance, window
from mggtalk_cli.deform.edges import LOOKS, RINGS, lids_following, seen_through
from mggtalk_cli.deform.eyes import EYEBALL_RADIUS_CM, iris_shift
from mggtalk_cli.deform.skinning import move_points

SQUARE = np.array([[2.0, 2.0], [10.0, 2.0], [10.0, 8.0], [2.0, 8.0]])


def test_signed_distance_of_a_box() -> None:
    points = np.array([[6, 5], [3, 5], [2, 5], [0, 5], [13, 12], [6, 1.5]])
    expected = [3, 1, 0, -2, -5, -0.5]
    np.testing.assert_allclose(signed_distance(points, SQUARE), expected, atol=1e-5)
    np.testing.assert_allclose(signed_distance(points, SQUARE[::-1]), expected, atol=1e-5)


def test_window_is_soft_by_one_edge_and_open_inside() -> None:
    points = np.array([[6, 5], [2 + EDGE_PX / 2, 5], [2, 5], [2 - EDGE_PX / 2, 5], [0, 0]])
    np.testing.assert_allclose(window(points, SQUARE), [1, 1, 0.5, 0, 0], atol=1e-5)


def test_shut_window_hides_everything_off_its_line() -> None:
    line = np.concatenate([np.stack([np.linspace(0, 9, 10), np.full(10, 5.0)], -1)] * 2)
    line = np.concatenate([line[:10], line[10:][::-1]])
    random = np.random.default_rng(0).uniform(0, 10, (500, 2))
    off = np.abs(random[:, 1] - 5) > EDGE_PX / 2
    assert (window(random, line)[off] == 0).all()


def lips_at(head_rig: HeadRig, source: FaceState, gap: float) -> FaceState:
    """The source with its inner lips `gap` times as far apart."""
    controls = head_rig.rig.controls.numpy()
    upper, lower = list(UPPER_LIP_INNER), list(LOWER_LIP_INNER)
    middle = (controls[upper] + controls[lower]) / 2
    residual = source.residual.copy()
    residual[upper] += (gap - 1) * (controls[upper] - middle)
    residual[lower] += (gap - 1) * (controls[lower] - middle)
    return replace(source, residual=residual)


def test_shut_lips_hide_the_mouth(head_rig: HeadRig, source: FaceState) -> None:
    mouth = head_rig.gate == GATE_MOUTH
    assert mouth.sum() > 500
    shut = deform_analytic(head_rig, source, lips_at(head_rig, source, 0.0)).visibility[mouth]
    line = head_rig.camera.project(head_rig.rig.controls.numpy()[list(UPPER_LIP_INNER)])
    # Only what lies within half a pixel of the lip line may shimmer, and half at most.
    length = float(np.abs(np.diff(line[:, 0])).sum())
    assert float(shut.max()) <= 0.5
    assert float(shut.sum()) < 0.5 * length * 5  # five sheets may have a point on each pixel
    opened = deform_analytic(head_rig, source, lips_at(head_rig, source, 2.0)).visibility[mouth]
    rest = deform_analytic(head_rig, source, source).visibility[mouth]
    assert opened.sum() > 1.2 * rest.sum() > 5 * shut.sum()


def test_mouth_points_show_only_inside_the_lips(head_rig: HeadRig, source: FaceState) -> None:
    beta = source.beta.copy()
    beta[ARKIT_INDEX["jawOpen"]] += 0.4
    for target in (source, replace(source, beta=beta)):
        posed = deform_analytic(head_rig, source, target)
        mouth = torch.from_numpy(head_rig.gate == GATE_MOUTH)
        seen = head_rig.camera.project(posed.points[mouth].numpy())[:, :2]
        ring = control_outline(head_rig, source, target)
        inside = signed_distance(seen, ring)
        visible = posed.visibility[mouth].numpy()
        assert (visible[inside > 0.51] > 0.99).all()
        assert (visible[inside < -0.51] < 0.01).all()


def control_outline(head_rig: HeadRig, source: FaceState, target: FaceState) -> np.ndarray:
    """The inner lips (px) of the target expression, worked out from the shapes."""
    change = torch.from_numpy(target.beta - source.beta)
    motion = torch.einsum("k,kcd->cd", change, head_rig.rig.shapes)
    return head_rig.camera.project((head_rig.rig.controls + motion).numpy()[MOUTH_RING])[:, :2]


def test_kernel_is_the_window_of_every_gated_point(head_rig: HeadRig, source: FaceState) -> None:
    rig, camera = head_rig.rig, head_rig.camera
    motion = 0.1 * torch.randn(rig.controls.shape, generator=torch.Generator().manual_seed(0))
    gaze = torch.tensor([0.2, 0.1, 0.0])
    seen = seen_through(head_rig, motion, gaze).numpy()
    local = camera.project(move_points(rig, motion, gaze).numpy())[:, :2]
    controls = camera.project((rig.controls + motion).numpy())[:, :2]
    for gate, ring in RINGS.items():
        rows = head_rig.gate == gate
        opening = window(local[rows], controls[ring]) if gate else np.ones(rows.sum())
        expected = 1 - opening if gate in (GATE_LID_RIGHT, GATE_LID_LEFT) else opening
        # Lids and eyes fade as a whole with how far they are closed, all by one factor.
        factor = 1.0 if gate in (GATE_NONE, GATE_MOUTH) else seen[rows].max() / expected.max()
        assert 0 <= factor <= 1
        np.testing.assert_allclose(seen[rows], factor * expected, atol=1e-4)


@pytest.mark.parametrize(("side", "gate"), [("Right", GATE_EYE_RIGHT), ("Left", GATE_EYE_LEFT)])
def test_shut_lids_hide_that_iris_only(
    head_rig: HeadRig, source: FaceState, side: str, gate: int
) -> None:
    beta = source.beta.copy()
    beta[ARKIT_INDEX[f"eyeBlink{side}"]] = 1
    rest = deform_analytic(head_rig, source, source).visibility.numpy()
    shut = deform_analytic(head_rig, source, replace(source, beta=beta)).visibility.numpy()
    iris = head_rig.rig.iris.numpy()
    own, other = iris & (head_rig.gate == gate), iris & (head_rig.gate != gate)
    assert rest[own].mean() > 0.4
    # At most the soft edge of the lid line itself is left.
    assert shut[own].max() <= 0.5
    assert shut[own].mean() < 0.2 * rest[own].mean()
    np.testing.assert_allclose(shut[other], rest[other], atol=0.05)


@pytest.mark.parametrize(
    ("gaze", "axis", "sign"), [((12, 0), 0, 1), ((-12, 0), 0, -1), ((0, 12), 1, -1)]
)
def test_iris_turns_to_where_the_gaze_goes(
    head_rig: HeadRig, source: FaceState, gaze: tuple[float, float], axis: int, sign: int
) -> None:
    target = replace(source, gaze=source.gaze + np.array(gaze, np.float32))
    before = head_rig.camera.project(head_rig.rig.points.numpy())
    after = head_rig.camera.project(deform_analytic(head_rig, source, target).points.numpy())
    change = (after - before)[:, :2]
    iris = head_rig.rig.iris.numpy()
    pixels_per_cm = head_rig.camera.focal_px / before[iris, 2].mean()
    expected = EYEBALL_RADIUS_CM * np.sin(np.radians(12)) * pixels_per_cm
    assert sign * change[iris].mean(0)[axis] == pytest.approx(expected, rel=0.15)
    still = ~iris if axis == 0 else ~iris & ~hangs_on_lids(head_rig)
    assert np.abs(change[still]).max() == 0


def hangs_on_lids(head_rig: HeadRig) -> np.ndarray:
    """Which points the lids carry when they follow the gaze up or down."""
    rig, looks = head_rig.rig, [index for index, _ in LOOKS]
    carried = rig.shapes[looks].abs().amax((0, 2)) > 0
    return (carried[rig.index.long()] & (rig.weight != 0)).any(1).numpy()


def test_lids_follow_the_gaze_but_not_against_measured_landmarks(
    head_rig: HeadRig, source: FaceState
) -> None:
    ahead = replace(source, gaze=np.zeros(2, np.float32))
    upper, lower = EYE_RIGHT_UPPER[4], EYE_RIGHT_LOWER[4]
    heights = []
    for up in (-20, 0, 20):
        target = replace(ahead, gaze=np.array([0, up], np.float32))
        heights.append(posed_landmarks(head_rig, ahead, target)[[upper, lower], 1])
    down, level, up = np.array(heights)
    iris_cm = EYEBALL_RADIUS_CM * np.sin(np.radians(20))
    assert 0.3 * iris_cm < (level - down)[0] < iris_cm
    assert 0 < (up - level)[0] < iris_cm
    assert abs((level - down)[1]) < 0.2 * iris_cm
    measured = replace(target, residual=np.full_like(source.residual, 1e-6))
    np.testing.assert_array_equal(lids_following(measured), source.beta)
    kept = posed_landmarks(head_rig, ahead, measured)[upper, 1]
    assert kept == pytest.approx(level[0], abs=1e-4)


def test_gaze_is_bounded() -> None:
    assert (iris_shift(np.array([90.0, -90.0])) == iris_shift(np.array([35.0, -35.0]))).all()
    assert (iris_shift(np.zeros(2)) == 0).all()
