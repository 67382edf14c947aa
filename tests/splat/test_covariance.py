"""Covariances of grids whose Jacobian is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mggtalk_cli.core.rotation import matrix_from_quaternion
from mggtalk_cli.core.sheet import Neighbours, grid_links, neighbours
from mggtalk_cli.splat import rotation_and_scale
from mggtalk_cli.splat.covariance import (
    MAX_STRETCH,
    SIGMA,
    quaternion_from_axes,
    tangents_from_grid,
)

SHAPE = (5, 6)
SPACING = 0.1


def near(valid: np.ndarray | None = None, links: np.ndarray | None = None) -> list[torch.Tensor]:
    valid = np.ones(SHAPE, bool) if valid is None else valid
    links = grid_links(valid) if links is None else links
    found: Neighbours = neighbours(np.array([valid.shape]), valid.ravel(), links.ravel())
    return [torch.from_numpy(index) for index in found]


def lattice(jacobian: torch.Tensor) -> torch.Tensor:
    """Points J (column, row) of the grid; jacobian is (3, 2), cm per grid step."""
    rows, columns = torch.meshgrid(*(torch.arange(float(n)) for n in SHAPE), indexing="ij")
    steps = torch.stack([columns, rows], -1).reshape(-1, 2).to(jacobian)
    return steps @ jacobian.T


def sigma_of(tangents: torch.Tensor) -> torch.Tensor:
    return torch.einsum("mti,mtj->mij", tangents, tangents)


@pytest.mark.parametrize(
    "jacobian",
    [
        [[SPACING, 0], [0, -SPACING], [0, 0]],
        [[0.3, 0.1], [0.05, -0.1], [0, 0]],  # stretched and sheared
        [[0.08, 0.02], [-0.01, -0.1], [0.2, 0.07]],  # turned out of the picture
    ],
)
def test_linear_map_gives_j_jt_everywhere(jacobian: list[list[float]]) -> None:
    j = torch.tensor(jacobian, dtype=torch.float64)
    tangents = tangents_from_grid(lattice(j), *near(), spacing_cm=SPACING)
    expected = SIGMA**2 * j @ j.T
    torch.testing.assert_close(
        sigma_of(tangents), expected.expand(len(tangents), 3, 3), atol=1e-12, rtol=1e-9
    )


def test_kernel_is_the_torch_expression_and_gradients_flow() -> None:
    random = np.random.default_rng(0)
    valid = random.random(SHAPE) < 0.8
    links = grid_links(valid, random.integers(0, 2, SHAPE))
    points = torch.from_numpy(random.normal(0, 0.3, (valid.sum(), 3)).astype(np.float32))
    compiled = tangents_from_grid(points, *near(valid, links), spacing_cm=SPACING)
    points.requires_grad_()
    expected = tangents_from_grid(points, *near(valid, links), spacing_cm=SPACING)
    torch.testing.assert_close(compiled, expected.detach(), atol=1e-6, rtol=1e-5)
    expected.square().sum().backward()
    assert points.grad is not None
    assert points.grad.abs().max() > 0
    with torch.no_grad():
        again = tangents_from_grid(points, *near(valid, links), spacing_cm=SPACING)
    assert torch.equal(again, compiled)


def test_inner_differences_are_central() -> None:
    x = torch.arange(6.0)
    rows = torch.arange(5.0)
    columns = (x**2)[None].expand(5, 6)
    points = torch.stack([columns, -rows[:, None].expand(5, 6), torch.zeros(5, 6)], -1)
    tangents = tangents_from_grid(points.reshape(-1, 3), *near(), spacing_cm=10.0, sigma=1.0)
    u = tangents[:, 0, 0].reshape(5, 6)
    # d(x^2) = 2 x inside, one-sided at the ends.
    assert u[2].tolist() == [1, 2, 4, 6, 8, 9]


def test_cut_links_keep_parts_apart() -> None:
    """Lips that open: the tangents of either lip do not see the other one."""
    valid = np.ones(SHAPE, bool)
    links = grid_links(valid)
    links[1] &= 1
    j = torch.tensor([[SPACING, 0], [0, -SPACING], [0, 0]])
    points = lattice(j)
    points[12:, 1] -= 3.0
    tangents = tangents_from_grid(points, *near(valid, links), spacing_cm=SPACING)
    expected = SIGMA**2 * (j @ j.T)
    torch.testing.assert_close(sigma_of(tangents), expected.expand(30, 3, 3))


def test_lonely_points_are_round_discs_of_the_usual_size() -> None:
    valid = np.zeros(SHAPE, bool)
    valid[::2, ::2] = True
    points = torch.randn(int(valid.sum()), 3, generator=torch.Generator().manual_seed(0))
    tangents = tangents_from_grid(points, *near(valid), spacing_cm=SPACING)
    expected = (SIGMA * SPACING) ** 2 * torch.diag(torch.tensor([1.0, 1.0, 0.0]))
    torch.testing.assert_close(sigma_of(tangents), expected.expand(len(points), 3, 3))


def test_stretch_is_capped() -> None:
    j = torch.tensor([[100 * SPACING, 0], [0, -SPACING], [0, 0]])
    tangents = tangents_from_grid(lattice(j), *near(), spacing_cm=SPACING)
    length = tangents.norm(dim=-1)
    torch.testing.assert_close(length[:, 0], torch.full((30,), SIGMA * MAX_STRETCH * SPACING))
    torch.testing.assert_close(length[:, 1], torch.full((30,), SIGMA * SPACING))


def test_collapsed_grid_is_finite() -> None:
    tangents = tangents_from_grid(torch.zeros(30, 3), *near(), spacing_cm=SPACING)
    quats, scales = rotation_and_scale(tangents, thickness_cm=0.01)
    assert torch.isfinite(tangents).all()
    torch.testing.assert_close(quats.norm(dim=1), torch.ones(30))
    torch.testing.assert_close(scales, torch.full((30, 3), 0.01))


def test_gradients_of_tangents() -> None:
    generator = torch.Generator().manual_seed(0)
    points = lattice(torch.tensor([[0.3, 0.1], [0.05, -0.1], [0, 0.02]], dtype=torch.float64))
    points = points + 0.02 * torch.randn(points.shape, generator=generator, dtype=torch.float64)
    valid = np.ones(SHAPE, bool)
    valid[2, 3] = False
    keep = torch.from_numpy(valid.ravel())
    index = near(valid)
    torch.autograd.gradcheck(
        lambda p: tangents_from_grid(p, *index, spacing_cm=0.05),
        (points[keep].clone().requires_grad_(),),
    )


def test_rotation_and_scale_give_the_covariance_back() -> None:
    generator = torch.Generator().manual_seed(1)
    tangents = torch.randn(200, 2, 3, generator=generator, dtype=torch.float64)
    tangents[0] = torch.tensor([[1.0, 0, 0], [2.0, 0, 0]])  # parallel
    tangents[1] = torch.tensor([[0.0, 0, 1], [0, 0, 0]])  # a line
    tangents[2] = 0
    tangents[3] = torch.tensor([[0.0, 1, 0], [1.0, 0, 0]])  # left-handed
    tangents[4] = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])  # round
    thickness = 0.05
    quats, scales = rotation_and_scale(tangents, thickness_cm=thickness)
    torch.testing.assert_close(quats.norm(dim=1), torch.ones(200, dtype=torch.float64))
    assert (quats[:, 0] >= 0).all()
    assert (scales >= thickness - 1e-12).all()
    r = torch.from_numpy(matrix_from_quaternion(quats.numpy()))
    built = r @ torch.diag_embed(scales**2) @ r.transpose(1, 2)
    expected = sigma_of(tangents) + thickness**2 * torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(built, expected, atol=1e-9, rtol=1e-9)


def test_quaternions_of_axes() -> None:
    from scipy.spatial.transform import Rotation

    matrices = Rotation.random(300, random_state=np.random.RandomState(0)).as_matrix()
    half_turns = np.stack([np.diag(d) for d in ([1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, 1])])
    axes = np.concatenate([matrices, half_turns])
    quats = quaternion_from_axes(torch.from_numpy(axes)).numpy()
    np.testing.assert_allclose(matrix_from_quaternion(quats), axes, atol=1e-9)
