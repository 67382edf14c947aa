"""Colour pre-compensation: choose Gaussian colours so that the render gives the photo back.

Splatting is a blur, and linear in the colours: render(c) = A c + b. A c = I - b is solved on the
photo's pixels by a few GMRES steps (A is not symmetric, nearer Gaussians cover farther ones, so the
usual c <- c + .8 (I - render) may diverge on sharp photos). It stays right when the points move,
because it changes colours only.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse.linalg import LinearOperator, gmres
from torch import Tensor

# Steps of the solver; more raise identity PSNR, but the photo warped by a known field gets worse.
ROUNDS = 4

# Colours may leave 0..1 by this much: enough to sharpen edges, too little to ring visibly.
OVERSHOOT = 0.35


def precompensate(
    colors: Float[Tensor, "m 3"],
    photo: Float[Tensor, "h w 3"],
    rows: Int[Tensor, " p"],
    pixels: Int[Tensor, " p"],
    render: Callable[[Float[Tensor, "m 3"]], Float[Tensor, "h w 3"]],
    *,
    rounds: int = ROUNDS,
) -> Float[Tensor, "m 3"]:
    """Return colours whose render is closer to the photo.

    Args:
        colors: RGB of every point.
        photo: the picture to reproduce.
        rows: points that stand for a pixel of the photo.
        pixels: flat index of that pixel.
        render: draws the final picture, composite included, with the given colours; affine in
            them.
        rounds: how many solver steps, one render each.
    """
    plain = render(torch.zeros_like(colors))

    def spread(change: np.ndarray) -> Float[Tensor, "m 3"]:
        spreaded = torch.zeros_like(colors)
        spreaded[rows] = torch.from_numpy(change.astype(np.float32)).reshape(-1, 3)
        return spreaded

    def draw(change: np.ndarray) -> np.ndarray:
        return (render(spread(change)) - plain).reshape(-1, 3)[pixels].numpy().ravel()

    size = 3 * len(rows)
    missing = (photo - render(colors)).reshape(-1, 3)[pixels].numpy().ravel()
    operator = LinearOperator((size, size), matvec=draw, dtype=np.float32)
    change, _ = gmres(operator, missing, restart=rounds, maxiter=1, rtol=1e-4)
    return (colors + spread(change)).clamp(-OVERSHOOT, 1 + OVERSHOOT)
