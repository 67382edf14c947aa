"""The Gaussian parameters of a frame, and the analytic way to them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.splat.covariance import tangents_from_grid

# Standard deviation of a Gaussian across the surface, in point spacings: thin, but not flat.
THICKNESS = 0.1


class Gaussians(NamedTuple):
    """Gaussian parameters of one frame; those of B frames have a leading axis, all of them.

    Attributes:
        means: (n, 3) cm.
        tangents: (n, 2, 3) cm; Sigma = sum of their outer products + thickness^2 I.
        opacities: (n,) 0..1.
        colors: (n, 3) RGB.
        thickness_cm: standard deviation across the surface, cm; one for all, or (n,).
        harmonics: (n, 3, 3) spherical harmonics of degree 1 (terms x RGB, in the order of
            standard 3DGS files) added to `colors` along the direction of view; None for none.
    """

    means: Float[Tensor, "*b n 3"]
    tangents: Float[Tensor, "*b n 2 3"]
    opacities: Float[Tensor, "*b n"]
    colors: Float[Tensor, "*b n 3"]
    thickness_cm: float | Float[Tensor, "*b n"]
    harmonics: Float[Tensor, "*b n 3 3"] | None = None

    def take(self, rows: slice | Tensor) -> Gaussians:
        """Return some of the Gaussians, the same of every frame."""
        thickness, harmonics = self.thickness_cm, self.harmonics
        return Gaussians(
            self.means[..., rows, :],
            self.tangents[..., rows, :, :],
            self.opacities[..., rows],
            self.colors[..., rows, :],
            thickness[..., rows] if isinstance(thickness, Tensor) else thickness,
            None if harmonics is None else harmonics[..., rows, :, :],
        )

    def covariances(self) -> Float[Tensor, "*b n 3 3"]:
        """Return Sigma, cm^2."""
        eye = torch.eye(3, dtype=self.means.dtype, device=self.means.device)
        variance = self.thickness_cm**2
        if isinstance(variance, Tensor):
            variance = variance[..., None, None]
        return self.tangents.mT @ self.tangents + variance * eye


class GaussianSheet(NamedTuple):
    """The unmoving side of a head's points: appearance and connectivity.

    Attributes:
        colors: (m, 3) RGB.
        opacities: (m,) 0..1.
        right: (m,) int32 connected neighbours, own index where none; so left, down, up.
        left: see right.
        down: see right.
        up: see right.
        spacing_cm: usual distance of neighbours, cm.
    """

    colors: Float[Tensor, "m 3"]
    opacities: Float[Tensor, " m"]
    right: Tensor
    left: Tensor
    down: Tensor
    up: Tensor
    spacing_cm: float


def decode_analytic(
    points: Float[Tensor, "*b m 3"], gate: Float[Tensor, "*b m"], sheet: GaussianSheet
) -> Gaussians:
    """Return one Gaussian per point: Jacobian covariance, photo colour, gated opacity."""
    tangents = tangents_from_grid(
        points, sheet.right, sheet.left, sheet.down, sheet.up, spacing_cm=sheet.spacing_cm
    )
    colors = sheet.colors.expand(*points.shape[:-1], -1)
    return Gaussians(points, tangents, sheet.opacities * gate, colors, THICKNESS * sheet.spacing_cm)
