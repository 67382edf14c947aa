"""The learned refiner: zero at first, limited, blind to what is off the person, trainable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from ellipsoid_scene import ellipsoid_head, head_view_of

from mggtalk_cli.core.checkpoint import read_checkpoint, restore, write_checkpoint
from mggtalk_cli.head import (
    RefinerConfig,
    RefinerNetwork,
    as_refiner,
    build_surface,
    estimate,
    inside_face,
)
from mggtalk_cli.head.refiner import FADE_CM, LARGEST_SHARE, REACH_CM, position_normals

TOY = RefinerConfig(widths=(4, 8))


def network(config: RefinerConfig = TOY, *, trained: bool = False) -> RefinerNetwork:
    torch.manual_seed(0)
    built = RefinerNetwork(config)
    if trained:
        torch.nn.init.normal_(built.unet.last.weight, std=0.3)
    return built


def scene(height: int = 24, width: int = 24, *, batch: int = 1) -> tuple[torch.Tensor, ...]:
    """Return rgb, positions and mask of an ellipsoid."""
    head = ellipsoid_head(15.0, width=width, height=height)
    rgb = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(1))
    positions = torch.from_numpy(head.positions).permute(2, 0, 1)[None].repeat(batch, 1, 1, 1)
    mask = torch.from_numpy(head.valid)[None, None].float().repeat(batch, 1, 1, 1)
    return rgb, positions, mask


def test_untrained_the_built_surface_is_the_analytic_one_bit_by_bit() -> None:
    head = ellipsoid_head(10.0, width=64, height=64)
    view = head_view_of(head)
    guess = estimate(view)
    maps = {"depth": guess.depth, "normals": guess.normals}
    plain = build_surface(view, head.camera, **maps)
    refined = build_surface(view, head.camera, **maps, refiner=as_refiner(network()))
    for field in ("depth", "normals", "positions", "links"):
        np.testing.assert_array_equal(getattr(refined, field), getattr(plain, field))


def test_a_trained_one_moves_the_built_surface_by_its_offsets() -> None:
    head = ellipsoid_head(10.0, width=48, height=64)
    view = head_view_of(head)
    guess = estimate(view)
    refine = as_refiner(network(trained=True))
    rgb = np.random.default_rng(0).random((64, 48, 3), dtype=np.float32)
    maps = {"depth": guess.depth, "normals": guess.normals, "rgb": rgb}
    plain = build_surface(view, head.camera, **maps)
    moved = build_surface(view, head.camera, **maps, refiner=refine)
    offset = refine(
        torch.from_numpy(rgb).permute(2, 0, 1),
        torch.from_numpy(plain.positions).permute(2, 0, 1),
        torch.from_numpy(plain.valid)[None].float(),
    )
    change = (moved.depth - plain.depth)[plain.valid]
    assert np.abs(change).max() > 0.05
    wanted = offset[0].detach().numpy() * (1 - inside_face(view, filled=True))
    np.testing.assert_allclose(change, wanted[plain.valid], atol=2e-5)


@torch.no_grad()
def test_far_from_the_face_nothing_moves() -> None:
    """A head on a body: the head is refined as if it were alone, hands and knees are not."""
    body, wide = 40, torch.linspace(-10, 10, 24)
    rgb, mask = torch.rand(3, 24 + body, 24), torch.ones(1, 24 + body, 24)
    down = torch.linspace(10, -10 - 20 * body / 24, 24 + body)
    positions = torch.stack([
        wide.expand(24 + body, 24), down[:, None].expand(-1, 24), torch.randn(24 + body, 24)
    ])  # fmt: skip
    net = network(trained=True)
    offset = as_refiner(net)(rgb, positions, mask)
    near = int((down > -REACH_CM).sum())
    full = int((down > -REACH_CM + FADE_CM).sum())
    assert 24 < full < near < 24 + body
    alone = net(*(each[None, :, :near] for each in (rgb, positions, mask)))[0]
    torch.testing.assert_close(offset[:, :full], alone[:, :full])
    assert 0 < offset[:, full:near].abs().sum() < alone[:, full:].abs().sum()
    assert not offset[:, near:].any()
    # a head alone is seen with all that is round it
    around = (each[:, :24] for each in (rgb, positions, mask * (wide.abs() < 8)))
    rgb, positions, mask = around
    expected = net(rgb[None], positions[None], mask[None])[0]
    torch.testing.assert_close(as_refiner(net)(rgb, positions, mask), expected)
    assert not as_refiner(net)(rgb, positions + 100, mask).any()


@pytest.mark.parametrize(("height", "width"), [(24, 24), (23, 37), (5, 9)])
def test_offsets_have_any_size_and_a_limit(height: int, width: int) -> None:
    rgb, positions, mask = scene(height, width, batch=2)
    extreme = network()
    with torch.no_grad():
        extreme.unet.last.bias.fill_(1e4)
    offset = extreme(rgb, positions, mask)
    assert offset.shape == (2, 1, height, width)
    z = positions[:, 2:][mask > 0]
    torch.testing.assert_close(
        offset[mask > 0], torch.full_like(z, LARGEST_SHARE * float(z.max() - z.min()))
    )
    assert not offset[mask == 0].any()


def test_what_is_off_the_person_does_not_matter_and_nobody_gives_zero() -> None:
    refine = network(trained=True)
    rgb, positions, mask = scene()
    junk = torch.where(mask > 0, positions, torch.full_like(positions, 1e3))
    torch.testing.assert_close(refine(rgb, junk, mask), refine(rgb, positions, mask))
    empty = refine(rgb, positions, torch.zeros_like(mask))
    assert torch.equal(empty, torch.zeros_like(empty))


def test_the_place_of_the_head_does_not_matter() -> None:
    refine = network(trained=True)
    rgb, positions, mask = scene()
    shifted = positions + torch.tensor([3.0, -5.0, 2.0])[:, None, None]
    torch.testing.assert_close(
        refine(rgb, shifted, mask), refine(rgb, positions, mask), rtol=1e-3, atol=1e-4
    )


def test_large_photos_are_worked_on_at_the_networks_resolution() -> None:
    """Twice the pixels give nearly the same offsets, enlarged."""
    refine = network(RefinerConfig(widths=(4, 8), side=32), trained=True)
    rgb, positions, mask = scene(64, 64)
    with torch.no_grad():
        large = refine(rgb, positions, mask)
        blurred = torch.nn.functional.avg_pool2d(rgb, 2)
        head = ellipsoid_head(15.0, width=32, height=32)
        small = refine(
            blurred,
            torch.from_numpy(head.positions).permute(2, 0, 1)[None],
            torch.from_numpy(head.valid)[None, None].float(),
        )
    inner = slice(10, 22)
    halved = torch.nn.functional.avg_pool2d(large, 2)[..., inner, inner]
    correlation = torch.corrcoef(torch.stack([halved.ravel(), small[..., inner, inner].ravel()]))
    assert large.shape == (1, 1, 64, 64)
    assert correlation[0, 1] > 0.95


def test_normals_of_an_ellipsoid() -> None:
    head = ellipsoid_head(0.0, width=64, height=64)
    positions = torch.from_numpy(head.positions).permute(2, 0, 1)[None]
    mask = torch.from_numpy(head.valid)[None, None].float()
    normals = position_normals(positions, mask)[0].permute(1, 2, 0).numpy()
    steep = np.nan_to_num(head.normals[..., 2]) < 0.5
    cosine = (normals * np.nan_to_num(head.normals)).sum(-1)[head.valid & ~steep]
    assert cosine.min() > 0.995
    assert not normals[~head.valid].any()


def test_gradients_of_the_forward_pass() -> None:
    refine = network(trained=True).double()
    rgb, positions, mask = (x[..., 6:13, 8:13].double() for x in scene())
    positions.requires_grad_(True)
    rgb.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda c, p: refine(c, p, mask), (rgb, positions))


def test_a_few_steps_learn_a_known_error() -> None:
    """A surface pressed flat by a quarter: offsets bring back a part of its depth."""
    torch.manual_seed(0)
    refine = RefinerNetwork(RefinerConfig(widths=(8, 16)))
    rgb, positions, mask = scene(32, 32)
    truth = 0.15 * (positions[:, 2:] - positions[:, 2:][mask > 0].mean()) * mask
    optimiser = torch.optim.Adam(refine.parameters(), lr=1e-2)
    losses = []
    for _ in range(40):
        loss = (refine(rgb, positions, mask) - truth)[mask > 0].abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]


def test_a_refiner_survives_its_checkpoint(tmp_path: Path) -> None:
    refine = network(RefinerConfig(widths=(4, 8), side=20), trained=True)
    path = tmp_path / "refiner.safetensors"
    write_checkpoint(path, {"refiner": refine}, {})
    back = restore(
        read_checkpoint(path).stored("refiner"), "refiner", RefinerNetwork, RefinerConfig
    )
    assert back.config == refine.config
    maps = scene()
    assert torch.equal(back(*maps), refine(*maps))


def test_presets_differ_in_size() -> None:
    tiny, base = (RefinerNetwork(c) for c in (RefinerConfig.tiny(), RefinerConfig.base()))
    counts = [sum(p.numel() for p in n.parameters()) for n in (tiny, base)]
    assert counts[0] < 150_000 < counts[1] < 3_000_000
