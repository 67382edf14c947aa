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
    means: Float[Tensor, "m 3"],
    tangents: Float[Tensor, "m 2 3"],
    opacities: Float[Tensor, " m"],
    colors: Float[Tensor, "m 3"],
    *,
    sigma: float = SIGMA,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return means (4m, 3), tangents (4m, 2, 3), opacities (4m,) and colors (4m, 3) of children."""
    lattice = means.new_tensor(LATTICE) / sigma
    offsets = torch.einsum("kt,mtd->kmd", lattice, tangents)
    children = (means[None] + offsets).reshape(-1, 3)
    return (
        children,
        (tangents * CHILD_SCALE).repeat(CHILDREN, 1, 1),
        opacities.repeat(CHILDREN),
        colors.repeat(CHILDREN, 1),
    )


def densify_gaussians(gaussians: Gaussians) -> Gaussians:
    """Return four lattice children per Gaussian, first children first."""
    thickness, harmonics = gaussians.thickness_cm, gaussians.harmonics
    return Gaussians(
        *densify(*gaussians[:4]),
        thickness.repeat(CHILDREN) if isinstance(thickness, Tensor) else thickness,
        None if harmonics is None else harmonics.repeat(CHILDREN, 1, 1),
    )
