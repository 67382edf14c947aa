"""The least time a machine needs for a scene: what must be moved and computed, at its best speed.

limit = max(bytes / bandwidth, operations / arithmetic speed). Both speeds are measured, on torch's
threads: copying memory and multiplying matrices, which is the best this machine can do, with
vector units that blending cannot fill. A share of the limit is thus honest, and never flattering.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mggtalk_cli.core.parallel import jit
from mggtalk_cli.render import reference
from mggtalk_cli.render.inputs import RasterInputs
from mggtalk_cli.render.scene import Scene

# Bytes per Gaussian: centre, quaternion, scales, opacity and 4 x 3 harmonics (23 floats) read once;
# its projection (centre, depth, footprint, opacity, colour: 10 floats) written and read once; key
# and index of the depth sort (2 integers) written and read once.
GAUSSIAN_BYTES = 4 * (23 + 2 * 10 + 2 * 2)
PIXEL_BYTES = 4 * (3 + 1)  # colour and alpha, written once
# Floating-point operations, counted on paper; a fused multiply-add is two. Per Gaussian: to the
# camera 18, rotation matrix 30, scaled axes 9, Jacobian 20, axes projected 30, footprint and its
# inverse 50, harmonics 45. Per pair: offset 2, exponent 8, exp by a polynomial 15, opacity 3,
# transmittance 3, colour 7.
GAUSSIAN_FLOPS = 200
PAIR_FLOPS = 38

_MATRIX, _FLOATS, _TRIES = 1024, 1 << 24, 30


@dataclass(frozen=True)
class Limits:
    """Measured speeds: arithmetic in Gflop/s, copying in GB/s (read plus written)."""

    gflops: float
    gigabytes: float

    def least_milliseconds(self, gaussians: int, pixels: int, pairs: int) -> float:
        """Return the limit of one forward pass."""
        moved = GAUSSIAN_BYTES * gaussians + PIXEL_BYTES * pixels
        computed = GAUSSIAN_FLOPS * gaussians + PAIR_FLOPS * pairs
        return 1e3 * max(moved / (1e9 * self.gigabytes), computed / (1e9 * self.gflops))


def measure_limits() -> Limits:
    """Measure the speeds, on torch's threads: the best of several tries."""
    a, b, c = (torch.rand(_MATRIX, _MATRIX) for _ in range(3))
    source, target = torch.ones(_FLOATS), torch.ones(_FLOATS)
    multiply = _quickest(lambda: torch.mm(a, b, out=c))
    copy = _quickest(lambda: target.copy_(source))
    return Limits(2 * _MATRIX**3 / multiply / 1e9, 2 * 4 * _FLOATS / copy / 1e9)


def _quickest(work: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(_TRIES):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def count_pairs(scene: Scene) -> int:
    """Return how many (Gaussian, pixel) pairs have to be blended.

    Those of an opacity of at least 1/255 there, before the pixel has ended.
    """
    means2d, _, conics, opacities, _ = reference.project(raster_inputs(scene), 0)
    flat = conics.reshape(-1, 4)[:, [0, 1, 3]].contiguous().numpy()
    trans = np.ones((scene.height, scene.width))
    # Thresholds are arguments: a compiled kernel on disk would not notice that they change.
    thresholds = (reference.ALPHA_MIN, reference.ALPHA_MAX, reference.T_STOP)
    arrays = (means2d.contiguous().numpy(), flat, opacities.contiguous().numpy())
    return int(_count(*arrays, trans, *thresholds))


def raster_inputs(scene: Scene) -> RasterInputs:
    """Return the scene as renderers get it from `rasterization`."""
    return RasterInputs(
        **vars(scene), covars=None, tangents=None, tangent_eps=0.0, backgrounds=None,
        near_plane=0.01, far_plane=1e10, eps2d=0.3, render_mode="RGB", rasterize_mode="classic",
    )  # fmt: skip


@jit
def _count(means2d, conics, opacities, trans, alpha_min, alpha_max, t_stop):  # type: ignore[no-untyped-def]
    """Count pairs of Gaussians, nearest first, while the transmittance (H, W) falls."""
    height, width = trans.shape
    count = 0
    for i in range(len(means2d)):
        x, y, opacity = means2d[i, 0] - 0.5, means2d[i, 1] - 0.5, opacities[i]
        a, b, c = conics[i, 0], conics[i, 1], conics[i, 2]
        reach = math.log(opacity / alpha_min)  # exponent at which alpha falls to 1/255
        det = a * c - b * b
        half_w, half_h = math.sqrt(2.0 * reach * c / det), math.sqrt(2.0 * reach * a / det)
        for row in range(max(0, math.ceil(y - half_h)), min(height, math.floor(y + half_h) + 1)):
            dy = row - y
            for column in range(
                max(0, math.ceil(x - half_w)), min(width, math.floor(x + half_w) + 1)
            ):
                dx = column - x
                exponent = 0.5 * (a * dx * dx + c * dy * dy) + b * dx * dy
                before = trans[row, column]
                if before == 0.0 or exponent > reach:
                    continue
                after = before * (1.0 - min(alpha_max, opacity * math.exp(-exponent)))
                ends = after <= t_stop
                count += not ends
                trans[row, column] = 0.0 if ends else after
    return count
