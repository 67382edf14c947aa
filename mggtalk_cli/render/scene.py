"""A made-up scene like ours, for benchmarks and tests: a face-sized dome of pixel Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# A head of this radius (cm) at this distance fills most of the image, as our face crop does.
RADIUS_CM, DISTANCE_CM = 11.0, 75.0
SIGMA_PIXELS, OPACITY = 0.65, 0.9
# Thickness of the sheet's Gaussians, as a share of their width.
THIN = 0.05
SH_DEGREE, SH_TERMS = 1, 4


@dataclass(frozen=True)
class Scene:
    """Gaussians as 3DGS has them, and one camera; `vars` of it are arguments of `rasterization`."""

    means: Tensor
    quats: Tensor
    scales: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    width: int
    height: int
    sh_degree: int = SH_DEGREE


def face_scene(
    count: int, *, width: int = 512, height: int = 512, sigma: float = SIGMA_PIXELS, seed: int = 0
) -> Scene:
    """Return about `count` Gaussians on an ellipsoid sheet that faces the camera.

    They lie on a regular lattice in the image, as the pixels of a position map do, with a standard
    deviation of `sigma` lattice steps along the surface, and thin across it. Their colours are
    spherical harmonics of degree 1.

    Args:
        count: number of Gaussians wanted; the result is the nearest square number.
        width: of the camera's image, pixels.
        height: of the camera's image, pixels.
        sigma: standard deviation in lattice steps.
        seed: of the colours and of the depth noise.
    """
    side = max(1, round(math.sqrt(count)))
    generator = torch.Generator().manual_seed(seed)
    u = (torch.arange(side) + 0.5) / side * 2 - 1
    y, x = (grid.flatten() for grid in torch.meshgrid(u, u, indexing="ij"))
    noise = 0.02 * torch.rand(side * side, generator=generator)
    bulge = torch.sqrt((1.2 - 0.5 * (x * x + y * y)).clamp_min(0.04))
    slope = -0.5 * torch.hypot(x, y) / bulge
    step = 2 * RADIUS_CM / side * sigma
    # The first axis runs down the dome, stretched by its slope; the second around it.
    turn, tilt = torch.atan2(y, x) / 2, -torch.atan(slope) / 2
    quats = [turn.cos() * tilt.cos(), -turn.sin() * tilt.sin(),
             turn.cos() * tilt.sin(), turn.sin() * tilt.cos()]  # fmt: skip
    flat = torch.full_like(x, step)
    focal = DISTANCE_CM * min(width, height) / (2 * RADIUS_CM)
    viewmat = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    viewmat[2, 3] = DISTANCE_CM + RADIUS_CM
    return Scene(
        means=RADIUS_CM * torch.stack([x, y, bulge + noise], -1),
        quats=torch.stack(quats, -1),
        scales=torch.stack([flat * torch.hypot(slope, torch.ones_like(x)), flat, THIN * flat], -1),
        opacities=torch.full((side * side,), OPACITY),
        colors=torch.rand(side * side, SH_TERMS, 3, generator=generator) - 0.5,
        viewmats=viewmat[None],
        Ks=torch.tensor([[[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]]]),
        width=width,
        height=height,
    )
