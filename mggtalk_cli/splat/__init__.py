"""Points to Gaussian parameters: decoder, symmetric decoder, densification.

`DECODERS` maps a variant to a function with one signature; the analytic one reads covariances off
the deformed position map. Networks that correct it are entries beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.splat.compensation import precompensate
from mggtalk_cli.splat.covariance import rotation_and_scale, tangents_from_grid
from mggtalk_cli.splat.densify import densify

__all__ = [
    "DECODERS",
    "GaussianSheet",
    "Gaussians",
    "decode_analytic",
    "densify_gaussians",
    "precompensate",
    "rotation_and_scale",
]

# Standard deviation of a Gaussian across the surface, in point spacings: thin, but not flat.
THICKNESS = 0.1


class Gaussians(NamedTuple):
    """Gaussian parameters of one frame.

    Attributes:
        means: (n, 3) cm.
        tangents: (n, 2, 3) cm; Sigma = sum of their outer products + thickness^2 I.
        opacities: (n,) 0..1.
        colors: (n, 3) RGB.
        thickness_cm: standard deviation across the surface, cm.
    """

    means: Float[Tensor, "n 3"]
    tangents: Float[Tensor, "n 2 3"]
    opacities: Float[Tensor, " n"]
    colors: Float[Tensor, "n 3"]
    thickness_cm: float


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
    points: Float[Tensor, "m 3"], gate: Float[Tensor, " m"], sheet: GaussianSheet
) -> Gaussians:
    """Return one Gaussian per point: Jacobian covariance, photo colour, gated opacity."""
    tangents = tangents_from_grid(
        points, sheet.right, sheet.left, sheet.down, sheet.up, spacing_cm=sheet.spacing_cm
    )
    return Gaussians(
        points, tangents, sheet.opacities * gate, sheet.colors, THICKNESS * sheet.spacing_cm
    )


def densify_gaussians(gaussians: Gaussians) -> Gaussians:
    """Return four lattice children per Gaussian."""
    fields = densify(*gaussians[:4])
    return Gaussians(*fields, thickness_cm=gaussians.thickness_cm)


DECODERS: dict[str, Callable[..., Gaussians]] = {"analytic": decode_analytic}
