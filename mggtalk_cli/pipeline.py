"""READ FIRST: the six stages, artifacts in, artifacts out.

    portrait --build_head--> Head --deform(+Drive)--> Points --render--> Frames --inpaint--> Video
    video | audio --drive--> Drive                     animate = all of it, streaming

Sequences are lazy: `deform`, `render` and `inpaint` pull one frame at a time from the stage before
them, so memory does not grow with their length and the first frame is out at once. This module
turns artifacts into the tensors of the stages, picks variants, and does nothing else; `portrait.py`
and `assembly.py` put the steps of building in order, `driver.py` those of driving.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import ImageColor

from mggtalk_cli import __version__, splat
from mggtalk_cli import deform as deforming
from mggtalk_cli import inpaint as inpainting
from mggtalk_cli import render as rendering
from mggtalk_cli.artifacts.memory import in_memory
from mggtalk_cli.artifacts.ply import GaussianCloud, write_ply
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.assembly import assemble
from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.image import crop_square, read_photo
from mggtalk_cli.core.rotation import matrix_from_angles, matrix_from_quaternion
from mggtalk_cli.core.sheet import neighbours
from mggtalk_cli.driver import Drive, audio_meta, drive, drive_motion, motion_artifact
from mggtalk_cli.errors import BackendError, InputError
from mggtalk_cli.portrait import BuildOptions

__all__ = [
    "BuildOptions",
    "Drive",
    "RenderOptions",
    "Video",
    "animate",
    "build_head",
    "deform",
    "drive",
    "drive_motion",
    "export_ply",
    "inpaint",
    "motion_artifact",
    "render",
]

# The head turns about this point (head frame, cm) when it is viewed from aside: mid-skull.
VIEW_PIVOT_CM = (0.0, 0.0, -4.0)

# Low-pass of the projected Gaussians, px^2. The customary .3 is meant for scenes seen from afar;
# at one Gaussian per pixel it only blurs (identity and warped photos gain 2-9 dB with .1).
EPS2D = 0.1

# Zeroth spherical harmonic: f_dc = (rgb - .5) / SH_C0.
SH_C0 = 0.28209479177387814

# Gaussians fainter than this are never drawn, and have no finite logit at zero.
MIN_PLY_OPACITY = 1 / 255

# A turntable swings this far to each side, once in this many frames.
TURNTABLE_DEG, TURNTABLE_FRAMES = 30.0, 100

# Header arrays that points inherit from the head.
SHARED_ARRAYS = (
    *("image", "plate", "matte", "grid_shape", "valid", "links", "color", "opacity"),
    "head_weight",
)
SHARED_META = ("camera", "size", "crop_box", "source")


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


class VideoFrame(NamedTuple):
    """One finished frame: uint8 (H, W, 3 or 4) and int16 (k, c) sound or None."""

    image: np.ndarray
    audio: np.ndarray | None


@dataclass(frozen=True)
class Video:
    """The finished talk, frame by frame; can be read once."""

    width: int
    height: int
    fps: float
    frame_count: int | None
    audio_rate: int | None
    audio_channels: int | None
    transparent: bool
    frames: Iterator[VideoFrame]


# ---------------------------------------------------------------- photo -> Head


def build_head(
    photo: np.ndarray,
    options: BuildOptions | None = None,
    *,
    source: dict[str, str] | None = None,
) -> Artifact:
    """Return the head artifact of a photo.

    Args:
        photo: (H, W, 3) uint8 RGB, upright.
        options: framing and variants.
        source: name and sha256 of the photo, for provenance.

    Raises:
        InputError: no usable face.
    """
    options = options or BuildOptions()
    built = assemble(photo, options)
    meta: dict[str, Any] = {
        "camera": _camera_meta(built.camera),
        "sheets": built.sheet_names,
        "size": options.size,
        "crop_box": [float(x) for x in built.crop_box],
        "created_by": f"mggtalk {__version__}",
    }
    if source is not None:
        meta["source"] = source
    head = in_memory("head", meta, built.arrays)
    _compensate(head, built.pixel)
    return head


def _compensate(head: Artifact, pixel: np.ndarray) -> None:
    """Make the identity frame give the photo back: colours of points, then of the plate's rim."""
    arrays, rig = head.arrays, head_rig(head)
    source = source_state(head)
    posed = deforming.deform_analytic(rig, source, source)
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
    arrays["plate"] = inpainting.match_rim(
        arrays["plate"], photo.numpy(), rgb.numpy(), alpha.numpy()
    )


# ---------------------------------------------------------------- Head + Drive -> Points


def deform(head: Artifact, driver: Drive, *, absolute: bool = False) -> Artifact:
    """Return the points artifact of a driven head, lazily.

    Args:
        head: a head artifact.
        driver: what drives it.
        absolute: take the driver's own pose and expression instead of their change.
    """
    rig, source = head_rig(head), source_state(head)
    camera = camera_of(head)
    mode = "absolute" if absolute else {"audio": "speech"}.get(driver.kind, "relative")
    if absolute and driver.lens is None:
        raise InputError("--absolute needs a video's own pose: this motion comes from sound")

    def frames() -> Iterator[dict[str, np.ndarray]]:
        for (state, _), sound in driver.with_sound():
            if absolute:
                state = _through_lens(state, driver, camera)
            target = deforming.retarget(state, reference=driver.reference, source=source, mode=mode)
            posed = deforming.deform_analytic(rig, source, target)
            frame = {"points": posed.points.numpy(), "gate": posed.visibility.numpy()}
            yield frame if sound is None else {**frame, "audio": sound}

    meta = {
        **{key: head.meta[key] for key in (*SHARED_META, "sheets") if key in head.meta},
        "fps": driver.fps,
        "frame_count": driver.frame_count,
        "audio": audio_meta(driver),
        "created_by": f"mggtalk {__version__}",
    }
    arrays = {name: head.arrays[name] for name in SHARED_ARRAYS}
    return in_memory("points", meta, arrays, frames())


def _through_lens(state: FaceState, driver: Drive, camera: Camera) -> FaceState:
    """Return the state moved in depth so that it covers the same share of the source's frame."""
    assert driver.lens is not None
    zoom = (camera.focal_px / camera.width) / (driver.lens.focal_px / driver.lens.width)
    return replace(state, translation=state.translation * np.array([1, 1, zoom], np.float32))


# ---------------------------------------------------------------- Points -> Frames


def render(points: Artifact, options: RenderOptions | None = None) -> Artifact:
    """Return the frames artifact of a points artifact (or of a head at rest), lazily."""
    options = options or RenderOptions()
    camera = camera_of(points)
    device = choose_device(options.device)
    sheet = gaussian_sheet(points, device)

    def frames() -> Iterator[dict[str, np.ndarray]]:
        for index, frame in enumerate(_point_frames(points, options)):
            view = view_matrix(camera, options, index)
            gaussians = splat.decode_analytic(
                torch.from_numpy(frame["points"]).to(device),
                torch.from_numpy(frame["gate"]).to(device),
                sheet,
            )
            if options.densify:
                gaussians = splat.densify_gaussians(gaussians)
            rgba = to_rgba(*rasterize(gaussians, camera, view))
            sound = {"audio": frame["audio"]} if "audio" in frame else {}
            yield {"rgba": rgba, "view": view, **sound}

    at_rest = points.kind == "head"
    count = points.meta.get("frame_count")
    meta = {
        **{key: points.meta[key] for key in SHARED_META if key in points.meta},
        "fps": 25.0 if at_rest else points.meta["fps"],
        "frame_count": (TURNTABLE_FRAMES if options.turntable else 1) if at_rest else count,
        "audio": None if at_rest else points.meta["audio"],
        "created_by": f"mggtalk {__version__}",
    }
    arrays = {name: points.arrays[name] for name in ("image", "plate", "matte")}
    return in_memory("frames", meta, arrays, frames())


def choose_device(device: str) -> str:
    """Return "cpu" or "cuda" for "auto", "cpu" or "cuda".

    Raises:
        BackendError: CUDA was asked for and cannot render.
    """
    if device == "cpu":
        return "cpu"
    works, reason = rendering.cuda_status()
    if device == "cuda" and not works:
        raise BackendError(f"--device cuda: {reason}; use --device cpu")
    return "cuda" if works else "cpu"


def _point_frames(points: Artifact, options: RenderOptions) -> Iterator[dict[str, np.ndarray]]:
    if points.kind == "points":
        yield from points.frames()
        return
    source = source_state(points)
    posed = deforming.deform_analytic(head_rig(points), source, source)
    for _ in range(TURNTABLE_FRAMES if options.turntable else 1):
        yield {"points": posed.points.numpy(), "gate": posed.visibility.numpy()}


def view_matrix(camera: Camera, options: RenderOptions, index: int) -> np.ndarray:
    """Return the (4, 4) view of frame `index`: the photo's camera, turned about the head."""
    yaw = options.yaw_deg
    if options.turntable:
        yaw += TURNTABLE_DEG * float(np.sin(2 * np.pi * index / TURNTABLE_FRAMES))
    turn_y_up = matrix_from_angles(yaw, options.pitch_deg, options.roll_deg)
    flip = np.diag([1.0, -1.0, -1.0])
    turn = flip @ turn_y_up @ flip
    pivot = camera.to_camera(np.array(VIEW_PIVOT_CM))
    view = np.eye(4)
    view[:3, :3] = turn @ camera.viewmat[:3, :3]
    view[:3, 3] = turn @ (camera.viewmat[:3, 3] - pivot) + pivot
    return view.astype(np.float32)


def rasterize(
    gaussians: splat.Gaussians, camera: Camera, view: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return premultiplied colour (H, W, 3) and alpha (H, W, 1)."""
    device = gaussians.means.device
    color, alpha, _ = rendering.rasterization(
        gaussians.means,
        None,
        None,
        gaussians.opacities,
        gaussians.colors,
        torch.from_numpy(view)[None].to(device),
        torch.from_numpy(camera.intrinsics)[None].to(device),
        camera.width,
        camera.height,
        tangents=gaussians.tangents,
        tangent_eps=gaussians.thickness_cm**2,
        eps2d=EPS2D,
    )
    return color[0], alpha[0]


def to_rgba(color: torch.Tensor, alpha: torch.Tensor) -> np.ndarray:
    """Return (H, W, 4) uint8 straight-alpha RGBA of premultiplied float colour."""
    straight = color / alpha.clamp_min(1 / 512)
    rgba = torch.cat([straight, alpha], -1).clamp(0, 1)
    return (rgba * 255).round().to(torch.uint8).cpu().numpy()


def export_ply(
    points: Artifact, path: str, *, densify: bool = False, overwrite: bool = False
) -> Artifact:
    """Write the Gaussians of the first frame (or of a head at rest) as a standard 3DGS ply.

    Returns:
        the same artifact, its first frame put back, to be rendered next.
    """
    frames = _point_frames(points, RenderOptions())
    first = next(frames)
    gaussians = splat.decode_analytic(
        torch.from_numpy(first["points"]),
        torch.from_numpy(first["gate"]),
        gaussian_sheet(points, "cpu"),
    )
    if densify:
        gaussians = splat.densify_gaussians(gaussians)
    seen = gaussians.opacities > MIN_PLY_OPACITY
    quats, scales = splat.rotation_and_scale(
        gaussians.tangents[seen], thickness_cm=gaussians.thickness_cm
    )
    cloud = GaussianCloud(
        means=gaussians.means[seen].numpy(),
        quats=quats.numpy(),
        scales=scales.numpy(),
        opacities=gaussians.opacities[seen].numpy(),
        sh=((gaussians.colors[seen] - 0.5) / SH_C0)[:, None].numpy(),
    )
    write_ply(Path(path), cloud, overwrite=overwrite)
    if points.kind == "head":
        return points
    return in_memory(points.kind, points.meta, points.arrays, chain([first], frames))


# ---------------------------------------------------------------- Frames -> Video


def inpaint(frames: Artifact, *, background: str | None = None) -> Video:
    """Return the finished video: head and torso over the background, lazily.

    Args:
        frames: a frames artifact.
        background: None for the photo's own, "transparent", a colour (name or #rrggbb), or the
            path of a picture.
    """
    camera, audio = camera_of(frames), frames.meta["audio"]
    transparent = background == "transparent"
    plate = None if transparent else background_plate(frames, background)

    def finished() -> Iterator[VideoFrame]:
        for frame in frames.frames():
            rgba = frame["rgba"]
            image = rgba if plate is None else inpainting.composite(rgba, plate)
            yield VideoFrame(image, frame.get("audio"))

    return Video(
        width=camera.width,
        height=camera.height,
        fps=float(frames.meta["fps"]),
        frame_count=frames.meta.get("frame_count"),
        audio_rate=None if audio is None else int(audio["rate"]),
        audio_channels=None if audio is None else int(audio["channels"]),
        transparent=transparent,
        frames=finished(),
    )


def background_plate(frames: Artifact, background: str | None) -> np.ndarray:
    """Return the (H, W, 3) uint8 picture behind the person."""
    plate = frames.arrays["plate"]
    if background is None:
        return plate
    height, width = plate.shape[:2]
    try:
        rgb = ImageColor.getrgb(background)[:3]
    except ValueError:
        picture = read_photo(background)
    else:
        return np.broadcast_to(np.array(rgb, np.uint8), plate.shape).copy()
    rows, columns = picture.shape[:2]
    scale = min(rows / height, columns / width)
    side = max(height, width)
    square = crop_square(picture, (columns / 2, rows / 2), scale * side, side).image
    top, left = (side - height) // 2, (side - width) // 2
    return np.ascontiguousarray(square[top : top + height, left : left + width])


# ---------------------------------------------------------------- all of it


def animate(
    head: Artifact,
    driver: Drive,
    *,
    absolute: bool = False,
    options: RenderOptions | None = None,
    background: str | None = None,
) -> Video:
    """Return the finished video of a head and a driver, streaming through every stage."""
    points = deform(head, driver, absolute=absolute)
    return inpaint(render(points, options), background=background)


# ---------------------------------------------------------------- artifacts -> tensors


def camera_of(artifact: Artifact) -> Camera:
    """Return the photo's camera stored in an artifact."""
    meta = artifact.meta["camera"]
    viewmat = np.array(meta["viewmat"], np.float32).reshape(4, 4)
    return Camera(viewmat, float(meta["focal_px"]), int(meta["width"]), int(meta["height"]))


def _camera_meta(camera: Camera) -> dict[str, Any]:
    return {
        "viewmat": [float(x) for x in camera.viewmat.ravel()],
        "focal_px": float(camera.focal_px),
        "width": camera.width,
        "height": camera.height,
    }


def source_state(head: Artifact) -> FaceState:
    """Return the state in which the photo shows the face."""
    arrays = head.arrays
    return FaceState(
        beta=arrays["rig_source_beta"],
        rotation=matrix_from_quaternion(arrays["rig_source_rotation"]).astype(np.float32),
        translation=arrays["rig_source_translation"],
        gaze=arrays["rig_source_gaze"],
    )


def head_rig(head: Artifact) -> deforming.HeadRig:
    """Return what the deformation stage needs of a head artifact."""
    arrays = head.arrays
    rig = deforming.Rig(
        points=torch.from_numpy(arrays["positions"]),
        index=torch.from_numpy(arrays["rig_index"].astype(np.int64)),
        weight=torch.from_numpy(arrays["rig_weight"]),
        head_weight=torch.from_numpy(arrays["head_weight"]),
        torso_follow=torch.from_numpy(arrays["rig_torso_follow"]),
        controls=torch.from_numpy(arrays["rig_controls"]),
        shapes=torch.from_numpy(arrays["rig_shapes"].astype(np.float32)),
    )
    return deforming.HeadRig(rig, arrays["rig_gate"], arrays["rig_iris"], camera_of(head))


def gaussian_sheet(artifact: Artifact, device: str | torch.device) -> splat.GaussianSheet:
    """Return appearance and connectivity of a head or points artifact as tensors."""
    arrays = artifact.arrays
    near = neighbours(arrays["grid_shape"], arrays["valid"], arrays["links"])
    camera = camera_of(artifact)
    return splat.GaussianSheet(
        torch.from_numpy(arrays["color"]).to(device),
        torch.from_numpy(arrays["opacity"]).to(device),
        *(torch.from_numpy(index).to(device) for index in near),
        spacing_cm=float(camera.viewmat[2, 3]) / camera.focal_px,
    )
