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


def with_covariances(scene: dict, kind: str) -> dict:
    """The scene's Gaussians as quats, covars or tangents; random ones unless they are quats."""
    if kind == "quats":
        return scene
    g = torch.Generator().manual_seed(0)
    tangents = 0.2 * torch.randn(len(scene["means"]), 2, 3, generator=g)
    shape = {"quats": None, "scales": None, "tangents": tangents, "tangent_eps": 1e-3}
    if kind == "covars":
        shape = {"quats": None, "scales": None, "covars": tangents.mT @ tangents + 1e-3}
    return {**scene, **shape}


def batch_of(kind: str, scenes: int, *, count: int = 40) -> dict:
    """Several scenes side by side: every tensor has a leading axis."""
    made = [
        with_covariances(random_scene(count, 33, 17, seed=seed), kind)
        | camera(33, 17, yaw=0.2 * seed)
        | {"backgrounds": torch.tensor([[0.1 * seed, 0.5, 0.9]])}
        for seed in range(scenes)
    ]
    return {
        name: torch.stack([scene[name] for scene in made]) if torch.is_tensor(value) else value
        for name, value in made[0].items()
    }


def scene_of(batch: dict, number: int) -> dict:
    """One scene of a batch."""
    return {k: v[number] if torch.is_tensor(v) else v for k, v in batch.items()}
