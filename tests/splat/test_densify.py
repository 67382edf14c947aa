"""Children of Gaussians: around their parent, never on top of each other."""

from __future__ import annotations

import torch

from mggtalk_cli.splat import Gaussians, densify_gaussians
from mggtalk_cli.splat.covariance import SIGMA
from mggtalk_cli.splat.densify import CHILD_SCALE, CHILDREN


def parents(count: int = 50) -> Gaussians:
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    return Gaussians(
        random(count, 3), random(count, 2, 3) - 0.5, random(count), random(count, 3), 0.02
    )


def test_mean_of_the_children_is_the_parent() -> None:
    some = parents()
    children = densify_gaussians(some).means.reshape(CHILDREN, -1, 3)
    torch.testing.assert_close(children.mean(0), some.means)


def test_no_two_children_share_a_place() -> None:
    children = densify_gaussians(parents()).means.reshape(CHILDREN, -1, 3)
    for one in range(CHILDREN):
        for other in range(one):
            assert (children[one] - children[other]).norm(dim=1).min() > 1e-3


def test_children_lie_in_the_tangent_plane_a_quarter_spacing_out() -> None:
    """The children of a plane's Gaussians are the lattice of twice the density."""
    step = 0.2
    rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
    means = torch.stack([columns, rows, torch.zeros(4, 4)], -1).reshape(-1, 3) * step
    tangents = SIGMA * step * torch.tensor([[1.0, 0, 0], [0, 1.0, 0]]).expand(16, 2, 3)
    flat = Gaussians(means, tangents, torch.ones(16), torch.ones(16, 3), 0.01)
    children = densify_gaussians(flat).means
    assert (children[:, 2] == 0).all()
    for axis in (0, 1):
        places = torch.unique((children[:, axis] * 1e4).round())
        assert len(places) == 8
        torch.testing.assert_close(places.diff(), torch.full((7,), 1e4 * step / 2), atol=2, rtol=0)


def test_appearance_is_inherited_and_size_shrinks() -> None:
    some = parents()
    children = densify_gaussians(some)
    for k in range(CHILDREN):
        rows = slice(k * 50, (k + 1) * 50)
        torch.testing.assert_close(children.colors[rows], some.colors)
        torch.testing.assert_close(children.opacities[rows], some.opacities)
        torch.testing.assert_close(children.tangents[rows], CHILD_SCALE * some.tangents)
    assert children.thickness_cm == some.thickness_cm
