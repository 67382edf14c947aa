"""Lattice densification: a pixel is worth more than one Gaussian.

Every parent becomes K = 4 children on a 2x2 lattice in its tangent plane, a quarter spacing from
its centre, smaller by `CHILD_SCALE`. Children never share a centre: they could never separate in
training. A learned densifier starts from these offsets.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.splat.covariance import SIGMA
from mggtalk_cli.splat.gaussians import Gaussians

CHILD_SCALE = 0.6
CHILDREN = 4
LATTICE = ((-0.25, -0.25), (0.25, -0.25), (-0.25, 0.25), (0.25, 0.25))


def densify(
    means: Float[Tensor, "*b m 3"],
    tangents: Float[Tensor, "*b m 2 3"],
    opacities: Float[Tensor, "*b m"],
    colors: Float[Tensor, "*b m 3"],
    *,
    sigma: float = SIGMA,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return means (4m, 3), tangents (4m, 2, 3), opacities (4m,) and colors (4m, 3) of children."""
    lattice = means.new_tensor(LATTICE) / sigma
    offsets = torch.einsum("kt,...mtd->...kmd", lattice, tangents)
    children = (means[..., None, :, :] + offsets).flatten(-3, -2)
    return (
        children,
        repeated(tangents * CHILD_SCALE, -3),
        repeated(opacities, -1),
        repeated(colors, -2),
    )


def repeated(values: Tensor, axis: int) -> Tensor:
    """Return the parents' values for all first children, then for all second ones, and so on."""
    return torch.cat([values] * CHILDREN, axis)


def densify_gaussians(gaussians: Gaussians) -> Gaussians:
    """Return four lattice children per Gaussian, first children first."""
    thickness, harmonics = gaussians.thickness_cm, gaussians.harmonics
    return Gaussians(
        *densify(*gaussians[:4]),
        repeated(thickness, -1) if isinstance(thickness, Tensor) else thickness,
        None if harmonics is None else repeated(harmonics, -3),
    )
