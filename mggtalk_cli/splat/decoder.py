"""D_gs of the paper: position map and identity features to Gaussian parameters, as residuals.

The network gives 20 raw numbers per pixel of the front sheet: scale 3, rotation 4, colour 12
(spherical harmonics of degree 1, 4 x RGB), opacity 1. `corrected` applies them to the analytic
Gaussians: tangents scaled by exp and rotated by normalise([1, 0, 0, 0] + raw), thickness scaled,
opacity moved in logits, colour moved by a tenth, with a part that depends on the direction of
view. Raw zeros change nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mggtalk_cli.core.checkpoint import Network
from mggtalk_cli.core.layers import UNet, soft_limit
from mggtalk_cli.splat.gaussians import Gaussians

# Raw channels, in this order.
SCALE, ROTATION, COLOR, OPACITY = slice(0, 3), slice(3, 7), slice(7, 19), 19
RAW_CHANNELS = 20
# Scales change by at most e^+-1, opacities by at most 8 logits: enough to fade anything away.
SCALE_LIMIT = 1.0
OPACITY_LIMIT = 8.0
# Colour per unit of raw output: outputs of unit size would be other colours altogether.
COLOR_GAIN = 0.1


@dataclass(frozen=True)
class DecoderConfig:
    """Architecture of a Gaussian decoder.

    Attributes:
        features: channels of the identity features.
        widths: channels of the U-Net's levels.
    """

    features: int = 32
    widths: tuple[int, ...] = (64, 128, 256, 256)

    @classmethod
    def tiny(cls) -> DecoderConfig:
        """Return a size for tests and training on a CPU."""
        return cls(features=16, widths=(16, 32, 64))

    @classmethod
    def base(cls) -> DecoderConfig:
        """Return the usual size."""
        return cls()


class GaussianDecoder(Network):
    """Deformed position map and identity features to raw corrections."""

    config: DecoderConfig

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.unet = UNet(3 + config.features + 1, RAW_CHANNELS, config.widths)

    def forward(
        self,
        positions: Float[Tensor, "b 3 h w"],
        features: Float[Tensor, "_ c h w"],
        mask: Float[Tensor, "_ 1 h w"],
    ) -> Float[Tensor, "b 20 h w"]:
        """Return raw corrections of every pixel.

        Args:
            positions: posed points in units of `grids.POSITION_CM`, 0 off the mask, as
                `SheetGrid.positions` gives them.
            features: identity features, of batch B, or 1 for all frames.
            mask: 1 where there is a point, of batch B or 1.
        """
        frames = positions.shape[0]
        maps = (positions, features.expand(frames, -1, -1, -1), mask.expand(frames, -1, -1, -1))
        raw: Tensor = self.unet(torch.cat(maps, 1))
        return raw


def corrected(gaussians: Gaussians, raw: Float[Tensor, "*b n 20"]) -> Gaussians:
    """Return Gaussians changed by a decoder's raw corrections; zeros change nothing.

    Args:
        gaussians: analytic ones.
        raw: one row for each of them.
    """
    scale = log_scales(raw).exp()
    identity = raw.new_tensor([1.0, 0.0, 0.0, 0.0])
    quaternion = functional.normalize(identity + raw[..., ROTATION], dim=-1, eps=1e-6)
    tangents = rotated(gaussians.tangents * scale[..., :2, None], quaternion)
    color = COLOR_GAIN * raw[..., COLOR].unflatten(-1, (4, 3))
    harmonics = color[..., 1:, :]
    if gaussians.harmonics is not None:
        harmonics = gaussians.harmonics + harmonics
    return gaussians._replace(
        tangents=tangents,
        opacities=shifted_opacity(gaussians.opacities, raw[..., OPACITY]),
        colors=gaussians.colors + color[..., 0, :],
        thickness_cm=gaussians.thickness_cm * scale[..., 2],
        harmonics=harmonics,
    )


def log_scales(raw: Float[Tensor, "*n 20"]) -> Float[Tensor, "*n 3"]:
    """Return the logarithms of what raw corrections multiply both tangents and thickness by."""
    return soft_limit(raw[..., SCALE], SCALE_LIMIT)


def rotated(vectors: Float[Tensor, "*n k 3"], quaternion: Float[Tensor, "*n 4"]) -> Tensor:
    """Return vectors turned by unit quaternions wxyz; exactly the same at (1, 0, 0, 0)."""
    w, axis = quaternion[..., None, :1], quaternion[..., None, 1:].expand_as(vectors)
    twice = 2 * torch.linalg.cross(axis, vectors)
    return vectors + w * twice + torch.linalg.cross(axis, twice)


def shifted_opacity(opacity: Float[Tensor, "*n"], raw: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Return sigmoid(logit(opacity) + raw), raw limited; exactly the same at raw 0, and at 0 and 1.

    With e = exp(raw) - 1 this is o + o (1 - o) e / (1 + o e): no logit, which 0 and 1 have not.

    >>> shifted_opacity(torch.tensor([0.0, 0.3, 1.0]), torch.tensor([2.0, 0.0, -2.0]))
    tensor([0.0000, 0.3000, 1.0000])
    """
    e = torch.expm1(soft_limit(raw, OPACITY_LIMIT))
    return opacity + opacity * (1 - opacity) * e / (1 + opacity * e)
