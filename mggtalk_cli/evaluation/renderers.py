"""Renderers to compare on one scene: ours, and the peers that are installed.

Each is a function of a scene that returns the tensors gradients start from, and its own account of
milliseconds per stage. A peer's private functions may change: what it raises leaves it out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mggtalk_cli import render
from mggtalk_cli.render.scene import Scene

Rendered = tuple[tuple[Tensor, ...], dict[str, float]]

OURS = "mggtalk"
OURS_ALONE = "mggtalk, 1 thread"
PROJECTION = "gsplat torch, projection + SH alone"
METAL_GAUSS = "metal-gauss torch_ref"
GSPLAT_CUDA = "gsplat CUDA"


@dataclass(frozen=True)
class Renderer:
    """One of those compared.

    Attributes:
        name: for people.
        render: what is timed.
        threads: of torch, which it may use; None for all.
        device: where the scene lies.
        once: so slow that it is measured once, without a round to warm up.
        most_gaussians: larger scenes would take minutes and all memory.
        most_pixels: longest side it is given, for the same reason.
    """

    name: str
    render: Callable[[Scene], Rendered]
    threads: int | None = None
    device: str = "cpu"
    once: bool = False
    most_gaussians: int | None = None
    most_pixels: int | None = None

    def takes(self, scene: Scene) -> bool:
        """Return whether the scene is within its limits."""
        return (self.most_gaussians is None or len(scene.means) <= self.most_gaussians) and (
            self.most_pixels is None or max(scene.width, scene.height) <= self.most_pixels
        )


def find_renderers(*, peers: bool = True) -> tuple[list[Renderer], dict[str, str]]:
    """Return the renderers that work here, ours first, and why the others are left out."""
    found = [Renderer(OURS, _ours)]
    left_out: dict[str, str] = {}
    if torch.get_num_threads() > 1:
        found.append(Renderer(OURS_ALONE, _ours, threads=1))
    if not peers:
        return found, left_out
    found.append(Renderer(PROJECTION, _gsplat_projection))
    if importlib.util.find_spec("metal_gauss") is None:
        left_out[METAL_GAUSS] = "not installed: pip install metal-gauss"
    else:
        # Its backward pass keeps some 12 GB of 100k Gaussians, at any size of the image.
        found.append(
            Renderer(METAL_GAUSS, _metal_gauss, once=True, most_gaussians=100_000, most_pixels=512)
        )
    works, reason = render.cuda_status(load=True)
    if works:
        found.append(Renderer(GSPLAT_CUDA, _gsplat_cuda, device="cuda"))
    else:
        left_out[GSPLAT_CUDA] = reason
    return found, left_out


def on_device(scene: Scene, device: str) -> Scene:
    """Return the scene with its tensors on `device`."""
    tensors = {name: value for name, value in vars(scene).items() if torch.is_tensor(value)}
    return replace(scene, **{name: value.to(device) for name, value in tensors.items()})


def _ours(scene: Scene) -> Rendered:
    colors, _, meta = render.rasterization(**vars(scene), backend="cpu")
    return (colors,), meta["milliseconds"]


def _gsplat_cuda(scene: Scene) -> Rendered:
    colors, _, _ = render.rasterization(**vars(scene), backend="cuda")
    return (colors,), {}


def _gsplat_projection(scene: Scene) -> Rendered:
    """The first part of gsplat's work, in its plain torch: nothing is sorted or blended."""
    from gsplat.cuda import _torch_impl as gsplat

    covars, _ = gsplat._quat_scale_to_covar_preci(scene.quats, scene.scales, compute_preci=False)
    _, means2d, depths, conics, _ = gsplat._fully_fused_projection(
        scene.means, covars, scene.viewmats, scene.Ks, scene.width, scene.height
    )
    directions = scene.means - torch.linalg.inv(scene.viewmats)[:, None, :3, 3]
    harmonics = gsplat._spherical_harmonics(scene.sh_degree, directions, scene.colors[None])
    return (means2d, depths, conics, (harmonics + 0.5).clamp_min(0.0)), {}


def _metal_gauss(scene: Scene) -> Rendered:
    from metal_gauss import torch_ref

    image, _, _ = torch_ref.render(
        scene.means, scene.quats, scene.scales, scene.opacities, scene.colors,
        scene.Ks[0], scene.viewmats[0], scene.width, scene.height,
        sh_degree=scene.sh_degree, far=1e10,
    )  # fmt: skip
    return (image,), {}
