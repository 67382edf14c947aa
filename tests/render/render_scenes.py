"""Random scenes with everything that goes wrong in them, as keyword arguments of rasterization."""

from __future__ import annotations

import math

import torch

SIZES = [(1, 1), (7, 3), (8, 16), (33, 17), (97, 61)]


def camera(width: int, height: int, *, yaw: float = 0.0) -> dict:
    """A camera 4 units in front of the origin, turned by `yaw` radians about it."""
    c, s = math.cos(yaw), math.sin(yaw)
    viewmat = torch.tensor(
        [[c, 0, s, 0.05], [0, 1, 0, -0.03], [-s, 0, c, 4.0], [0, 0, 0, 1]], dtype=torch.float32
    )
    focal = 1.1 * max(width, height)
    K = torch.tensor([[focal, 0, width / 2], [0, 0.9 * focal, height / 2], [0, 0, 1.0]])
    return {"viewmats": viewmat[None], "Ks": K[None], "width": width, "height": height}


def random_scene(count: int, width: int, height: int, *, seed: int) -> dict:
    """Anisotropic Gaussians; some behind the camera, off screen, clear or of zero rotation."""
    g = torch.Generator().manual_seed(seed)
    means = torch.randn(count, 3, generator=g)
    means[::7, 2] = -6.0  # behind the camera
    means[::11, 0] += 8.0  # off screen
    means[5::13, 2] = -3.95  # very near: its Jacobian is clamped
    quats = torch.randn(count, 4, generator=g)
    quats[::9] = 0.0
    scales = torch.exp(torch.rand(count, 3, generator=g) * 4.0 - 4.5)
    opacities = torch.rand(count, generator=g)
    opacities[::5] = 0.0
    opacities[1::5] = 1.0
    return {
        "means": means,
        "quats": quats,
        "scales": scales,
        "opacities": opacities,
        "colors": torch.rand(count, 3, generator=g),
        **camera(width, height, yaw=0.3),
    }


def double(scene: dict) -> dict:
    """The same scene in float64."""
    return {k: v.double() if isinstance(v, torch.Tensor) else v for k, v in scene.items()}
