"""READ FIRST: the six stages, artifacts in, artifacts out.

    portrait --build_head--> Head --deform(+Drive)--> Points --render--> Frames --inpaint--> Video
    video | audio --drive--> Drive                     animate = all of it, streaming

Sequences are lazy: `deform`, `render` and `inpaint` pull one frame at a time from the stage before
them (on CUDA `render` pulls a few, to draw them together), so memory does not grow with their
length and the first frame is out at once. This module only passes things on: `heads.py`,
`portrait.py`, `sheets.py` and `assembly.py` put the steps of building in order, `driver.py`,
`takes.py` and `tracking.py` those of driving, `drawing.py` those of rendering; `plys.py` writes and
draws 3DGS files, `tensors.py` unpacks artifacts, `variants.py` has analytic and learned stages
behind one call each.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import ImageColor

from mggtalk_cli import __version__
from mggtalk_cli import deform as deforming
from mggtalk_cli.artifacts.memory import in_memory
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.batches import chunked
from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.expression import LANDMARK_COUNT, FaceState
from mggtalk_cli.core.image import crop_square, read_photo
from mggtalk_cli.drawing import (
    TURNTABLE_FRAMES,
    RenderOptions,
    choose_device,
    frames_together,
    point_frame,
    point_frames,
    rasterize,
    seen_face,
    side_by_side,
    to_rgba,
    view_matrices,
)
from mggtalk_cli.driver import Drive, audio_meta, drive_motion, motion_artifact, through_lens
from mggtalk_cli.errors import InputError
from mggtalk_cli.heads import build_head, yaw_of
from mggtalk_cli.motion import Controls, SpeechStyle, posed
from mggtalk_cli.plys import export_ply, export_plys, open_ply, render_cloud
from mggtalk_cli.portrait import BuildOptions
from mggtalk_cli.takes import control, drive, export_take, merge
from mggtalk_cli.tensors import camera_of, head_rig, photo_landmarks, source_state
from mggtalk_cli.variants import ANALYTIC, Variants, choose_variants

log = logging.getLogger("mggtalk")

__all__ = [
    "ANALYTIC",
    "BuildOptions",
    "Controls",
    "Drive",
    "RenderOptions",
    "SpeechStyle",
    "Variants",
    "Video",
    "animate",
    "build_head",
    "choose_variants",
    "control",
    "deform",
    "drive",
    "drive_motion",
    "export_ply",
    "export_plys",
    "export_take",
    "inpaint",
    "merge",
    "motion_artifact",
    "open_ply",
    "render",
    "render_cloud",
    "yaw_of",
]

# Header arrays that points inherit from the head.
SHARED_ARRAYS = (
    *("image", "plate", "matte", "grid_shape", "valid", "links", "color", "opacity"),
    "head_weight",
)
SHARED_META = ("camera", "size", "crop_box", "source")


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


# ---------------------------------------------------------------- Head + Drive -> Points


MODES = {"audio": "speech", "video": "relative", "csv": "phone"}  # kind of driver -> retargeting


def deform(
    head: Artifact,
    driver: Drive,
    *,
    absolute: bool = False,
    controls: Controls | None = None,
    variants: Variants | None = None,
) -> Artifact:
    """Return the points artifact of a driven head, lazily.

    Args:
        head: a head artifact.
        driver: what drives it.
        absolute: take the driver's own pose and expression instead of their change; else the head
            is kept in the picture.
        controls: what is asked beyond that.
        variants: its deformation is used; None: weights that ship, else the analytic stage.
    """
    source, variants = source_state(head), variants or choose_variants(stages=("deform",))
    deformed = variants.deformer(head_rig(head), source)
    controls = controls or Controls()
    if absolute and driver.lens is None:
        raise InputError(
            "--absolute needs a video's own pose, but this motion comes from sound or a phone: "
            "leave it out"
        )
    driver = control(driver, controls)

    def frames() -> Iterator[dict[str, np.ndarray]]:
        targets = target_states(head, source, driver, absolute=absolute)
        for index, (target, sound) in enumerate(targets):
            target = posed(target, controls, source=source, index=index, fps=driver.fps)
            frame = point_frame(deformed(target), target)
            yield frame if sound is None else {**frame, "audio": sound}

    meta = {
        **{key: head.meta[key] for key in (*SHARED_META, "sheets") if key in head.meta},
        "fps": driver.fps,
        "frame_count": driver.frame_count,
        "audio": audio_meta(driver),
        "created_by": f"mggtalk {__version__}",
    }
    arrays = {name: head.arrays[name] for name in SHARED_ARRAYS} | photo_landmarks(head)
    return in_memory("points", meta, arrays, frames())


def _framing(head: Artifact, source: FaceState) -> deforming.Framing:
    """Return how a head fills its photo: by what is surely head, before lips and lids."""
    arrays = head.arrays
    own = (arrays["head_weight"] > 0.9) & (arrays["rig_gate"] == 0) & (arrays["opacity"] > 0.5)
    return deforming.Framing.of(arrays["positions"][own], camera_of(head), source)


def target_states(
    head: Artifact, source: FaceState, driver: Drive, *, absolute: bool = False
) -> Iterator[tuple[FaceState, np.ndarray | None]]:
    """Yield what the head is to do in each frame, with the frame's sound."""
    camera, framing = camera_of(head), _framing(head, source)
    mode = "absolute" if absolute else MODES.get(driver.kind, "relative")
    parts = {part: MODES.get(kind, "relative") for part, kind in driver.parts.items()}
    told, likeness, fits = False, 0.0, True
    reference = driver.reference
    if absolute and driver.lens is not None:
        reference = through_lens(reference, driver.lens, camera)
        fits = framing.sits(reference)
        if not fits:
            log.warning("the driver is framed differently: the head keeps its size and place")
    if driver.landmarks is not None:
        own = head.arrays["rig_controls"][:LANDMARK_COUNT]
        likeness = deforming.face_likeness(own, driver.landmarks)
    for (state, _), sound in driver.with_sound():
        filmed = None
        if driver.lens is not None and absolute:
            state = through_lens(state, driver.lens, camera)
        elif driver.lens is not None:
            filmed = framing.filmed(state, Camera(camera.viewmat, *driver.lens))
        target = deforming.retarget(
            state,
            reference=reference,
            source=source,
            mode=mode,
            parts=parts,
            likeness=likeness,
        )
        if not absolute:
            target = framing.kept(target, filmed)
        elif not fits:
            moved = deforming.anchored(target, reference=reference, source=source)
            target = framing.kept(moved)
        elif not told and not framing.matches(target):
            log.warning("the driver is framed differently, and it shows: leave out --absolute")
            told = True
        yield target, sound


# ---------------------------------------------------------------- Points -> Frames


def render(
    points: Artifact, options: RenderOptions | None = None, *, variants: Variants | None = None
) -> Artifact:
    """Return the frames artifact of a points artifact (or of a head at rest), lazily.

    Args:
        points: points, or a head.
        options: how they are looked at and drawn.
        variants: its decoder is used; None as in `deform`.
    """
    options = options or RenderOptions()
    camera = camera_of(points)
    device = choose_device(options.device)
    variants = variants or choose_variants(stages=("decoder",))
    decoded = variants.gaussians_of(points, device, densify=options.densify)
    at_rest = points.kind == "head"
    count = points.meta.get("frame_count")
    if at_rest:
        count = TURNTABLE_FRAMES if options.turntable else 1

    def frames() -> Iterator[dict[str, np.ndarray]]:
        seen = zip(point_frames(points, options), view_matrices(camera, options), strict=False)
        for several in chunked(seen, frames_together(camera, device, count)):
            posed, views = zip(*several, strict=True)
            colors, alphas = rasterize(decoded(side_by_side(posed)), camera, np.stack(views))
            for number, (frame, view) in enumerate(several):
                rgba = to_rgba(colors[number], alphas[number])
                sound = {"audio": frame["audio"]} if "audio" in frame else {}
                yield {"rgba": rgba, "view": view, **sound, **seen_face(frame, camera, view)}

    meta = {
        **{key: points.meta[key] for key in SHARED_META if key in points.meta},
        "fps": 25.0 if at_rest else points.meta["fps"],
        "frame_count": count,
        "audio": None if at_rest else points.meta["audio"],
        "created_by": f"mggtalk {__version__}",
    }
    arrays = {name: points.arrays[name] for name in ("image", "plate", "matte")}
    return in_memory("frames", meta, arrays | photo_landmarks(points), frames())


# ---------------------------------------------------------------- Frames -> Video


def inpaint(
    frames: Artifact,
    *,
    background: str | None = None,
    device: str = RenderOptions.device,
    variants: Variants | None = None,
) -> Video:
    """Return the finished video: head and torso over the background, lazily.

    Args:
        frames: a frames artifact.
        background: None for the photo's own, "transparent", a colour (name or #rrggbb), or the
            path of a picture.
        device: "auto", "cpu" or "cuda", where networks run.
        variants: its inpainter, mouth and eye patches are used; None as in `deform`.
    """
    camera, audio = camera_of(frames), frames.meta["audio"]
    transparent = background == "transparent"
    plate = None if transparent else background_plate(frames, background)
    where = choose_device(device, renders=False)
    variants = variants or choose_variants(stages=("inpaint", "mouth"))
    finish = variants.finisher(frames, plate, where, own_plate=background is None)

    def finished() -> Iterator[VideoFrame]:
        for frame in frames.frames():
            yield VideoFrame(finish(frame), frame.get("audio"))

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
    controls: Controls | None = None,
    options: RenderOptions | None = None,
    background: str | None = None,
    variants: Variants | None = None,
) -> Video:
    """Return the finished video of a head and a driver, streaming through every stage."""
    options = options or RenderOptions()
    points = deform(head, driver, absolute=absolute, controls=controls, variants=variants)
    frames = render(points, options, variants=variants)
    return inpaint(frames, background=background, device=options.device, variants=variants)
