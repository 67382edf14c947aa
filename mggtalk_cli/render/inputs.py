"""What a renderer gets: tensors whose shapes, types and devices have been checked once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mggtalk_cli.errors import InputError
from mggtalk_cli.render.harmonics import COEFFICIENTS

RENDER_MODES = ("RGB", "D", "ED", "RGB+D", "RGB+ED")
RASTERIZE_MODES = ("classic", "antialiased")
# Larger sides than any screen; keeps pixel and tile counts within 32 bits.
MAX_SIDE = 16384
# A quaternion whose squared norm is not above this stands for no rotation.
ZERO_NORM2 = 1e-24


@dataclass(frozen=True)
class RasterInputs:
    """One call of `rasterization`, checked: N Gaussians, C cameras, D colour channels.

    Exactly one of (`quats` and `scales`), `covars`, `tangents` is given. See `rasterization`. A
    batch of scenes has a leading axis in every tensor; back ends but cuda get its `scenes`.
    """

    means: Tensor
    quats: Tensor | None
    scales: Tensor | None
    covars: Tensor | None
    tangents: Tensor | None
    tangent_eps: float
    opacities: Tensor
    colors: Tensor
    viewmats: Tensor
    Ks: Tensor
    backgrounds: Tensor | None
    width: int
    height: int
    near_plane: float
    far_plane: float
    eps2d: float
    sh_degree: int | None
    render_mode: str
    rasterize_mode: str

    @property
    def has_color(self) -> bool:
        """Whether the output carries the Gaussians' colours."""
        return self.render_mode.startswith("RGB")

    @property
    def has_depth(self) -> bool:
        """Whether the last output channel is a depth."""
        return self.render_mode.endswith("D")

    def tensors(self) -> dict[str, Tensor]:
        """Return the tensors that are given, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}

    def scenes(self) -> list[RasterInputs]:
        """Return the scenes of a batch, each alone."""
        given = self.tensors()
        return [
            replace(self, **{name: tensor[scene] for name, tensor in given.items()})
            for scene in range(len(self.means))
        ]

    def camera_colors(self, camera: int) -> Tensor:
        """Return the colours or harmonics (N, ...) that camera number `camera` sees."""
        per_camera = self.colors.ndim == (3 if self.sh_degree is None else 4)
        return self.colors[camera] if per_camera else self.colors

    def background(self, camera: int, channels: int) -> Tensor:
        """Return the (channels,) background of one camera; depth has background 0."""
        full = self.means.new_zeros(channels)
        if self.backgrounds is not None and self.has_color:
            given = self.backgrounds[camera]
            full = torch.cat([given, full[given.shape[0] :]])
        return full

    def world_covariances(self) -> Tensor:
        """Return Sigma (..., N, 3, 3) in world units squared, however the Gaussians are given."""
        if self.covars is not None:
            return self.covars
        if self.tangents is not None:
            eye = torch.eye(3, dtype=self.means.dtype, device=self.means.device)
            return self.tangents.mT @ self.tangents + self.tangent_eps * eye
        axes = rotations(self.quats) * self.scales[..., None, :]
        return axes @ axes.mT


def rotations(quats: Tensor) -> Tensor:
    """Return (..., 3, 3) rotations of (..., 4) quaternions wxyz; zero norm is the identity."""
    norm2 = (quats * quats).sum(-1)
    s = torch.where(norm2 > ZERO_NORM2, 2.0 / norm2.clamp_min(ZERO_NORM2), torch.zeros_like(norm2))
    w, x, y, z = quats.unbind(-1)
    rows = [
        *(1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)),
        *(s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)),
        *(s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)),
    ]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def check(inputs: RasterInputs) -> RasterInputs:
    """Return `inputs` unchanged.

    Raises:
        InputError: a shape, type, device or option does not fit; names it with its value.
    """
    _check_options(inputs)
    _check_kind_of_shape(inputs)
    batch = tuple(inputs.means.shape[:-2])
    wanted = _wanted_shapes(inputs)
    for name, tensor in inputs.tensors().items():
        shapes = tuple((*batch, *shape) for shape in wanted.get(name, ()))
        if shapes and tuple(tensor.shape) not in shapes:
            raise InputError(
                f"{name} has shape {tuple(tensor.shape)}, expected "
                + " or ".join(str(shape) for shape in shapes)
            )
        if tensor.dtype != inputs.means.dtype or tensor.device != inputs.means.device:
            raise InputError(
                f"{name} is {tensor.dtype} on {tensor.device}, but means are "
                f"{inputs.means.dtype} on {inputs.means.device}: convert one of them"
            )
    return inputs


def _wanted_shapes(inputs: RasterInputs) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Return the shapes that each tensor may have, a batch's axis left out."""
    count, cameras = inputs.means.shape[-2], inputs.viewmats.shape[-3]
    wanted: dict[str, tuple[tuple[int, ...], ...]] = {
        "means": ((count, 3),),
        "quats": ((count, 4),),
        "scales": ((count, 3),),
        "covars": ((count, 3, 3),),
        "tangents": ((count, 2, 3),),
        "opacities": ((count,),),
        "viewmats": ((cameras, 4, 4),),
        "Ks": ((cameras, 3, 3),),
    }
    channels = tuple(inputs.colors.shape[-1:])
    if inputs.colors.ndim < 2 or 0 in channels:
        raise InputError(f"colors have shape {tuple(inputs.colors.shape)}, expected (N, D)")
    if inputs.sh_degree is None:
        wanted["colors"] = ((count, *channels), (cameras, count, *channels))
    else:
        if channels != (3,) or inputs.colors.ndim < 3:
            raise InputError(
                f"colors {tuple(inputs.colors.shape)} are no spherical harmonics (N, K, 3): "
                "leave sh_degree out for plain colours"
            )
        terms = inputs.colors.shape[-2]
        if terms < COEFFICIENTS[inputs.sh_degree]:
            raise InputError(
                f"sh_degree {inputs.sh_degree} needs {COEFFICIENTS[inputs.sh_degree]} "
                f"coefficients, colors {tuple(inputs.colors.shape)} hold {terms}"
            )
        wanted["colors"] = ((count, terms, 3), (cameras, count, terms, 3))
    if inputs.has_color:
        wanted["backgrounds"] = ((cameras, *channels),)
    return wanted


def _check_kind_of_shape(inputs: RasterInputs) -> None:
    by_axes = inputs.quats is not None and inputs.scales is not None
    given = [inputs.covars is not None, inputs.tangents is not None]
    if sum(given) > 1 or not (any(given) or by_axes):
        raise InputError("give the Gaussians' shapes as quats and scales, or covars, or tangents")


def _check_options(inputs: RasterInputs) -> None:
    means, viewmats = inputs.means, inputs.viewmats
    if means.ndim not in (2, 3) or viewmats.ndim != means.ndim + 1:
        raise InputError(
            f"means {tuple(means.shape)} must be (N, 3) and viewmats {tuple(viewmats.shape)} "
            "(C, 4, 4), or of a batch (B, N, 3) and (B, C, 4, 4)"
        )
    if means.ndim == 3 and len(means) == 0:
        raise InputError(f"means {tuple(means.shape)} hold no scene: give at least one")
    if not means.dtype.is_floating_point:
        raise InputError(f"means are {means.dtype}: convert to float32")
    if viewmats.shape[-3] == 0:
        raise InputError("viewmats hold no camera: give at least one")
    if inputs.render_mode not in RENDER_MODES:
        raise InputError(f"render_mode {inputs.render_mode!r} is none of {', '.join(RENDER_MODES)}")
    if inputs.rasterize_mode not in RASTERIZE_MODES:
        raise InputError(
            f"rasterize_mode {inputs.rasterize_mode!r} is none of {', '.join(RASTERIZE_MODES)}"
        )
    if inputs.sh_degree is not None and inputs.sh_degree not in range(len(COEFFICIENTS)):
        raise InputError(f"sh_degree {inputs.sh_degree} is not 0, 1, 2 or 3")
    if not (0 < inputs.width <= MAX_SIDE and 0 < inputs.height <= MAX_SIDE):
        raise InputError(
            f"image size {inputs.width}x{inputs.height} is not within 1..{MAX_SIDE} pixels a side"
        )
    if not 0.0 < inputs.near_plane < inputs.far_plane:
        raise InputError(
            f"need 0 < near_plane < far_plane, got {inputs.near_plane} and {inputs.far_plane}"
        )
    if not (inputs.eps2d >= 0.0 and inputs.tangent_eps >= 0.0):
        raise InputError(
            f"eps2d {inputs.eps2d} and tangent_eps {inputs.tangent_eps} must not be negative"
        )
