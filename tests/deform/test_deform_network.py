"""The deformation network: a residual that is exactly none where it must be, and that learns."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mggtalk_cli.core.camera import Camera, pixel_grid, viewmat_from_pose
from mggtalk_cli.core.checkpoint import read_checkpoint, restore, write_checkpoint
from mggtalk_cli.core.expression import ARKIT_INDEX, LANDMARK_COUNT, FaceState, neutral_state
from mggtalk_cli.core.landmark_groups import LOWER_LIP_INNER, UPPER_LIP_INNER
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.deform import (
    DeformConfig,
    DeformNetwork,
    Handles,
    HeadRig,
    Rig,
    deform_analytic,
    deform_learned,
    learned_deformer,
    state_vector,
)
from mggtalk_cli.deform.handles import carry
from mggtalk_cli.deform.network import LIMIT_CM, STATE_SIZE


@pytest.fixture(scope="session")
def handles(head_rig: HeadRig) -> Handles:
    return Handles.of(head_rig)


@pytest.fixture
def lively(source: FaceState) -> FaceState:
    """The source, talking and turning."""
    beta = source.beta.copy()
    beta[[ARKIT_INDEX[name] for name in ("jawOpen", "mouthClose", "browInnerUp")]] += 0.4
    turn = matrix_from_angles(12, -6, 3).astype(np.float32)
    return replace(
        source,
        beta=beta,
        rotation=turn @ source.rotation,
        translation=source.translation + np.array([1, -0.5, 2], np.float32),
        gaze=source.gaze + np.array([8, -5], np.float32),
    )


def stirred(config: DeformConfig | None = None, *, scale: float = 0.3) -> DeformNetwork:
    """A network with random weights everywhere."""
    network = DeformNetwork(config or DeformConfig.tiny())
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():
        with torch.no_grad():
            weight.copy_(scale * torch.randn(weight.shape, generator=generator))
    return network


@pytest.mark.parametrize("config", [DeformConfig.tiny(), DeformConfig.base()])
def test_untrained_network_is_the_analytic_deformation(
    head_rig: HeadRig, source: FaceState, lively: FaceState, handles: Handles, config: DeformConfig
) -> None:
    analytic = deform_analytic(head_rig, source, lively)
    learned = deform_learned(head_rig, source, lively, DeformNetwork(config), handles)
    torch.testing.assert_close(learned.points, analytic.points, atol=1e-5, rtol=0)
    in_use = learned_deformer(DeformNetwork(config), head_rig, source)(lively)
    for found, expected in zip(in_use, analytic, strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("scale", [0.3, 1e4, 1e38])
def test_equal_states_give_no_displacement_at_any_weights(
    head_rig: HeadRig, source: FaceState, lively: FaceState, scale: float
) -> None:
    network = stirred(scale=scale)
    for state in (source, lively):
        posed = learned_deformer(network, head_rig, state)(replace(state))
        assert torch.equal(posed.points, head_rig.rig.points)
        assert torch.equal(posed.face, head_rig.rig.controls[:LANDMARK_COUNT])


def test_kernel_is_the_torch_expression(
    head_rig: HeadRig, source: FaceState, lively: FaceState, handles: Handles
) -> None:
    network = stirred()
    trained = deform_learned(head_rig, source, lively, network, handles)
    in_use = learned_deformer(network, head_rig, source)(lively)
    assert trained.points.requires_grad
    assert not in_use.points.requires_grad
    assert (in_use.points - trained.points).abs().max() < 1e-5
    analytic = deform_analytic(head_rig, source, lively)
    assert (in_use.points - analytic.points).norm(dim=1).max() > 0.1
    assert (in_use.face - analytic.face).norm(dim=1).max() > 0.1


def test_displacement_is_limited(source: FaceState, lively: FaceState, handles: Handles) -> None:
    states = state_vector(lively, source), state_vector(source, source)
    far = stirred(scale=10)(handles.rest, *states).detach().norm(dim=1)
    assert 0.9 * LIMIT_CM < float(far.max()) <= LIMIT_CM * (1 + 1e-6)
    near = 1e-3 * torch.eye(3)
    network = stirred()
    network.potential = lambda _, state: near * torch.equal(state, states[0])  # type: ignore[method-assign]
    torch.testing.assert_close(network(near, *states), near, rtol=1e-5, atol=0)


def test_one_displacement_of_all_handles_moves_all_that_is_no_mouth_part(
    head_rig: HeadRig, handles: Handles
) -> None:
    rig = head_rig.rig
    everywhere = torch.tensor([0.5, -0.25, 1.0]).expand(len(handles.rest), 3)
    moved = carry(rig.points, handles, everywhere) - rig.points
    landmark_share = (rig.weight * (rig.index < LANDMARK_COUNT)).sum(1)
    moved = moved + landmark_share[:, None] * everywhere[0]
    skin = (rig.index < LANDMARK_COUNT).all(1)
    assert skin.sum() > 10_000
    torch.testing.assert_close(moved[skin], everywhere[0].expand(int(skin.sum()), 3))
    assert float(moved[~skin].abs().max()) < 1e-3


def plane_rig(height: int, width: int) -> HeadRig:
    """A plane 60 cm before the camera, one point per pixel, on no landmark."""
    camera = Camera(viewmat_from_pose(np.eye(3), np.array([0, 0, -60])), 100.0, width, height)
    grid = pixel_grid(height, width).reshape(-1, 2)
    points = torch.from_numpy(camera.unproject(grid, np.full(len(grid), 60.0)).astype(np.float32))
    count = len(points)
    rig = Rig(
        points=points,
        index=torch.zeros(count, 3, dtype=torch.int32),
        weight=torch.zeros(count, 3),
        iris=torch.zeros(count, dtype=torch.bool),
        head_weight=torch.ones(count),
        torso_follow=torch.zeros(count),
        controls=torch.zeros(LANDMARK_COUNT, 3),
        shapes=torch.zeros(52, LANDMARK_COUNT, 3),
    )
    return HeadRig(rig, np.zeros(count, np.uint8), camera)


@pytest.mark.parametrize(("height", "width"), [(73, 101), (140, 56)])
def test_lattice_carries_a_linear_field_exactly(height: int, width: int) -> None:
    head = plane_rig(height, width)
    handles = Handles.of(head)
    slope = torch.tensor([[0.1, 0.0, 0.02], [0.0, -0.05, 0.03], [0.0, 0.0, 0.0]])
    field = handles.rest @ slope
    field[:LANDMARK_COUNT] = 100  # must not matter: no point hangs on a landmark
    points = head.rig.points
    moved = carry(points, handles, field) - points
    # Nodes stand where the nearest point lies: up to .71 px beside their place.
    pixel_cm = 60.0 / 100.0
    assert (moved - points @ slope).abs().max() < 1.1 * pixel_cm * 0.1
    assert 100 < len(handles.rest) - LANDMARK_COUNT <= 29 * 29


def test_a_node_stands_for_the_foremost_point() -> None:
    head = plane_rig(84, 84)
    behind = head.rig.points * torch.tensor([1.5, 1.5, 1.0]) - torch.tensor([0.0, 0.0, 30.0])
    both = head.rig._replace(
        points=torch.cat([behind, head.rig.points]),
        weight=head.rig.weight.repeat(2, 1),
    )
    handles = Handles.of(replace(head, rig=both))
    torch.testing.assert_close(handles.rest, Handles.of(head).rest)


def test_lips_do_not_cross(head_rig: HeadRig, source: FaceState, lively: FaceState) -> None:
    posed = learned_deformer(stirred(), head_rig, source)(replace(lively, rotation=source.rotation))
    upper, lower = (posed.face[list(edge[1:-1]), 1] for edge in (UPPER_LIP_INNER, LOWER_LIP_INNER))
    rest = head_rig.rig.controls[:, 1]
    gap = rest[list(UPPER_LIP_INNER[1:-1])] - rest[list(LOWER_LIP_INNER[1:-1])]
    assert (upper - lower >= torch.clamp(gap, max=0) - 1e-4).all()


def test_state_vector() -> None:
    source = replace(neutral_state(), rotation=matrix_from_angles(30, 0, 0).astype(np.float32))
    target = FaceState(
        beta=np.linspace(0, 1, 52).astype(np.float32),
        rotation=source.rotation @ matrix_from_angles(0, 20, 0).astype(np.float32),
        translation=source.rotation @ np.array([1, 2, 3], np.float32),
        gaze=np.array([15, -30], np.float32),
    )
    vector = state_vector(target, source).numpy()
    assert vector.shape == (STATE_SIZE,) == (60,)
    np.testing.assert_allclose(vector[:52], target.beta)
    expected = [0.5, -1, np.radians(20), 0, 0, 0.1, 0.2, 0.3]
    np.testing.assert_allclose(vector[52:], expected, atol=1e-5)
    assert not state_vector(source, source)[52:].any()


def test_gradients_are_those_of_finite_differences() -> None:
    network = stirred(DeformConfig(width=5, layers=2, octaves=2)).double()
    generator = torch.Generator().manual_seed(1)
    handles = torch.randn(4, 3, generator=generator, dtype=torch.float64)
    states = torch.rand(2, STATE_SIZE, generator=generator, dtype=torch.float64)
    names = dict(network.named_parameters())

    def displaced(handles: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, weights, strict=True))
        return torch.func.functional_call(network, given, (handles, *states))

    weights = [weight.detach().requires_grad_() for weight in names.values()]
    assert torch.autograd.gradcheck(displaced, (handles.requires_grad_(), *weights))


def test_training_finds_a_missing_motion(
    head_rig: HeadRig, source: FaceState, lively: FaceState, handles: Handles
) -> None:
    still = deform_analytic(head_rig, source, lively)
    sag = 0.3 * torch.sin(head_rig.rig.points[:, :1] / 5) * torch.tensor([0.0, 1.0, 0.5])
    network = DeformNetwork(DeformConfig.tiny())
    optimiser = torch.optim.Adam(network.parameters(), 5e-3)
    skin = torch.from_numpy(head_rig.gate == 0)

    def error() -> torch.Tensor:
        posed = deform_learned(head_rig, source, lively, network, handles)
        return (posed.points - still.points - sag)[skin].square().mean()

    before = error().item()
    for _ in range(20):
        optimiser.zero_grad()
        error().backward()
        optimiser.step()
    assert error().item() < 0.25 * before
    assert torch.equal(
        deform_learned(head_rig, source, source, network, handles).points, head_rig.rig.points
    )


def test_checkpoint_round_trip(
    tmp_path: Path, head_rig: HeadRig, source: FaceState, lively: FaceState
) -> None:
    network = stirred(DeformConfig(width=24, layers=3, octaves=5))
    path = tmp_path / "deform.safetensors"
    write_checkpoint(path, {"deform": network}, {"steps": 3})
    stored = read_checkpoint(path).networks["deform"]
    again = restore(stored, "deform", DeformNetwork, DeformConfig)
    assert again.config == network.config
    expected = learned_deformer(network, head_rig, source)(lively).points
    assert torch.equal(learned_deformer(again, head_rig, source)(lively).points, expected)
