"""Gaussians of an artifact to pictures: how the head is looked at and drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import numpy as np
import torch

from mggtalk_cli import deform, inpaint, render, splat
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.batches import stacked
from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.errors import BackendError
from mggtalk_cli.render.harmonics import sh_linear
from mggtalk_cli.tensors import camera_of, gaussian_sheet, head_rig, source_state

# The head turns about this point (head frame, cm) when it is viewed from aside: mid-skull.
VIEW_PIVOT_CM = (0.0, 0.0, -4.0)

# Low-pass of the projected Gaussians, px^2. The customary .3 is meant for scenes seen from afar;
# at one Gaussian per pixel it only blurs (identity and warped photos gain 2-9 dB with .05 to .1).
EPS2D = 0.05

# Pixels of the frames that are decoded and drawn together: on CUDA those of eight at 512 x 512, for
# fewer and larger kernels (`base` networks then hold some 3 GB); a CPU is busy with one frame.
PIXELS_TOGETHER = {"cpu": 1, "cuda": 8 * 512 * 512}

# A turntable swings this far to each side, once in this many frames.
TURNTABLE_DEG, TURNTABLE_FRAMES = 30.0, 100


@dataclass(frozen=True)
class RenderOptions:
    """How points are looked at and drawn.

    Attributes:
        yaw_deg: turn of the view about the head; positive shows the nose turned to image right.
        pitch_deg: positive looks down.
        roll_deg: positive is counter-clockwise.
        turntable: swing the yaw to both sides, `TURNTABLE_FRAMES` for one swing.
        densify: four Gaussians per point instead of one.
        device: "auto", "cpu" or "cuda".
    """

    yaw_deg: float = 0.0
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    turntable: bool = False
    densify: bool = False
    device: str = "auto"


def choose_device(device: str, *, renders: bool = True) -> str:
    """Return "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Args:
        device: what was asked for.
        renders: Gaussians are to be drawn there, which takes gsplat; else only networks run.

    Raises:
        BackendError: CUDA was asked for and does not work.
    """
    if device == "cpu":
        return "cpu"
    works, reason = render.cuda_status(load=True) if renders else render.cuda_device()
    if device == "cuda" and not works:
        raise BackendError(f"--device cuda: {reason}; use --device cpu")
    return "cuda" if works else "cpu"


def cuda_status() -> tuple[bool, str]:
    """Return whether "auto" renders with CUDA, and one line with what or why not."""
    return render.cuda_status()


def frames_together(camera: Camera, device: str, frame_count: int | None) -> int:
    """Return how many frames are drawn together; where nobody knows how many come, each at once.

    Those may come in live, and the first would wait for the others.
    """
    if frame_count is None:
        return 1
    return max(1, PIXELS_TOGETHER[device] // (camera.width * camera.height))


def view_matrix(
    camera: Camera,
    options: RenderOptions,
    index: int,
    *,
    pivot: tuple[float, float, float] = VIEW_PIVOT_CM,
) -> np.ndarray:
    """Return the (4, 4) view of frame `index`: the photo's camera, turned about `pivot`."""
    yaw = options.yaw_deg
    if options.turntable:
        yaw += TURNTABLE_DEG * float(np.sin(2 * np.pi * index / TURNTABLE_FRAMES))
    turn_y_up = matrix_from_angles(yaw, options.pitch_deg, options.roll_deg)
    flip = np.diag([1.0, -1.0, -1.0])
    turn = flip @ turn_y_up @ flip
    centre = camera.to_camera(np.array(pivot))
    view = np.eye(4)
    view[:3, :3] = turn @ camera.viewmat[:3, :3]
    view[:3, 3] = turn @ (camera.viewmat[:3, 3] - centre) + centre
    return view.astype(np.float32)


def view_matrices(camera: Camera, options: RenderOptions) -> Iterator[np.ndarray]:
    """Yield the (4, 4) view of each frame, without end."""
    return (view_matrix(camera, options, index) for index in count())


def rasterize(
    gaussians: splat.Gaussians, camera: Camera, view: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return premultiplied colour (H, W, 3) and alpha (H, W, 1).

    Args:
        gaussians: of one frame, or of several: then views and pictures have a leading axis, too.
        camera: its lens and picture.
        view: (4, 4) view matrix.
    """
    device, thickness = gaussians.means.device, gaussians.thickness_cm
    if isinstance(thickness, torch.Tensor):
        shapes: dict[str, Any] = {"covars": gaussians.covariances()}
    else:
        shapes = {"tangents": gaussians.tangents, "tangent_eps": thickness**2}
    views = torch.from_numpy(view).to(device).unsqueeze(-3)
    lens = torch.from_numpy(camera.intrinsics).to(device)
    color, alpha, _ = render.rasterization(
        gaussians.means,
        None,
        None,
        gaussians.opacities,
        seen_colors(gaussians, view),
        views,
        lens.expand(*views.shape[:-2], 3, 3),
        camera.width,
        camera.height,
        **shapes,
        eps2d=EPS2D,
    )
    return color.squeeze(-4), alpha.squeeze(-4)


def seen_colors(gaussians: splat.Gaussians, view: np.ndarray) -> torch.Tensor:
    """Return (n, 3) the colours of Gaussians as a camera sees them; may leave 0..1."""
    if gaussians.harmonics is None:
        return gaussians.colors
    return gaussians.colors + directed(gaussians.harmonics, gaussians.means, view)


def directed(harmonics: torch.Tensor, means: torch.Tensor, view: np.ndarray) -> torch.Tensor:
    """Return (n, 3) what harmonics of degree 1 (n, 3 terms, 3) add to colours seen from a view."""
    positions = [-each[:3, :3].T @ each[:3, 3] for each in view.reshape(-1, 4, 4)]
    camera = torch.from_numpy(np.array(positions)).to(means).reshape(*view.shape[:-2], 1, 3)
    directions = torch.nn.functional.normalize(means - camera, dim=-1)
    basis = torch.stack(sh_linear(*directions.unbind(-1))[1:], -1)
    return (basis[..., None, :] @ harmonics).squeeze(-2)


def side_by_side(frames: Sequence[dict[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Return what is decoded of several frames of points, with a leading axis."""
    return {
        name: stacked([torch.from_numpy(frame[name]) for frame in frames])
        for name in ("points", "gate")
    }


def to_rgba(color: torch.Tensor, alpha: torch.Tensor) -> np.ndarray:
    """Return (H, W, 4) uint8 straight-alpha RGBA of premultiplied float colour."""
    return inpaint.straight_rgba(color, alpha)


def point_frames(points: Artifact, options: RenderOptions) -> Iterator[dict[str, np.ndarray]]:
    """Yield the frames of a points artifact, or a head at rest as often as the view needs it."""
    if points.kind == "points":
        yield from points.frames()
        return
    source = source_state(points)
    posed = deform.deform_analytic(head_rig(points), source, source)
    for _ in range(TURNTABLE_FRAMES if options.turntable else 1):
        yield point_frame(posed, source)


def point_frame(posed: deform.Deformed, state: FaceState) -> dict[str, np.ndarray]:
    """Return a head in a state as a frame of a points artifact."""
    return {
        "points": posed.points.numpy(),
        "gate": posed.visibility.numpy(),
        "face": posed.face.numpy(),
        "beta": np.asarray(state.beta, np.float32),
    }


def seen_face(
    frame: dict[str, np.ndarray], camera: Camera, view: np.ndarray
) -> dict[str, np.ndarray]:
    """Return landmarks (px) and coefficients of a frame of points, for one of pictures.

    Points written by older programs may have none: then there is nothing to return.
    """
    if not {"face", "beta"} <= frame.keys():
        return {}
    landmarks = replace(camera, viewmat=view).project(frame["face"])[:, :2]
    return {"landmarks": landmarks.astype(np.float32), "beta": frame["beta"]}


def compensate(head: Artifact, pixel: np.ndarray) -> None:
    """Make the identity frame give the photo back: colours of points, then of the plate's rim."""
    arrays, rig = head.arrays, head_rig(head)
    source = source_state(head)
    posed = deform.deform_analytic(rig, source, source)
    sheet = gaussian_sheet(head, "cpu")
    camera = camera_of(head)
    photo = torch.from_numpy(arrays["image"]).float() / 255
    plate = torch.from_numpy(arrays["plate"]).float() / 255

    def draw(colors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gaussians = splat.decode_analytic(
            posed.points, posed.visibility, sheet._replace(colors=colors)
        )
        return rasterize(gaussians, camera, camera.viewmat)

    def compose(colors: torch.Tensor) -> torch.Tensor:
        rgb, alpha = draw(colors)
        return rgb + (1 - alpha) * plate

    rows = np.flatnonzero(pixel >= 0)
    colors = splat.precompensate(
        sheet.colors, photo, torch.from_numpy(rows), torch.from_numpy(pixel[rows]), compose
    )
    arrays["color"] = colors.numpy()
    rgb, alpha = draw(colors)
    arrays["plate"] = inpaint.match_rim(arrays["plate"], photo.numpy(), rgb.numpy(), alpha.numpy())
