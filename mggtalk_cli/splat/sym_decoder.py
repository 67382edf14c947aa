"""Eq 10 of the paper: parameters of the mirrored side from the front's, plus learned offsets.

    G^s = mirror(G) + D^s(F, P^s, mask), one small network each for scale, rotation, colour, opacity

A mirrored point keeps the place of its counterpart in the grid, so everything stays a map until
the validity mask is applied at the very end. Untrained offsets are zero: an exact mirror image.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mggtalk_cli.core.checkpoint import Network
from mggtalk_cli.core.layers import ConvBlock, zero
from mggtalk_cli.splat.decoder import COLOR, RAW_CHANNELS, ROTATION

# Raw channels of each network, in the order of the raw parameters.
PARTS = {"scale": 3, "rotation": 4, "color": 12, "opacity": 1}
# x -> -x turns a quaternion (w, x, y, z) into (w, x, -y, -z).
_FLIPPED_ROTATION = [ROTATION.start + 2, ROTATION.start + 3]
# The harmonics of degree 1 go as y, z, x: the last of four terms changes its sign, in R, G and B.
_FLIPPED_COLOR = list(range(COLOR.stop - 3, COLOR.stop))


@dataclass(frozen=True)
class SymConfig:
    """Architecture of a symmetric decoder.

    Attributes:
        features: channels of the identity features.
        width: channels of the hidden layers.
    """

    features: int = 32
    width: int = 32

    @classmethod
    def tiny(cls) -> SymConfig:
        """Return a size for tests and training on a CPU."""
        return cls(features=16, width=8)

    @classmethod
    def base(cls) -> SymConfig:
        """Return the usual size."""
        return cls()


class SymDecoder(Network):
    """Identity features and mirrored position map to offsets of the mirrored raw parameters."""

    config: SymConfig

    def __init__(self, config: SymConfig) -> None:
        super().__init__(config)
        self.parts = nn.ModuleDict(
            {
                name: _three_layers(config.features + 3 + 1, config.width, channels)
                for name, channels in PARTS.items()
            }
        )

    def forward(
        self,
        features: Float[Tensor, "_ c h w"],
        positions: Float[Tensor, "b 3 h w"],
        mask: Float[Tensor, "_ 1 h w"],
    ) -> Float[Tensor, "b 20 h w"]:
        """Return offsets, to be added to `mirrored` raw parameters.

        Args:
            features: identity features of the photo, of batch B or 1.
            positions: posed mirrored points in units of `grids.POSITION_CM`, 0 off the mask.
            mask: 1 where a mirrored point is used, of batch B or 1.
        """
        frames = positions.shape[0]
        maps = (features.expand(frames, -1, -1, -1), positions, mask.expand(frames, -1, -1, -1))
        x = torch.cat(maps, 1)
        return torch.cat([part(x) for part in self.parts.values()], 1)


def _three_layers(in_channels: int, width: int, out_channels: int) -> nn.Sequential:
    last = nn.Conv2d(width, out_channels, 3, padding=1)
    zero(last)
    return nn.Sequential(ConvBlock(in_channels, width), ConvBlock(width, width), last)


def mirrored(raw: Float[Tensor, "b 20 h w"]) -> Float[Tensor, "b 20 h w"]:
    """Return raw parameters as they are on the other side of x = 0, at the same places of the grid.

    The quaternion 1 + (w, x, y, z) is reflected to 1 + (w, x, -y, -z), and the harmonic that is
    odd in x changes its sign.
    """
    sign = raw.new_ones(RAW_CHANNELS)
    sign[_FLIPPED_ROTATION + _FLIPPED_COLOR] = -1
    return raw * sign[:, None, None]
