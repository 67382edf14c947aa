"""The made-up scene: its Gaussians lie along the sheet and cover it."""

from __future__ import annotations

import torch

from mggtalk_cli.render import rasterization
from mggtalk_cli.render.inputs import rotations
from mggtalk_cli.render.scene import THIN, face_scene


def test_gaussians_span_the_lattice_steps_along_the_sheet():
    side, sigma = 20, 0.7
    scene = face_scene(side * side, sigma=sigma)
    axes = rotations(scene.quats) * scene.scales[:, None, :]
    along = axes[..., :2] @ axes[..., :2].mT
    x, y, z = scene.means.unbind(-1)
    z = z - z.mean()
    # Steps along the image's axes: one lattice step aside, and the dome's slope in depth.
    step = 22.0 / side * sigma
    bulge = torch.sqrt((1.2 - 0.5 * (x * x + y * y) / 121).clamp_min(0.04))
    ones, zeros = torch.ones_like(x), torch.zeros_like(x)
    right = step * torch.stack([ones, zeros, -0.5 * x / 11 / bulge], -1)
    down = step * torch.stack([zeros, ones, -0.5 * y / 11 / bulge], -1)
    expected = right[:, :, None] * right[:, None] + down[:, :, None] * down[:, None]
    assert torch.allclose(along, expected, atol=1e-4 * step**2)
    assert torch.allclose(scene.scales[:, 2], THIN * scene.scales[:, 1])


def test_scene_is_opaque_and_seen_whole():
    scene = face_scene(2500, width=60, height=60)
    colors, alphas, meta = rasterization(**vars(scene))
    assert colors.shape == (1, 60, 60, 3)
    assert meta["visible"] == [2500]
    assert alphas[0, 15:45, 15:45].min() > 0.99
