"""Learned children: the lattice at first, apart for ever, moved in their parent's frame."""

from __future__ import annotations

import torch
from learned_scenes import scene, toy_networks

from mggtalk_cli.splat import Gaussians, decode_analytic, densified, densify_gaussians
from mggtalk_cli.splat.covariance import SIGMA
from mggtalk_cli.splat.densifier import (
    CHILD_CHANNELS,
    COLOR,
    OFFSET,
    OFFSET_LIMIT,
    OPACITY,
    SCALE,
    frames,
)
from mggtalk_cli.splat.densify import CHILD_SCALE, CHILDREN


def parents() -> Gaussians:
    of = scene(torch.float64)
    return decode_analytic(of.points, of.gate, of.sheet)


def zeros(of: Gaussians) -> torch.Tensor:
    return torch.zeros(len(of.means), CHILDREN, CHILD_CHANNELS, dtype=of.means.dtype)


def test_zeros_give_the_lattice_bit_by_bit() -> None:
    some = parents()
    plain, same = densify_gaussians(some), densified(some, zeros(some))
    for field in ("means", "tangents", "opacities", "colors", "thickness_cm"):
        one, two = getattr(plain, field), getattr(same, field)
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(two)), field


def test_children_never_meet() -> None:
    some = parents()
    raw = zeros(some)
    inwards = -1e3 * torch.tensor([[-1.0, -1], [1, -1], [-1, 1], [1, 1]])
    raw[..., :2] = inwards
    children = densified(some, raw).means.reshape(CHILDREN, -1, 3)
    for one in range(CHILDREN):
        for other in range(one):
            assert (children[one] - children[other]).norm(dim=1).min() > 1e-3


def test_each_residual_reaches_its_own_child() -> None:
    some = parents()
    raw = zeros(some)
    raw[3, 2, OFFSET] = torch.tensor([0.01, 0.0, -0.02], dtype=raw.dtype)
    raw[4, 1, SCALE], raw[5, 0, OPACITY] = 0.1, 1.0
    raw[6, 3, COLOR] = torch.tensor([1.0, 0.0, -2.0], dtype=raw.dtype)
    plain, moved = densify_gaussians(some), densified(some, raw)
    count = len(some.means)
    frame = frames(some.tangents)[3] / SIGMA
    step = moved.means - plain.means
    own = 2 * count + 3
    torch.testing.assert_close(step[own], 0.01 * frame[0] - 0.02 * frame[2], rtol=1e-2, atol=1e-6)
    assert not step[torch.arange(len(step)) != own].any()
    grown = moved.tangents[count + 4] / some.tangents[4]
    torch.testing.assert_close(
        grown, torch.full_like(grown, CHILD_SCALE * 1.1048), rtol=1e-3, atol=0
    )
    changed = (moved.opacities != plain.opacities).nonzero()[:, 0].tolist()
    assert changed == ([5] if 0 < some.opacities[5] < 1 else [])
    shift = moved.colors - plain.colors
    torch.testing.assert_close(shift[3 * count + 6], torch.tensor([0.1, 0, -0.2]).to(shift))
    assert (shift.abs().sum(1) > 0).sum() == 1


def test_the_normal_is_as_long_as_the_tangents() -> None:
    tangents = torch.tensor([[[0.3, 0, 0], [0, 0.3, 0]], [[0.2, 0, 0], [0.2, 0, 0]]])
    normal = frames(tangents)[:, 2]
    torch.testing.assert_close(normal[0], torch.tensor([0.0, 0.0, 0.3]))
    assert not normal[1].any()
    assert OFFSET_LIMIT < 0.25


def test_thickness_and_harmonics_are_inherited() -> None:
    some = parents()
    count = len(some.means)
    rich = some._replace(
        thickness_cm=torch.rand(count, dtype=torch.float64),
        harmonics=torch.rand(count, 3, 3, dtype=torch.float64),
    )
    children = densify_gaussians(rich)
    for k in range(CHILDREN):
        rows = slice(k * count, (k + 1) * count)
        own = children.take(rows)
        assert torch.equal(own.thickness_cm, rich.thickness_cm)
        assert torch.equal(own.harmonics, rich.harmonics)


def test_gradients_of_the_densifier() -> None:
    some = parents().take(slice(0, 4))
    network = toy_networks(trained=True).densifier.double()
    features = torch.rand(4, 4, dtype=torch.float64, requires_grad=True)
    tangents = some.tangents.clone().requires_grad_(True)

    def run(features: torch.Tensor, tangents: torch.Tensor) -> tuple[torch.Tensor, ...]:
        parents = some._replace(tangents=tangents)
        return densified(parents, network(features, parents))[:4]

    assert torch.autograd.gradcheck(run, (features, tangents))
