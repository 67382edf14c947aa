"""Gaussians -> images: one function, `rasterization`, over interchangeable back ends.

3D Gaussian splatting with gsplat's names and meanings: each Gaussian (centre, covariance, opacity,
colour) is projected by EWA, sorted by depth and alpha-blended front to back. `reference` is plain
torch and the truth, `cpu` compiled kernels, `cuda` gsplat. Units follow the caller (cm in the
head frame); view matrices are OpenCV's, pixel centres lie at .5, quaternions are wxyz.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable

from torch import Tensor

from mggtalk_cli.core.batches import stacked
from mggtalk_cli.errors import InputError
from mggtalk_cli.render.inputs import RASTERIZE_MODES, RENDER_MODES, RasterInputs, check

Backend = Callable[[RasterInputs], tuple[Tensor, Tensor, dict]]

# Name of a back end -> its module, imported when used; each has `rasterize(inputs)`.
BACKENDS: dict[str, str] = {
    "reference": "mggtalk_cli.render.reference",
    "cpu": "mggtalk_cli.render.cpu",
    "cuda": "mggtalk_cli.render.cuda",
}


def rasterization(
    means: Tensor,
    quats: Tensor | None,
    scales: Tensor | None,
    opacities: Tensor,
    colors: Tensor,
    viewmats: Tensor,
    Ks: Tensor,
    width: int,
    height: int,
    *,
    covars: Tensor | None = None,
    tangents: Tensor | None = None,
    tangent_eps: float = 0.0,
    near_plane: float = 0.01,
    far_plane: float = 1e10,
    eps2d: float = 0.3,
    sh_degree: int | None = None,
    backgrounds: Tensor | None = None,
    render_mode: str = "RGB",
    rasterize_mode: str = "classic",
    backend: str = "auto",
) -> tuple[Tensor, Tensor, dict]:
    """Return images of N Gaussians seen by C cameras.

    Several scenes of equal size are drawn at once by tensors with a leading axis (B, ...), all of
    them; so are the images. On CUDA that is one call of gsplat, elsewhere one scene after another.

    Args:
        means: (N, 3) centres in the world.
        quats: (N, 4) wxyz rotations, normalised here (zero norm = identity), or None.
        scales: (N, 3) standard deviations along the rotated axes, or None.
        opacities: (N,) 0..1.
        colors: (N, D) or (C, N, D) colours or features; with `sh_degree`, (N, K, 3) or
            (C, N, K, 3) spherical harmonics, evaluated along the viewing ray, + 0.5, >= 0.
        viewmats: (C, 4, 4) world -> OpenCV camera.
        Ks: (C, 3, 3) intrinsics in pixels.
        width: of the images, pixels.
        height: of the images, pixels.
        covars: (N, 3, 3) covariances; quats and scales are then not used, as in gsplat.
        tangents: (N, 2, 3) instead: Sigma = a a^T + b b^T + tangent_eps I of the two rows a, b;
            the quickest form for surfaces. Quats and scales are then not used.
        tangent_eps: isotropic variance added to `tangents`, world units squared.
        near_plane: nearest camera depth that is drawn, above zero.
        far_plane: farthest camera depth that is drawn.
        eps2d: variance in square pixels added to every projected Gaussian.
        sh_degree: degree of the harmonics in `colors` to use, 0-3.
        backgrounds: (C, D) colours behind everything; depth has background 0.
        render_mode: "RGB" colours, "D" accumulated depth, "ED" expected depth, "RGB+D", "RGB+ED".
        rasterize_mode: "classic", or "antialiased": opacities are scaled by
            sqrt(det cov2d / det(cov2d + eps2d I)).
        backend: a key of `BACKENDS`, or "auto": cuda for CUDA tensors where gsplat works, else
            cpu.

    Returns:
        colors (C, H, W, D, and 1 more with depth), alphas (C, H, W, 1) and a dict of figures
        whose "backend" says what rendered; of a batch drawn scene by scene, "scenes" has theirs.

    Raises:
        InputError: a shape, type or option does not fit.
        BackendError: the back end cannot do what is asked.
    """
    inputs = check(
        RasterInputs(
            means=means, quats=quats, scales=scales, covars=covars, tangents=tangents,
            tangent_eps=tangent_eps, opacities=opacities, colors=colors, viewmats=viewmats, Ks=Ks,
            backgrounds=backgrounds, width=width, height=height, near_plane=near_plane,
            far_plane=far_plane, eps2d=eps2d, sh_degree=sh_degree, render_mode=render_mode,
            rasterize_mode=rasterize_mode,
        )
    )  # fmt: skip
    name = choose_backend(means) if backend == "auto" else backend
    draw = _load(name)
    # gsplat takes a batch as it is, but not without Gaussians
    whole = means.ndim == 2 or (name == "cuda" and means.shape[-2] > 0)
    return draw(inputs) if whole else _one_by_one(draw, inputs)


def _one_by_one(draw: Backend, batch: RasterInputs) -> tuple[Tensor, Tensor, dict]:
    colors, alphas, figures = zip(*(draw(scene) for scene in batch.scenes()), strict=True)
    meta = {"backend": figures[0]["backend"], "scenes": list(figures)}
    return stacked(colors), stacked(alphas), meta


def choose_backend(means: Tensor) -> str:
    """Return what "auto" means for these Gaussians: "cuda" or "cpu"."""
    if not means.is_cuda:
        return "cpu"
    return "cuda" if cuda_status(load=True)[0] else "cpu"


def cuda_device() -> tuple[bool, str]:
    """Return whether networks can run on CUDA, and the device's name or why not."""
    from mggtalk_cli.render import cuda

    return cuda.cuda_device()


def _load(name: str) -> Backend:
    if name not in BACKENDS:
        raise InputError(f"backend {name!r} is none of auto, {', '.join(BACKENDS)}")
    backend: Backend = importlib.import_module(BACKENDS[name]).rasterize
    return backend


def cuda_status(*, load: bool = False) -> tuple[bool, str]:
    """Return whether the CUDA back end works here, and one line with what or why not.

    Args:
        load: be certain: compile (minutes, once) and load its kernels; else only look.
    """
    from mggtalk_cli.render import cuda

    return cuda.cuda_status(load=load)


__all__ = [
    "BACKENDS",
    "RASTERIZE_MODES",
    "RENDER_MODES",
    "choose_backend",
    "cuda_device",
    "cuda_status",
    "rasterization",
]
