"""The decoders in place: untrained they draw the analytic frame, trained they learn a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from learned_scenes import learned, scene, toy_networks

from mggtalk_cli import splat
from mggtalk_cli.core.checkpoint import read_checkpoint, write_checkpoint
from mggtalk_cli.drawing import RenderOptions, point_frames, rasterize, seen_colors, view_matrix
from mggtalk_cli.errors import WeightsError
from mggtalk_cli.render import rasterization
from mggtalk_cli.splat import DecoderNetworks, LearnedDecoder
from mggtalk_cli.splat.decoder import DecoderConfig, GaussianDecoder
from mggtalk_cli.tensors import camera_of, gaussian_sheet

if TYPE_CHECKING:
    from mggtalk_cli.artifacts import Artifact

C0 = 0.28209479177387814


@pytest.mark.parametrize("yaw_deg", [0.0, 25.0])
@pytest.mark.parametrize("densify", [False, True])
def test_untrained_the_frame_is_the_analytic_one(
    example_head: Artifact, yaw_deg: float, densify: bool
) -> None:
    arrays, camera = example_head.arrays, camera_of(example_head)
    sheet = gaussian_sheet(example_head, "cpu")
    grids = splat.sheet_grids(arrays["grid_shape"], arrays["valid"])
    named = dict(zip(example_head.meta["sheets"], grids, strict=True))
    photo = torch.from_numpy(arrays["image"]).permute(2, 0, 1).float() / 255
    options = RenderOptions(yaw_deg=yaw_deg)
    frame = next(point_frames(example_head, options))
    points, gate = (torch.from_numpy(frame[name]) for name in ("points", "gate"))
    with torch.inference_mode():
        networks = DecoderNetworks.new("tiny")
        decoder = LearnedDecoder.of(networks, photo, named["front"], named.get("mirror"))
        one, two = splat.decode_analytic(points, gate, sheet), decoder.decode(points, gate, sheet)
        if densify:
            one, two = splat.densify_gaussians(one), decoder.densify(two)
        view = view_matrix(camera, options, 0)
        plain, drawn = rasterize(one, camera, view), rasterize(two, camera, view)
    assert plain[1].mean() > 0.3
    for wanted, got in zip(plain, drawn, strict=True):
        assert (wanted - got).abs().max() < 1e-5


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_untrained_with_fewer_networks(parts: int) -> None:
    of = scene()
    decoder = learned(of, toy_networks(parts=parts))
    one = splat.densify_gaussians(splat.decode_analytic(of.points, of.gate, of.sheet))
    two = decoder.densify(decoder.decode(of.points, of.gate, of.sheet))
    for field in ("means", "tangents", "opacities", "colors"):
        assert torch.equal(getattr(one, field), getattr(two, field))


def test_trained_only_front_and_mirror_change() -> None:
    of = scene()
    decoder = learned(of, toy_networks(trained=True))
    one = splat.decode_analytic(of.points, of.gate, of.sheet)
    two = decoder.decode(of.points, of.gate, of.sheet)
    rest = slice(decoder.mirror.rows.stop, None)
    changed = (one.colors - two.colors).abs().sum(1) > 0
    assert changed[: rest.start].all()
    assert not changed[rest].any()
    children = decoder.densify(two)
    plain = splat.densify_gaussians(two)
    moved = (children.means - plain.means).norm(dim=1).reshape(4, -1) > 0
    assert moved[:, : rest.start].all()
    assert not moved[:, rest].any()


def test_several_frames_at_once_are_the_same_frames() -> None:
    of = scene()
    decoder = learned(of, toy_networks(trained=True))
    frames = torch.stack([of.points, of.points * 1.1, of.points + 0.3])
    together = decoder.raw(frames)
    for index, points in enumerate(frames):
        torch.testing.assert_close(
            decoder.raw(points[None])[0], together[index], rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("parts", [0, 2, 4])
@pytest.mark.parametrize("densify", [False, True])
def test_gaussians_of_several_frames_are_those_of_each(parts: int, densify: bool) -> None:
    """Decoded, densified, and their colours seen from a view for each frame."""
    of = scene()
    decoder = learned(of, toy_networks(trained=True, parts=max(parts, 2)))
    points = torch.stack([of.points, of.points * 1.1, of.points + 0.3])
    gates = torch.stack([of.gate, 1 - of.gate, torch.ones_like(of.gate)])
    views = np.stack([view_matrix(of.camera, RenderOptions(yaw_deg=yaw), 0) for yaw in (0, 9, 20)])

    def decoded(points: torch.Tensor, gate: torch.Tensor) -> splat.Gaussians:
        if parts == 0:
            plain = splat.decode_analytic(points, gate, of.sheet)
            return splat.densify_gaussians(plain) if densify else plain
        gaussians = decoder.decode(points, gate, of.sheet)
        return decoder.densify(gaussians) if densify else gaussians

    with torch.no_grad():
        together = decoded(points, gates)
        seen = seen_colors(together, views)
        for index in range(3):
            alone = decoded(points[index], gates[index])
            close(seen[index], seen_colors(alone, views[index]))
            close(together.covariances()[index], alone.covariances())
            some = together.take(slice(5, 50))
            for name, value in alone.take(slice(5, 50))._asdict().items():
                if isinstance(value, torch.Tensor):
                    close(getattr(some, name)[index], value)


def close(one: torch.Tensor, two: torch.Tensor) -> None:
    torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)


def test_colours_seen_are_those_of_standard_harmonics() -> None:
    """Where no colour is negative, files of ours look the same in any viewer of harmonics."""
    of = scene()
    sheet = of.sheet._replace(colors=of.sheet.colors.clamp(1.0, 1.2))
    decoder = learned(of, toy_networks(trained=True))
    gaussians = decoder.decode(of.points, of.gate, sheet)
    view = view_matrix(of.camera, RenderOptions(yaw_deg=20.0), 0)
    assert seen_colors(gaussians, view).min() > 0
    sh = torch.cat([(gaussians.colors[:, None] - 0.5) / C0, gaussians.harmonics], 1)
    ours, alpha = rasterize(gaussians, of.camera, view)
    theirs, _, _ = rasterization(
        *(gaussians.means, None, None, gaussians.opacities, sh),
        *(torch.from_numpy(view)[None], torch.from_numpy(of.camera.intrinsics)[None]),
        *(of.camera.width, of.camera.height),
        covars=gaussians.covariances(),
        eps2d=0.05,
        sh_degree=1,
    )
    assert alpha.max() > 0.5
    torch.testing.assert_close(ours, theirs[0], rtol=1e-4, atol=1e-5)


def test_a_few_steps_through_the_rasteriser_bring_a_picture_nearer() -> None:
    of, networks = scene(), toy_networks()
    view = of.camera.viewmat
    target = torch.rand(24, 28, 3, generator=torch.Generator().manual_seed(2))
    weights = [p for network in networks.by_name().values() for p in network.parameters()]
    before = [p.detach().clone() for p in weights]
    optimiser = torch.optim.Adam(weights, lr=2e-2)
    losses = []
    for _ in range(25):
        decoder = learned(of, networks)
        gaussians = decoder.densify(decoder.decode(of.points, of.gate, of.sheet))
        rgb, alpha = rasterize(gaussians, of.camera, view)
        loss = ((rgb - alpha * target) ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    assert all((p != old).any() for p, old in zip(weights, before, strict=True))


def test_networks_survive_their_checkpoint(tmp_path: Path) -> None:
    of, networks = scene(), toy_networks(trained=True)
    write_checkpoint(tmp_path / "decoder.safetensors", networks.by_name(), {})
    back = DecoderNetworks.restored(read_checkpoint(tmp_path / "decoder.safetensors"))
    wanted = learned(of, networks).decode(of.points, of.gate, of.sheet)
    got = learned(of, back).decode(of.points, of.gate, of.sheet)
    for one, two in zip(wanted, got, strict=True):
        assert torch.equal(one, two)
    two_parts = toy_networks(parts=2)
    write_checkpoint(tmp_path / "two.safetensors", two_parts.by_name(), {})
    back = DecoderNetworks.restored(read_checkpoint(tmp_path / "two.safetensors"))
    assert list(back.by_name()) == ["encoder", "decoder"]


def test_networks_that_do_not_belong_together() -> None:
    other = GaussianDecoder(DecoderConfig(features=8, widths=(4,)))
    with pytest.raises(WeightsError, match="the decoder wants 8 features, but the encoder gives 4"):
        DecoderNetworks(toy_networks().encoder, other)


def test_a_checkpoint_without_a_decoder(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "e.safetensors", {"encoder": toy_networks().encoder}, {})
    with pytest.raises(WeightsError, match=r"e\.safetensors holds no decoder but encoder"):
        DecoderNetworks.restored(read_checkpoint(tmp_path / "e.safetensors"))


def test_presets_differ_in_size() -> None:
    counts = {
        preset: {
            name: sum(p.numel() for p in network.parameters())
            for name, network in DecoderNetworks.new(preset).by_name().items()
        }
        for preset in ("tiny", "base")
    }
    assert all(counts["tiny"][name] < 0.3 * counts["base"][name] for name in counts["base"])
    assert sum(counts["base"].values()) < 10_000_000
