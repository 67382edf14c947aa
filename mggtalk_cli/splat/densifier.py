"""Learned densification: parents' features to residuals of their four lattice children.

Each child moves in its parent's frame (two tangents and the normal) and changes scale, opacity and
colour. Untrained it gives exactly the lattice of `densify`; children stay near their places there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.core.checkpoint import Network
from mggtalk_cli.core.layers import mlp, soft_limit
from mggtalk_cli.splat.covariance import SIGMA
from mggtalk_cli.splat.decoder import COLOR_GAIN, SCALE_LIMIT, shifted_opacity
from mggtalk_cli.splat.densify import CHILDREN, densify_gaussians
from mggtalk_cli.splat.gaussians import Gaussians
from mggtalk_cli.splat.grids import POSITION_CM

# Raw channels of a child: offset in the frame, scale, opacity, colour.
OFFSET, SCALE, OPACITY, COLOR = slice(0, 3), 3, 4, slice(5, 8)
CHILD_CHANNELS = 8
# A child leaves its place in the lattice by at most this many spacings: less than the quarter
# that lies between it and its parent's centre, so children never meet.
OFFSET_LIMIT = 0.2
# Area of a parent's frame (cm^2) below which its normal shrinks to nothing: 1e-6 of a usual one.
TINY = 1e-9
# Of a parent besides its features: position, colour, opacity.
OWN_CHANNELS = 3 + 3 + 1


@dataclass(frozen=True)
class DensifierConfig:
    """Architecture of a densifier.

    Attributes:
        features: channels of the identity features.
        width: of the hidden layers.
        layers: number of hidden layers.
    """

    features: int = 32
    width: int = 64
    layers: int = 2

    @classmethod
    def tiny(cls) -> DensifierConfig:
        """Return a size for tests and training on a CPU."""
        return cls(features=16, width=16)

    @classmethod
    def base(cls) -> DensifierConfig:
        """Return the usual size."""
        return cls()


class Densifier(Network):
    """Identity features at parents, and the parents, to raw residuals of their children."""

    config: DensifierConfig

    def __init__(self, config: DensifierConfig) -> None:
        """Build it.

        Raises:
            ValueError: no hidden layer.
        """
        super().__init__(config)
        if config.layers < 1:
            raise ValueError(f"a densifier needs a hidden layer, its config asks for {config}")
        self.mlp = mlp(
            config.features + OWN_CHANNELS,
            CHILDREN * CHILD_CHANNELS,
            width=config.width,
            layers=config.layers,
        )

    def forward(
        self, features: Float[Tensor, "n c"], parents: Gaussians
    ) -> Float[Tensor, "*b n k 8"]:
        """Return (n, CHILDREN, 8) raw residuals: offset 3, scale, opacity, colour 3.

        Args:
            features: identity features at the parents' pixels.
            parents: those n Gaussians, of one frame or of several.
        """
        known = features.expand(*parents.opacities.shape, -1)
        own = (parents.means / POSITION_CM, parents.colors, parents.opacities[..., None])
        raw: Tensor = self.mlp(torch.cat([known, *own], -1))
        return raw.unflatten(-1, (CHILDREN, CHILD_CHANNELS))


def densified(parents: Gaussians, raw: Float[Tensor, "*b m k 8"]) -> Gaussians:
    """Return the children of Gaussians, first children first; raw zeros give the plain lattice.

    Args:
        parents: m Gaussians.
        raw: residuals of their children, zeros for parents a network knows nothing about.
    """
    children = densify_gaussians(parents)
    # (m, k, ...) in the parents' order to (k m, ...) in the children's.
    raw = raw.transpose(-3, -2)
    offset = soft_limit(raw[..., OFFSET], OFFSET_LIMIT) / SIGMA
    axes = frames(parents.tangents)
    moved = torch.einsum("...kmt,...mtd->...kmd", offset, axes).flatten(-3, -2)
    flat = raw.flatten(-3, -2)
    scale = soft_limit(flat[..., SCALE], SCALE_LIMIT).exp()
    return children._replace(
        means=children.means + moved,
        tangents=children.tangents * scale[..., None, None],
        opacities=shifted_opacity(children.opacities, flat[..., OPACITY]),
        colors=children.colors + COLOR_GAIN * flat[..., COLOR],
    )


def frames(tangents: Float[Tensor, "*m 2 3"]) -> Float[Tensor, "*m 3 3"]:
    """Return the two tangents and the normal, as long as the mean of their lengths; cm."""
    across = torch.linalg.cross(tangents[..., 0, :], tangents[..., 1, :])
    area = (across.square().sum(-1, keepdim=True) + TINY**2).sqrt()
    return torch.cat([tangents, (across / area.sqrt())[..., None, :]], -2)
