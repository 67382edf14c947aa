"""Motion of the example head's points: rest, rigid, linear, and edges that never cross."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES, FaceState
from mggtalk_cli.core.landmark_groups import (
    EYE_LEFT_LOWER,
    EYE_LEFT_UPPER,
    EYE_RIGHT_LOWER,
    EYE_RIGHT_UPPER,
    LOWER_LIP_INNER,
    UPPER_LIP_INNER,
)
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.core.sheet import GATE_NONE
from mggtalk_cli.deform import (
    DEFORMERS,
    HeadRig,
    deform_analytic,
    head_motion,
    torso_follow_map,
)
from mggtalk_cli.deform.neck import TORSO_FOLLOW
from mggtalk_cli.deform.skinning import (
    NECK_PIVOT_CM,
    deform_points,
    move_points,
    pose_points,
)


def with_beta(state: FaceState, **change: float) -> FaceState:
    """The state with coefficients changed by so much."""
    beta = state.beta.copy()
    for name, amount in change.items():
        beta[ARKIT_INDEX[name]] += amount
    return replace(state, beta=beta)


def points(head_rig: HeadRig, source: FaceState, target: FaceState) -> torch.Tensor:
    return deform_analytic(head_rig, source, target).points


def test_equal_states_give_exactly_no_motion(head_rig: HeadRig, source: FaceState) -> None:
    posed = deform_analytic(head_rig, source, replace(source))
    assert torch.equal(posed.points, head_rig.rig.points)


@pytest.mark.parametrize("seed", range(5))
def test_no_motion_from_any_pose_expression_and_gaze(head_rig: HeadRig, seed: int) -> None:
    random = np.random.default_rng(seed)
    state = FaceState(
        beta=random.uniform(0, 1, 52).astype(np.float32),
        rotation=matrix_from_angles(*random.uniform(-40, 40, 3)).astype(np.float32),
        translation=random.uniform(-80, 80, 3).astype(np.float32),
        gaze=random.uniform(-20, 20, 2).astype(np.float32),
        residual=random.normal(0, 0.1, (468, 3)).astype(np.float32),
    )
    assert torch.equal(points(head_rig, state, state), head_rig.rig.points)


def test_skin_is_always_visible(head_rig: HeadRig, source: FaceState) -> None:
    for target in (source, with_beta(source, jawOpen=0.6, eyeBlinkLeft=1.0)):
        seen = deform_analytic(head_rig, source, target).visibility.numpy()
        assert (seen[head_rig.gate == GATE_NONE] == 1).all()
        assert seen.min() >= 0
        assert seen.max() <= 1


def test_rigid_motion_moves_the_head_rigidly_and_leaves_the_torso(
    head_rig: HeadRig, source: FaceState
) -> None:
    rig = head_rig.rig
    turn = matrix_from_angles(12, -7, 4).astype(np.float32)
    target = replace(
        source,
        rotation=turn @ source.rotation,
        translation=source.translation + np.array([1, -2, 3], np.float32),
    )
    moved = points(head_rig, source, target)
    head = rig.head_weight == 1
    assert head.sum() > 1000
    # The definition of a pose: head points seen through the *source* pose are where the target
    # pose puts them.
    through_source = moved[head].numpy() @ source.rotation.T + source.translation
    expected = rig.points[head].numpy() @ target.rotation.T + target.translation
    np.testing.assert_allclose(through_source, expected, atol=1e-4)
    # The torso is carried by its share of the neck's shift and does not turn.
    rotation, translation = head_motion(target, source)
    pivot = np.array(NECK_PIVOT_CM, np.float32)
    shift = torch.from_numpy(rotation @ pivot + translation - pivot)
    torso = rig.head_weight == 0
    assert torso.sum() > 1000
    expected = rig.torso_follow[torso, None] * shift
    torch.testing.assert_close(moved[torso] - rig.points[torso], expected, atol=1e-4, rtol=0)
    assert 0 < float(rig.torso_follow[torso].max()) <= TORSO_FOLLOW


def test_torso_keeps_still_at_the_pictures_border() -> None:
    follow = torso_follow_map(64, 48)
    assert max(follow[-1].max(), follow[:, 0].max(), follow[:, -1].max()) < 0.01
    assert follow[20, 24] == pytest.approx(TORSO_FOLLOW)


def test_shoulders_follow_less_than_the_head(head_rig: HeadRig, source: FaceState) -> None:
    rig = head_rig.rig
    shift = np.array([2, 0, 0], np.float32)
    moved = points(head_rig, source, replace(source, translation=source.translation + shift))
    far = (moved - rig.points).norm(dim=1)
    torso = (rig.head_weight == 0) & (rig.torso_follow > 0.1)
    assert far[rig.head_weight == 1].min() == pytest.approx(2, abs=1e-4)
    assert 0 < float(far[torso].max()) < 0.8
    assert (far <= 2 + 1e-4).all()


def test_motion_is_linear_in_the_coefficients(head_rig: HeadRig, source: FaceState) -> None:
    rest = head_rig.rig.points
    jaw = points(head_rig, source, with_beta(source, jawOpen=0.2)) - rest
    brow = points(head_rig, source, with_beta(source, browInnerUp=0.3)) - rest
    assert jaw.abs().max() > 0.1
    assert brow.abs().max() > 0.05
    twice = points(head_rig, source, with_beta(source, jawOpen=0.4)) - rest
    both = points(head_rig, source, with_beta(source, jawOpen=0.2, browInnerUp=0.3)) - rest
    torch.testing.assert_close(twice, 2 * jaw, atol=1e-4, rtol=0)
    torch.testing.assert_close(both, jaw + brow, atol=1e-4, rtol=0)


def test_open_jaw_moves_chin_and_lower_teeth_down_and_leaves_the_forehead(
    head_rig: HeadRig, source: FaceState
) -> None:
    controls = moved_controls(head_rig, source, with_beta(source, jawOpen=0.5))
    change = controls - head_rig.rig.controls.numpy()
    assert change[152, 1] < -0.3
    assert change[14, 1] < -0.3
    assert np.abs(change[10]).max() < 0.05


def random_motion(head_rig: HeadRig) -> tuple[torch.Tensor, ...]:
    """Control motion, gaze, rotation and translation of a lively frame."""
    generator = torch.Generator().manual_seed(0)
    motion = 0.3 * torch.randn(len(head_rig.rig.controls), 3, generator=generator)
    turn = torch.from_numpy(matrix_from_angles(20, -10, 5)).float()
    return motion, torch.tensor([0.3, -0.2, 0.0]), turn, torch.tensor([1.0, -2.0, 3.0])


def test_kernel_is_the_torch_expression(head_rig: HeadRig) -> None:
    rig, (motion, gaze, *pose) = head_rig.rig, random_motion(head_rig)
    assert rig.iris.any()
    expected = pose_points(rig, move_points(rig, motion, gaze), *pose)
    compiled = deform_points(rig, motion, gaze, *pose)
    assert (compiled - expected).abs().max() < 1e-5
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 2)
        assert torch.equal(deform_points(rig, motion, gaze, *pose), compiled)
    finally:
        torch.set_num_threads(threads)


def test_gradients_flow_to_points_and_controls(head_rig: HeadRig, source: FaceState) -> None:
    target = with_beta(source, jawOpen=0.4, mouthClose=0.9, eyeBlinkLeft=1.0)
    rig = head_rig.rig
    trained = rig._replace(
        points=rig.points.clone().requires_grad_(), shapes=rig.shapes.clone().requires_grad_()
    )
    posed = deform_analytic(replace(head_rig, rig=trained), source, target)
    still = deform_analytic(head_rig, source, target)
    torch.testing.assert_close(posed.points, still.points, atol=1e-5, rtol=0)
    assert torch.equal(posed.visibility, still.visibility)
    posed.points[:, 1].sum().backward()
    assert trained.points.grad is not None
    assert trained.shapes.grad is not None
    torch.testing.assert_close(trained.points.grad[:, 1], torch.ones(len(rig.points)))
    jaw = trained.shapes.grad[ARKIT_INDEX["jawOpen"], :, 1]
    pulled = torch.zeros(len(rig.controls))
    for corner in range(3):
        pulled.index_add_(0, rig.index[:, corner], rig.weight[:, corner])
    torch.testing.assert_close(jaw, 0.4 * pulled, atol=1e-2, rtol=1e-4)


def test_residual_moves_landmarks_one_to_one(head_rig: HeadRig, source: FaceState) -> None:
    residual = np.zeros((468, 3), np.float32)
    residual[:, 1] = 0.25
    target = replace(source, residual=source.residual + residual)
    change = moved_controls(head_rig, source, target) - head_rig.rig.controls.numpy()
    np.testing.assert_allclose(change[:468], residual, atol=1e-5)
    assert (change[468:] == 0).all()


def moved_controls(head_rig: HeadRig, source: FaceState, target: FaceState) -> np.ndarray:
    """Where the controls go: deform a head whose points are its controls."""
    rig = head_rig.rig
    count = len(rig.controls)
    own = rig._replace(
        points=rig.controls,
        index=torch.arange(count)[:, None].expand(count, 3),
        weight=torch.tensor([[1.0, 0.0, 0.0]]).expand(count, 3),
        iris=torch.zeros(count, dtype=torch.bool),
        head_weight=torch.ones(count),
        torso_follow=torch.zeros(count),
    )
    as_points = HeadRig(own, np.zeros(count, np.uint8), head_rig.camera)
    return points(as_points, source, target).numpy()


EDGES = (
    (UPPER_LIP_INNER, LOWER_LIP_INNER),
    (EYE_RIGHT_UPPER, EYE_RIGHT_LOWER),
    (EYE_LEFT_UPPER, EYE_LEFT_LOWER),
)


@pytest.mark.parametrize("seed", range(30))
def test_lips_and_lids_never_cross(head_rig: HeadRig, source: FaceState, seed: int) -> None:
    random = np.random.default_rng(seed)
    beta = random.uniform(-0.25, 1.25, 52).astype(np.float32)
    beta[random.random(52) < 0.5] = 0
    beta[ARKIT_INDEX["mouthClose"]] = 1.25
    beta[ARKIT_INDEX["eyeBlinkLeft"]] = beta[ARKIT_INDEX["eyeBlinkRight"]] = 1.25
    residual = random.normal(0, 0.05, (468, 3)).astype(np.float32)
    moved = moved_controls(head_rig, source, replace(source, beta=beta, residual=residual))
    rest = head_rig.rig.controls.numpy()
    for upper, lower in EDGES:
        up, low = list(upper[1:-1]), list(lower[1:-1])
        allowed = np.minimum(rest[up, 1] - rest[low, 1], 0)
        assert (moved[up, 1] - moved[low, 1] >= allowed - 1e-5).all()


def test_all_deformers_share_the_rest_pose(head_rig: HeadRig, source: FaceState) -> None:
    for deformer in DEFORMERS.values():
        assert torch.equal(deformer(head_rig, source, source).points, head_rig.rig.points)


def test_coefficients_are_the_named_ones(head_rig: HeadRig) -> None:
    assert head_rig.rig.shapes.shape == (len(ARKIT_NAMES), len(head_rig.rig.controls), 3)
