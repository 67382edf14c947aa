"""D and N of the paper: the variants of depth and normals of one portrait, one signature."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from mggtalk_cli.errors import InputError
from mggtalk_cli.head.depth import analytic_depth
from mggtalk_cli.head.maps import MapFiles, align_depth, align_normals, read_map, resample
from mggtalk_cli.head.normals import analytic_normals, normals_from_depth
from mggtalk_cli.head.view import HeadView

# Bilateral stiffness for the integration of each kind of map: analytic maps have no inner depth
# edges to keep and their steep sides would pleat; estimated maps have.
ANALYTIC_STIFFNESS = 0.0
FILE_STIFFNESS = 2.0
# Share of the depth prior's weight beside normals from an estimator: those know more than the
# prior. True normals then bring the head's depth error from 1.12 to .78 cm (.83 with 10 degrees of
# noise); at full weight they change next to nothing.
MEASURED_NORMALS_TRUST = 0.01


class Estimate(NamedTuple):
    """Depth and normals of a portrait, finite on `HeadView.valid`, NaN elsewhere.

    Attributes:
        depth: (H, W) float32 camera z, cm.
        normals: (H, W, 3) float32 unit, y-up camera frame.
        edge_stiffness: k the normal integration should use with them.
        prior_trust: share of the depth prior's weight in it.
    """

    depth: np.ndarray
    normals: np.ndarray
    edge_stiffness: float
    prior_trust: float = 1.0


def analytic_estimate(view: HeadView, files: MapFiles | None = None) -> Estimate:
    """Return depth and normals from the face model and the silhouette alone."""
    return Estimate(analytic_depth(view), analytic_normals(view), ANALYTIC_STIFFNESS)


def file_estimate(view: HeadView, files: MapFiles | None = None) -> Estimate:
    """Return depth and normals from the user's maps; what is not given is analytic.

    Raises:
        InputError: if no file is given, unreadable, or does not show this face.
    """
    if files is None or (files.depth is None and files.normals is None):
        raise InputError("the depth variant 'file' needs a depth map, a normal map or both")
    depth = analytic_depth(view)
    if files.depth is not None:
        depth = align_depth(resample(read_map(files.depth), view, files), view, depth)
    if files.normals is not None:
        normals = resample(read_map(files.normals), view, files)
        aligned = align_normals(normals, view, analytic_normals(view))
        return Estimate(depth, aligned, FILE_STIFFNESS, MEASURED_NORMALS_TRUST)
    normals = normals_from_depth(depth, view.focal_px)
    known = np.isfinite(normals).all(-1)
    normals = np.where(known[..., None], normals, analytic_normals(view))
    return Estimate(depth, normals, FILE_STIFFNESS)


DEPTH: dict[str, Callable[[HeadView, MapFiles | None], Estimate]] = {
    "analytic": analytic_estimate,
    "file": file_estimate,
}


def estimate(
    view: HeadView, variant: str = "analytic", *, files: MapFiles | None = None
) -> Estimate:
    """Return depth and normals of a portrait by one variant of `DEPTH`.

    Raises:
        InputError: if the variant is unknown, or as the variant says.
    """
    if variant not in DEPTH:
        raise InputError(f"unknown depth variant {variant!r}; choose from {', '.join(DEPTH)}")
    return DEPTH[variant](view, files)
