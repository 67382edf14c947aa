"""A head's Gaussians to standard 3DGS `.ply` files, and any such file to pictures.

What a file of ours was made for (camera, pivot, low-pass) stands in its header, and it is drawn
exactly as the head itself is. Others are drawn as is customary, by a camera that frames them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mggtalk_cli import __version__, inpaint, render, splat
from mggtalk_cli.artifacts.memory import in_memory
from mggtalk_cli.artifacts.ply import (
    SH_C0,
    GaussianCloud,
    dump_ply,
    read_ply,
    read_ply_view,
    sh_from_color,
    write_ply,
)
from mggtalk_cli.artifacts.ply_view import PlyView
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.clouds import UP_TURNS, framing_view, resized, rotate
from mggtalk_cli.core.output import FrameFiles
from mggtalk_cli.drawing import (
    EPS2D,
    TURNTABLE_FRAMES,
    VIEW_PIVOT_CM,
    RenderOptions,
    choose_device,
    directed,
    point_frames,
    to_rgba,
    view_matrix,
)
from mggtalk_cli.errors import ArtifactError, InputError
from mggtalk_cli.portrait import BuildOptions
from mggtalk_cli.tensors import camera_meta, camera_of
from mggtalk_cli.variants import Variants, choose_variants

log = logging.getLogger("mggtalk")

# Gaussians fainter than this are never drawn, and have no finite logit at zero.
MIN_PLY_OPACITY = 1 / 255

# Pictures of files that name no size are as large as a head's, px.
SIDE = BuildOptions().size

# Nothing nearer than this share of the way to the pivot is drawn: a stray Gaussian right before
# the lens would cover everything.
NEAREST = 0.2

# Harmonics of each channel in files of ours, at most: degree 1.
OWN_TERMS = 4


# ---------------------------------------------------------------- head -> ply


def export_ply(
    points: Artifact,
    path: str,
    *,
    densify: bool = False,
    overwrite: bool = False,
    variants: Variants | None = None,
) -> Artifact:
    """Write the Gaussians of the first frame (or of a head at rest) as a standard 3DGS ply.

    Args:
        points: a head, or its points.
        path: the file.
        densify: four Gaussians per point.
        overwrite: replace the file if it exists.
        variants: its decoder is used; None: weights that ship, else the analytic one.

    Returns:
        the same artifact, its first frame put back, to be rendered next.
    """
    frames = point_frames(points, RenderOptions())
    first = next(frames)
    variants = variants or choose_variants(stages=("decoder",))
    cloud = cloud_of(variants.gaussians_of(points, densify=densify)(first))
    write_ply(Path(path), cloud, view=view_of(points), overwrite=overwrite)
    if points.kind == "head":
        return points
    return in_memory(points.kind, points.meta, points.arrays, chain([first], frames))


def export_plys(
    points: Artifact, files: FrameFiles, *, densify: bool = False, variants: Variants | None = None
) -> Artifact:
    """Return the same artifact, each frame of which is written as a ply when it passes.

    A head at rest is one frame, written at once.
    """
    variants = variants or choose_variants(stages=("decoder",))
    decoded, view = variants.gaussians_of(points, densify=densify), view_of(points)

    def passing() -> Iterator[dict[str, np.ndarray]]:
        for frame in point_frames(points, RenderOptions()):
            with files.next() as part, part.open("wb") as file:
                dump_ply(file, cloud_of(decoded(frame)), view=view)
            yield frame

    if points.kind == "head":
        list(passing())
        return points
    return in_memory(points.kind, points.meta, points.arrays, passing())


def cloud_of(gaussians: splat.Gaussians) -> GaussianCloud:
    """Return the visible ones of a frame's Gaussians."""
    seen = gaussians.take(gaussians.opacities > MIN_PLY_OPACITY)
    quats, scales = splat.rotation_and_scale(seen.tangents, thickness_cm=seen.thickness_cm)
    sh = sh_from_color(seen.colors.numpy())
    if seen.harmonics is not None:
        sh = np.concatenate([sh, seen.harmonics.numpy()], 1)
    return GaussianCloud(
        means=seen.means.numpy(),
        quats=quats.numpy(),
        scales=scales.numpy(),
        opacities=seen.opacities.numpy(),
        sh=sh,
    )


def view_of(points: Artifact) -> PlyView:
    """Return how a head or its points are seen and drawn."""
    return PlyView(camera_of(points), VIEW_PIVOT_CM, EPS2D)


# ---------------------------------------------------------------- ply -> Frames


def open_ply(path: str, *, up: str | None = None) -> tuple[GaussianCloud, PlyView | None]:
    """Return the Gaussians of a ply, +y up, and the view that its header keeps.

    Args:
        path: the file.
        up: a key of `UP_TURNS`, the axis that points up in the file; a view in its header is then
            not used. None for +y, or what the header says.

    Raises:
        ArtifactError: no ply of Gaussians.
        InputError: no such file.
    """
    cloud = read_ply(Path(path))
    if up is not None:
        return rotate(cloud, UP_TURNS[up]), None
    try:
        return cloud, read_ply_view(Path(path))
    except ArtifactError as error:
        log.warning("%s: %s; a camera that frames the cloud is used", path, error)
        return cloud, None


def render_cloud(
    cloud: GaussianCloud,
    view: PlyView | None = None,
    options: RenderOptions | None = None,
    *,
    size: int | None = None,
) -> Artifact:
    """Return the frames artifact of a cloud, lazily.

    It has no photo: its plate is black, image and matte are those of the first frame.

    Args:
        cloud: the Gaussians.
        view: how they are looked at and drawn; None frames them, and draws them as customary.
        options: turns of the view, and the device.
        size: longer side of the pictures, px; None for the view's own, or `SIDE`.

    Raises:
        InputError: an option that is not for clouds, or a cloud that no camera can frame.
        BackendError: see `drawing.choose_device`.
    """
    options = options or RenderOptions()
    if options.densify:
        raise InputError(
            "--densify is for heads and points: a ply's Gaussians are drawn as they are"
        )
    seen = framing_view(cloud, SIDE) if view is None else view
    seen = seen if size is None else resized(seen, size)
    drawn = _drawn(cloud, choose_device(options.device), clamped=view is None)
    count = TURNTABLE_FRAMES if options.turntable else 1

    def frame(index: int) -> dict[str, np.ndarray]:
        viewmat = view_matrix(seen.camera, options, index, pivot=seen.pivot)
        return {"rgba": to_rgba(*_rasterize(drawn, seen, viewmat)), "view": viewmat}

    first = frame(0)
    if not first["rgba"][..., 3].any():
        log.warning("nothing is in view: another --up or --yaw may show the cloud")
    rgba = first["rgba"]
    plate = np.zeros_like(rgba[..., :3])
    meta = {
        "camera": camera_meta(seen.camera),
        "fps": 25.0,
        "frame_count": count,
        "audio": None,
        "created_by": f"mggtalk {__version__}",
    }
    arrays = {"image": inpaint.composite(rgba, plate), "plate": plate, "matte": rgba[..., 3].copy()}
    rest = (frame(index) for index in range(1, count))
    return in_memory("frames", meta, arrays, chain([first], rest))


def _drawn(cloud: GaussianCloud, device: str, *, clamped: bool) -> dict[str, Any]:
    """Return a cloud as arguments of `render.rasterization`.

    Our colours may be negative, which sharpens edges; as harmonics they would be cut at 0. They
    are evaluated view by view instead, from "sh"; we write no more than degree 1.
    """
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(array)).to(device)
        for name, array in vars(cloud).items()
    }
    sh = tensors.pop("sh")
    if not clamped and sh.shape[1] <= OWN_TERMS:
        return {**tensors, "sh": sh}
    return {**tensors, "colors": sh, "sh_degree": int(sh.shape[1] ** 0.5) - 1}


def _seen(drawn: dict[str, Any], viewmat: np.ndarray) -> dict[str, Any]:
    """Return a cloud of `_drawn` with its colours as one view sees them."""
    if "sh" not in drawn:
        return drawn
    shapes = {name: value for name, value in drawn.items() if name != "sh"}
    colors = drawn["sh"][:, 0] * SH_C0 + 0.5
    if drawn["sh"].shape[1] > 1:
        colors = colors + directed(drawn["sh"][:, 1:], drawn["means"], viewmat)
    return {**shapes, "colors": colors}


def _rasterize(
    drawn: dict[str, Any], view: PlyView, viewmat: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return premultiplied colour (H, W, 3) and alpha (H, W, 1)."""
    camera, device = view.camera, drawn["means"].device
    depth = float(viewmat[2, :3] @ np.array(view.pivot) + viewmat[2, 3])
    color, alpha, _ = render.rasterization(
        **_seen(drawn, viewmat),
        viewmats=torch.from_numpy(viewmat)[None].to(device),
        Ks=torch.from_numpy(camera.intrinsics)[None].to(device),
        width=camera.width,
        height=camera.height,
        near_plane=NEAREST * depth if depth > 0 else NEAREST,
        eps2d=view.eps2d,
    )
    return color[0], alpha[0]
