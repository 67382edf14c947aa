"""The CPU back end: compiled kernels, forward and backward, inside a torch.autograd.Function.

Float32 in and out. Deterministic: the same inputs give the same bits, images and gradients, for any
number of threads. Several Python threads may render at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from mggtalk_cli.core.compiled import array
from mggtalk_cli.errors import BackendError
from mggtalk_cli.render import backward, forward
from mggtalk_cli.render.forward import Clock, Scratch, Shapes, View
from mggtalk_cli.render.inputs import RasterInputs

# Inputs that gradients reach, in the order of `_Rasterize`.
DIFFERENTIABLE = (
    *("means", "quats", "scales", "covars", "tangents", "opacities", "colors", "viewmats", "Ks"),
    "backgrounds",
)


def rasterize(inputs: RasterInputs) -> tuple[Tensor, Tensor, dict]:
    """Return colors (C, H, W, D), alphas (C, H, W, 1) and meta of checked inputs.

    Gradients reach means, quats, scales, covars, tangents, opacities, colors, viewmats, Ks and
    backgrounds. Meta holds `visible` (Gaussians per camera), `pairs` (Gaussian-tile pairs per
    camera) and `milliseconds` per stage, those of a backward pass added when it has run.

    Raises:
        BackendError: inputs are not float32 on the CPU.
    """
    _refuse(inputs)
    meta: dict[str, Any] = {"backend": "cpu", "visible": [], "pairs": []}
    if _differentiable(inputs):
        given = [getattr(inputs, name) for name in DIFFERENTIABLE]
        colors, alphas = _Rasterize.apply(inputs, meta, *given)
    else:
        colors, alphas, _ = _forward(inputs, meta, keep=False)
    if inputs.render_mode.endswith("ED"):
        depth = colors[..., -1:] / alphas.clamp_min(1e-10)
        colors = torch.cat([colors[..., :-1], depth], -1)
    return colors, alphas, meta


def _refuse(inputs: RasterInputs) -> None:
    for name, tensor in inputs.tensors().items():
        if tensor.dtype != torch.float32:
            raise BackendError(
                f"backend 'cpu' renders float32, {name} is {tensor.dtype}: convert it or use "
                "backend='reference'"
            )
        if tensor.device.type != "cpu":
            raise BackendError(f"backend 'cpu' cannot read {name} on {tensor.device}: move it")


def _differentiable(inputs: RasterInputs) -> bool:
    """Return whether a backward pass may follow."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in inputs.tensors().values())


@dataclass(frozen=True)
class _Kept:
    """What the backward pass needs of the forward pass; `lent` is the memory it lies in."""

    shapes: Shapes
    views: list[View]
    lent: list[Scratch]


def _forward(
    inputs: RasterInputs, meta: dict[str, Any], *, keep: bool
) -> tuple[Tensor, Tensor, _Kept]:
    """Return colours (depth not yet divided by alpha), alphas, and views if they are to keep."""
    cameras = inputs.viewmats.shape[0]
    base = 3 if inputs.sh_degree is not None else inputs.colors.shape[-1]
    channels = base * inputs.has_color + inputs.has_depth
    colors = torch.empty(cameras, inputs.height, inputs.width, channels)
    alphas = torch.empty(cameras, inputs.height, inputs.width, 1)
    clock = Clock()
    meta["milliseconds"] = clock.milliseconds
    scratch = Scratch()
    kept = _Kept(forward.shapes_of(inputs), [], [scratch])
    tiles_x = forward.tiles_of(inputs.width, inputs.height)[0]
    for camera in range(cameras):
        scratch = Scratch() if keep and camera else scratch
        view = forward.view_of(inputs, camera, kept.shapes, scratch, clock)
        background = array(inputs.background(camera, channels))
        picture = (colors[camera].numpy(), alphas[camera, ..., 0].numpy())
        forward.blend(view, background, *picture, tiles_x)
        clock.lap("blend")
        meta["visible"].append(len(view.order))
        meta["pairs"].append(len(view.lists))
        if keep:
            kept.views.append(view)
            kept.lent.append(scratch)
    return colors, alphas, kept


class _Rasterize(torch.autograd.Function):
    """The renderer to torch: which tensors go in, which gradients come out."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, inputs: RasterInputs, meta: dict[str, Any], *given: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Return colours and alphas."""
        colors, alphas, ctx.kept = _forward(inputs, meta, keep=True)
        present = {n: t for n, t in zip(DIFFERENTIABLE, given, strict=True) if t is not None}
        ctx.names = tuple(present)
        ctx.meta = meta
        ctx.rest = replace(inputs, **dict.fromkeys(DIFFERENTIABLE))
        ctx.save_for_backward(colors, alphas, *present.values())
        return colors, alphas

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_colors: Tensor, d_alphas: Tensor) -> Any:  # type: ignore[override]
        """Return the gradients of all inputs that have one."""
        colors, alphas, *given = ctx.saved_tensors
        inputs = replace(ctx.rest, **dict(zip(ctx.names, given, strict=True)))
        kept: _Kept = ctx.kept
        clock = Clock(ctx.meta["milliseconds"])
        found = backward.Gradients(inputs, kept.shapes)
        for camera, view in enumerate(kept.views):
            planes = (colors[camera], alphas[camera, ..., 0])
            planes += (d_colors[camera], d_alphas[camera, ..., 0])
            image = backward.ImageGradient(*(array(plane) for plane in planes))
            backward.add_camera(found, inputs, camera, kept.shapes, view, image, clock)
        return None, None, *_by_name(ctx, inputs, found)


def _by_name(ctx: FunctionCtx, inputs: RasterInputs, found: backward.Gradients) -> list[Any]:
    """Return the gradients in the order of `DIFFERENTIABLE`, None where there is none."""
    shapes = {"covars": (3, 3), "tangents": (2, 3), "quats": (4,)}
    named = {name: getattr(found, name, None) for name in DIFFERENTIABLE}
    for name, shape in shapes.items():
        if getattr(inputs, name) is not None:
            named[name] = found.shapes.reshape(-1, *shape)
    wanted = ctx.needs_input_grad[2:]  # type: ignore[attr-defined]
    return [
        None if value is None or not needed else torch.from_numpy(value)
        for value, needed in zip(named.values(), wanted, strict=True)
    ]
