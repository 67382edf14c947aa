"""The built surface: back-projection, links, refiners, agreement with its inputs."""

import numpy as np
import pytest
import torch
from ellipsoid_scene import ellipsoid_head, head_view_of

from mggtalk_cli.core.camera import pixel_grid
from mggtalk_cli.core.sheet import LINK_DOWN, LINK_RIGHT
from mggtalk_cli.errors import InputError
from mggtalk_cli.head import DEPTH, REFINERS, build_surface, estimate, inside_face
from mggtalk_cli.head.estimate import MEASURED_NORMALS_TRUST
from mggtalk_cli.head.surface import surface_links


def built(yaw=0.0, **options):
    head = ellipsoid_head(yaw)
    view = head_view_of(head)
    guess = estimate(view)
    return (
        head,
        view,
        guess,
        build_surface(view, head.camera, depth=guess.depth, normals=guess.normals, **options),
    )


def test_positions_project_onto_their_own_pixels():
    head, view, _, surface = built(20.0)
    projected = head.camera.project(surface.positions[surface.valid])
    grid = pixel_grid(*view.matte.shape)[surface.valid]
    assert np.abs(projected[:, :2] - grid).max() < 1e-2
    np.testing.assert_allclose(projected[:, 2], surface.depth[surface.valid], atol=1e-3)


def test_integration_does_not_damage_the_prior():
    head, view, guess, surface = built()
    before = np.abs(guess.depth - head.depth)[view.valid].mean()
    after = np.abs(surface.depth - head.depth)[view.valid].mean()
    assert after < before + 0.05
    assert np.abs(surface.depth - head.depth)[view.face].mean() < 0.3


def test_true_normals_improve_a_wrong_prior():
    head, view, guess, _ = built()
    normals = np.where(view.valid[..., None], np.nan_to_num(head.normals), np.nan)
    surface = build_surface(
        view,
        head.camera,
        depth=guess.depth,
        normals=normals,
        edge_stiffness=2.0,
        prior_trust=MEASURED_NORMALS_TRUST,
    )
    outside = view.valid & ~view.face
    before = np.abs(guess.depth - head.depth)[outside].mean()
    assert np.abs(surface.depth - head.depth)[outside].mean() < 0.8 * before


def test_links_break_at_steps_only():
    depth = np.full((4, 6), 75.0, np.float32)
    depth[:, 3:] = 80.0
    valid = np.ones((4, 6), bool)
    valid[0, 0] = False
    links = surface_links(depth, valid, 900.0)
    assert not (links[:, 2] & LINK_RIGHT).any()
    assert (links[1:3, 1] == LINK_RIGHT | LINK_DOWN).all()
    assert links[0, 0] == 0
    assert not (links[:, -1] & LINK_RIGHT).any()
    assert not (links[-1] & LINK_DOWN).any()


def test_zero_refiner_is_exact_and_keeps_gradients():
    positions = torch.randn(3, 5, 6, requires_grad=True)
    offset = REFINERS["analytic"](torch.zeros(3, 5, 6), positions, torch.ones(1, 5, 6))
    assert offset.shape == (1, 5, 6)
    assert not offset.any()
    offset.sum().backward()
    assert positions.grad is not None


def test_refiner_offset_moves_points_off_the_face_along_their_rays():
    head, view, _, plain = built()
    _, _, _, moved = built(refiner=lambda rgb, points, mask: mask * 1.5)
    grid = pixel_grid(*view.matte.shape)[view.valid]
    projected = head.camera.project(moved.positions[moved.valid])
    assert np.abs(projected[:, :2] - grid).max() < 1e-2
    free = 1 - inside_face(view)
    assert free[~view.face].min() == 1
    assert (free == 0).any()
    np.testing.assert_allclose((moved.depth - plain.depth - 1.5 * free)[plain.valid], 0, atol=1e-4)


def test_unknown_names_and_gaps_are_refused():
    head = ellipsoid_head()
    view = head_view_of(head)
    with pytest.raises(InputError, match="nothing"):
        estimate(view, "nothing")
    gap = np.full(view.matte.shape, np.nan, np.float32)
    with pytest.raises(InputError, match="gaps"):
        build_surface(view, head.camera, depth=gap, normals=head.normals)
    assert set(DEPTH) == {"analytic", "file"}
