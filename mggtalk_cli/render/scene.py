"""A made-up scene like ours, for benchmarks and tests: a face-sized dome of pixel Gaussians."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

# A head of this radius (cm) at this distance fills most of the image, as our face crop does.
RADIUS_CM, DISTANCE_CM = 11.0, 75.0
SIGMA_PIXELS, OPACITY = 0.65, 0.9


@dataclass(frozen=True)
class Scene:
    """Gaussians as centre and two tangents, and one camera; names as in `rasterization`."""

    means: Tensor
    tangents: Tensor
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor


def face_scene(
    count: int, *, width: int = 512, height: int = 512, sigma: float = SIGMA_PIXELS, seed: int = 0
) -> Scene:
    """Return about `count` Gaussians on an ellipsoid sheet that faces the camera.

    They lie on a regular lattice in the image, as the pixels of a position map do, with a standard
    deviation of `sigma` lattice steps along the surface.

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
    y, x = torch.meshgrid(u, u, indexing="ij")
    noise = 0.02 * torch.rand(side, side, generator=generator)
    bulge = torch.sqrt((1.2 - 0.5 * (x * x + y * y)).clamp_min(0.04))
    step = 2 * RADIUS_CM / side * sigma
    slope = -0.5 * step / bulge
    zeros, ones = torch.zeros_like(x), torch.full_like(x, step)
    along_x = torch.stack([ones, zeros, slope * x], -1)
    along_y = torch.stack([zeros, ones, slope * y], -1)
    means = torch.stack([RADIUS_CM * x, RADIUS_CM * y, RADIUS_CM * (bulge + noise)], -1)
    focal = DISTANCE_CM * min(width, height) / (2 * RADIUS_CM)
    viewmat = torch.diag(torch.tensor([1.0, -1.0, -1.0, 1.0]))
    viewmat[2, 3] = DISTANCE_CM + RADIUS_CM
    K = torch.tensor([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    return Scene(
        means=means.reshape(-1, 3),
        tangents=torch.stack([along_x, along_y], -2).reshape(-1, 2, 3),
        opacities=torch.full((side * side,), OPACITY),
        colors=torch.rand(side * side, 3, generator=generator),
        viewmats=viewmat[None],
        Ks=K[None],
    )
