"""Raw corrections of Gaussians: zero is nothing, and each part does what it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from learned_scenes import SHAPE, scene, toy_networks

from mggtalk_cli.core.rotation import matrix_from_quaternion
from mggtalk_cli.drawing import seen_colors
from mggtalk_cli.splat import Gaussians, corrected, mirrored, rotation_and_scale, sheet_grids
from mggtalk_cli.splat.decoder import (
    COLOR,
    COLOR_GAIN,
    OPACITY,
    RAW_CHANNELS,
    ROTATION,
    SCALE,
    SCALE_LIMIT,
    log_scales,
    rotated,
    shifted_opacity,
)

FLIP = torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)


def some(count: int = 20) -> Gaussians:
    g = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=g, dtype=torch.float64)

    return Gaussians(
        random(count, 3) - 0.5, random(count, 2, 3) - 0.5, random(count), random(count, 3), 0.1
    )


def raw_of(count: int = 20, spread: float = 0.5) -> torch.Tensor:
    g = torch.Generator().manual_seed(1)
    return spread * torch.randn(count, RAW_CHANNELS, generator=g, dtype=torch.float64)


def test_zeros_change_nothing_bit_by_bit() -> None:
    before = some()
    after = corrected(before, torch.zeros(20, RAW_CHANNELS, dtype=torch.float64))
    for field in ("means", "tangents", "opacities", "colors"):
        assert torch.equal(getattr(after, field), getattr(before, field))
    assert after.harmonics is not None
    assert not after.harmonics.any()
    torch.testing.assert_close(after.covariances(), before.covariances(), rtol=0, atol=1e-15)


def test_scales_stretch_tangents_and_thickness() -> None:
    before, raw = some(), torch.zeros(20, RAW_CHANNELS, dtype=torch.float64)
    raw[:, SCALE] = torch.tensor([0.1, -0.2, 100.0])
    after = corrected(before, raw)
    by = np.exp(SCALE_LIMIT * np.tanh(np.array([0.1, -0.2, 100.0]) / SCALE_LIMIT))
    assert by[0] == pytest.approx(np.exp(0.1), rel=1e-3)
    assert by[2] == pytest.approx(np.exp(SCALE_LIMIT))
    torch.testing.assert_close(after.tangents[:, 0], by[0] * before.tangents[:, 0])
    torch.testing.assert_close(after.tangents[:, 1], by[1] * before.tangents[:, 1])
    assert isinstance(after.thickness_cm, torch.Tensor)
    assert after.thickness_cm.tolist() == pytest.approx([0.1 * by[2]] * 20)


def test_log_scales_tell_how_much_longer_turned_tangents_are() -> None:
    before, raw = some(), raw_of()
    lengths = [g.tangents.norm(dim=-1) for g in (corrected(before, raw), before)]
    torch.testing.assert_close(log_scales(raw)[:, :2], (lengths[0] / lengths[1]).log())


def test_rotations_are_those_of_the_quaternion() -> None:
    raw = raw_of()
    quaternion = torch.nn.functional.normalize(raw[:, :4], dim=-1)
    vectors = some().tangents
    matrices = torch.from_numpy(matrix_from_quaternion(quaternion.numpy()))
    torch.testing.assert_close(rotated(vectors, quaternion), vectors @ matrices.mT)


def test_a_corrected_covariance_is_the_turned_one() -> None:
    before, raw = some(), torch.zeros(20, RAW_CHANNELS, dtype=torch.float64)
    raw[:, ROTATION] = raw_of()[:, ROTATION]
    q = torch.nn.functional.normalize(raw[:, ROTATION] + torch.tensor([1.0, 0, 0, 0]), dim=-1)
    R = torch.from_numpy(matrix_from_quaternion(q.numpy()))
    wanted = R @ before.covariances() @ R.mT
    torch.testing.assert_close(corrected(before, raw).covariances(), wanted)


def test_rotation_and_scale_take_a_thickness_for_each() -> None:
    """The file form of corrected Gaussians has the same covariance."""
    after = corrected(some(), raw_of())
    assert isinstance(after.thickness_cm, torch.Tensor)
    quats, scales = rotation_and_scale(after.tangents, thickness_cm=after.thickness_cm)
    R = torch.from_numpy(matrix_from_quaternion(quats.numpy()))
    torch.testing.assert_close((R * scales[:, None] ** 2) @ R.mT, after.covariances())


def test_opacities_move_in_logits_where_there_are_any() -> None:
    opacity = torch.tensor([0.01, 0.3, 0.85, 0.99], dtype=torch.float64)
    for raw in (-1.0, 0.0, 0.5):
        bent = 8 * np.tanh(raw / 8)
        wanted = torch.sigmoid(torch.logit(opacity) + bent)
        moved = shifted_opacity(opacity, torch.full_like(opacity, raw))
        torch.testing.assert_close(moved, wanted)
    ends = torch.tensor([0.0, 0.0, 1.0, 1.0])
    extreme = torch.tensor([-1e6, 1e6, -1e6, 1e6])
    assert torch.equal(shifted_opacity(ends, extreme), ends)
    single = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(shifted_opacity(single, torch.zeros(1000)), single)


def test_colours_move_by_a_tenth_and_with_the_view() -> None:
    before, raw = some(), torch.zeros(20, RAW_CHANNELS, dtype=torch.float64)
    raw[:, COLOR] = raw_of()[:, COLOR]
    after = corrected(before, raw)
    terms = raw[:, COLOR].reshape(-1, 4, 3)
    torch.testing.assert_close(after.colors, before.colors + COLOR_GAIN * terms[:, 0])
    along_x = np.eye(4)
    along_x[:3, 3] = [1e6, 0, 0]  # the camera at x = -1e6 sees everything along +x
    c1 = np.sqrt(3 / (4 * np.pi))
    wanted = after.colors - c1 * COLOR_GAIN * terms[:, 3]
    torch.testing.assert_close(seen_colors(after, along_x), wanted, rtol=0, atol=1e-5)


def test_a_mirrored_correction_gives_the_mirror_image() -> None:
    """Correct, then mirror = mirror, then correct: covariance, opacity, colour from any side."""
    before, raw = some(), raw_of()
    other = before._replace(means=before.means * FLIP, tangents=before.tangents * FLIP)
    maps = raw.T.reshape(1, RAW_CHANNELS, 4, 5)
    flipped = mirrored(maps).reshape(RAW_CHANNELS, -1).T
    one, two = corrected(before, raw), corrected(other, flipped)
    F = torch.diag(FLIP)
    torch.testing.assert_close(two.covariances(), F @ one.covariances() @ F)
    torch.testing.assert_close(two.opacities, one.opacities)
    view, opposite = np.eye(4), np.eye(4)
    view[:3, 3], opposite[:3, 3] = [1.5, 0.7, 2.0], [-1.5, 0.7, 2.0]
    torch.testing.assert_close(seen_colors(two, opposite), seen_colors(one, view))
    assert torch.equal(mirrored(mirrored(maps)), maps)


def test_gradients_of_the_correction() -> None:
    before, raw = some(3), raw_of(3)
    raw[0, OPACITY] = 0.0
    leaves = [t.clone().requires_grad_(True) for t in (before.tangents, before.opacities, raw)]

    def run(tangents: torch.Tensor, opacities: torch.Tensor, raw: torch.Tensor) -> tuple:
        after = corrected(before._replace(tangents=tangents, opacities=opacities), raw)
        return after.covariances(), after.opacities, after.colors, after.harmonics

    assert torch.autograd.gradcheck(run, leaves)


@pytest.mark.parametrize("frames", [1, 3])
def test_a_decoder_takes_frames_of_any_size_and_one_photo(frames: int) -> None:
    networks = toy_networks(trained=True)
    features = networks.encoder(torch.rand(1, 3, 7, 10))
    positions = torch.rand(frames, 3, 7, 10)
    raw = networks.decoder(positions, features, torch.ones(1, 1, 7, 10))
    assert features.shape == (1, 4, 7, 10)
    assert raw.shape == (frames, RAW_CHANNELS, 7, 10)
    alone = networks.decoder(positions[-1:], features, torch.ones(1, 1, 7, 10))
    torch.testing.assert_close(raw[-1:], alone, rtol=1e-4, atol=1e-5)


def test_gradients_of_encoder_and_decoder() -> None:
    networks = toy_networks(trained=True)
    encoder, decoder = networks.encoder.double(), networks.decoder.double()
    image = torch.rand(1, 3, 3, 5, dtype=torch.float64, requires_grad=True)
    positions = torch.rand(1, 3, 3, 5, dtype=torch.float64, requires_grad=True)
    mask = torch.ones(1, 1, 3, 5, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda i, p: decoder(p, encoder(i), mask), (image, positions))


def test_points_and_maps_are_the_same_thing() -> None:
    of = scene()
    grids = sheet_grids(of.grid_shape, of.valid)
    assert [tuple(grid.valid.shape) for grid in grids] == [SHAPE, SHAPE, (2, 3)]
    assert grids[0].rows.start == 0
    assert grids[-1].rows.stop == len(of.points)
    batch = torch.stack([of.points, 2 * of.points])
    for grid in grids:
        maps = grid.positions(batch)
        torch.testing.assert_close(10 * grid.values(maps), batch[:, grid.rows])
        assert not maps[:, :, ~grid.valid].any()
        assert torch.equal(grid.mask(of.points)[0, 0] > 0, grid.valid)
