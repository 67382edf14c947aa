"""Every shared flag, once, so that a flag means the same in each command.

The values are plain Python; nothing here loads the libraries that do the work.
"""

from __future__ import annotations

import os
import sys
from enum import Enum
from typing import Annotated

import typer

# Defaults that the library has too (a test compares them); importing it here would load torch.
SIZE = 512
FPS = 25.0
LOOK_AHEAD_MS = 240

MAX_BLINKS_PER_MIN, MAX_SCALE, MAX_LOOK_AHEAD_MS = 60, 3, 3000

MIN_SIZE, MAX_SIZE = 64, 2048


class Crop(str, Enum):
    """How the photo is framed."""

    face = "face"
    none = "none"


class Device(str, Enum):
    """Where Gaussians are rendered and networks run."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class Tracking(str, Enum):
    """How a face is followed through a clip."""

    fast = "fast"
    flow = "flow"


class Up(str, Enum):
    """The axis that points up in a .ply."""

    y = "y"
    minus_y = "-y"
    z = "z"
    minus_z = "-z"


def _even_size(value: int | None) -> int | None:
    if value is not None and value % 2:
        raise typer.BadParameter(f"{value} is odd; films need even sizes: use {value + 1}")
    return value


# What libraries read when they load; MKL alone would stop at the physical cores.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def _use_threads(value: int | None) -> int | None:
    """Set the number of threads for libraries yet to load, and for those that are loaded."""
    if value is not None:
        os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(value)), MKL_DYNAMIC="FALSE")
        for library, setter in (("torch", "set_num_threads"), ("cv2", "setNumThreads")):
            if library in sys.modules:
                getattr(sys.modules[library], setter)(value)
    return value


# ---------------------------------------------------------------- inputs and outputs

Photo = Annotated[str, typer.Argument(metavar="PHOTO", help="Photo of one person, or - for stdin.")]
PhotoOrHead = Annotated[
    str, typer.Argument(metavar="PHOTO", help="Photo or head artifact, or - for stdin.")
]
Head = Annotated[str, typer.Argument(metavar="HEAD", help="Head artifact, or - for stdin.")]
Driver = Annotated[
    str,
    typer.Argument(
        metavar="DRIVER",
        help="Speech, a clip of a face, a motion artifact or a phone's take (Live Link Face CSV); "
        "- for stdin.",
    ),
]
AnyDriver = Annotated[
    str | None,
    typer.Argument(
        metavar="DRIVER",
        help="Speech, a clip of a face, a motion artifact or a phone's take (Live Link Face CSV).",
        show_default=False,
    ),
]
Points = Annotated[
    str,
    typer.Argument(
        metavar="POINTS|PLY",
        help="Points (or head) artifact, or - for stdin; or any .ply of 3D Gaussians.",
    ),
]
Frames = Annotated[str, typer.Argument(metavar="FRAMES", help="Frames artifact, or - for stdin.")]

Artifact = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Artifact (.npz) to write, or -.")
]
FramesOut = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Artifact (.npz), picture (.png), pictures (%05d.png), or -.",
    ),
]
FilmOut = Annotated[
    str,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Film (.mp4 .mov .mkv .webm), pictures (%05d.png), or - for a stream of mp4.",
    ),
]
Ply = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Also write the Gaussians as .ply: the first frame's, or each one's (%05d.ply).",
    ),
]
Csv = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Also write it as a take: the CSV of Live Link Face (ARKit)."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist.")]

# ---------------------------------------------------------------- what drives

_DRIVER = "What drives the head (one of DRIVER, audio, video, motion)"
_BUILD = "How the head is built"
_VIEW = "How it is seen"
_PLY = "How a .ply is seen"
Audio = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Speech, in any format; - for WAV or raw 16-bit 16 kHz mono on stdin, as it comes in.",
        rich_help_panel=_DRIVER,
    ),
]
LookAhead = Annotated[
    int,
    typer.Option(
        min=0,
        max=MAX_LOOK_AHEAD_MS,
        metavar="MS",
        help="Sound on stdin that a frame waits for, ms; more is more accurate.",
        rich_help_panel=_DRIVER,
    ),
]
Video = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="A clip of a face.", rich_help_panel=_DRIVER),
]
Motion = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Motion artifact of `drive`, or a phone's take (Live Link Face CSV).",
        rich_help_panel=_DRIVER,
    ),
]
Track = Annotated[
    Tracking,
    typer.Option(
        help="How clips are tracked: flow corrects landmarks by optical flow, fast does not.",
        rich_help_panel=_DRIVER,
    ),
]
Fps = Annotated[
    float,
    typer.Option(
        min=1,
        max=120,
        help="Frames per second; clips are resampled by time.",
        rich_help_panel=_DRIVER,
    ),
]
Seed = Annotated[
    int,
    typer.Option(min=0, help="Of everything random.", rich_help_panel=_DRIVER),
]
# ---------------------------------------------------------------- how a head is built

_SIZE_HELP = "Longer side of the frames, px."
Size = Annotated[
    int,
    typer.Option(
        min=MIN_SIZE,
        max=MAX_SIZE,
        callback=_even_size,
        help=_SIZE_HELP,
        rich_help_panel=_BUILD,
    ),
]
CropMode = Annotated[
    Crop,
    typer.Option(
        help="Frame the face (a square 2.6 x its size) or keep the photo's framing.",
        rich_help_panel=_BUILD,
    ),
]
Face = Annotated[
    int | None,
    typer.Option(
        min=0,
        metavar="N",
        help="Which face, by size; 0 is the largest (default).",
        rich_help_panel=_BUILD,
    ),
]
Depth = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Depth map of the photo: 16-bit PNG, EXR, npy.", rich_help_panel=_BUILD
    ),
]
Normals = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="Normal map of the photo: PNG, EXR, npy.", rich_help_panel=_BUILD
    ),
]
VoxelSize = Annotated[
    float | None,
    typer.Option(
        min=0.01,
        max=5.0,
        metavar="CM",
        help="Voxel edge of the mirrored side's filter.",
        rich_help_panel=_BUILD,
    ),
]

# ---------------------------------------------------------------- how it is seen

# One meaning: what a command makes is turned. Commands that pose a head turn the head, over
# shoulders that stay; `render`, which poses nothing, turns the view.
TURN_HELP = {
    "yaw": "Turn to image right, degrees: the head; in render, the view.",
    "pitch": "Tilt down, degrees: the head; in render, the view.",
    "roll": "Tilt counter-clockwise, degrees: the head; in render, the view.",
}
Yaw = Annotated[
    float,
    typer.Option(min=-180, max=180, help=TURN_HELP["yaw"], rich_help_panel=_VIEW),
]
Pitch = Annotated[
    float, typer.Option(min=-90, max=90, help=TURN_HELP["pitch"], rich_help_panel=_VIEW)
]
Roll = Annotated[
    float, typer.Option(min=-180, max=180, help=TURN_HELP["roll"], rich_help_panel=_VIEW)
]
Turntable = Annotated[
    bool, typer.Option("--turntable", help="Swing the view to both sides.", rich_help_panel=_VIEW)
]
Densify = Annotated[
    bool, typer.Option("--densify", help="Four Gaussians per point; slower.", rich_help_panel=_VIEW)
]
DeviceMode = Annotated[
    Device,
    typer.Option(help="Where to compute; auto takes CUDA if it works.", rich_help_panel=_VIEW),
]
Background = Annotated[
    str | None,
    typer.Option(
        metavar="IMAGE|COLOUR|transparent",
        help="Behind the person: a picture, a colour (name, #rrggbb), or transparent.",
        rich_help_panel=_VIEW,
    ),
]

# ---------------------------------------------------------------- how a .ply is seen

PlySize = Annotated[
    int | None,
    typer.Option(
        "--size",
        min=MIN_SIZE,
        max=MAX_SIZE,
        callback=_even_size,
        help=_SIZE_HELP,
        show_default=f"its own, or {SIZE}",
        rich_help_panel=_PLY,
    ),
]
PlyUp = Annotated[
    Up | None,
    typer.Option(
        "--up",
        help="Axis that points up in it; drops a camera kept in it.",
        show_default="its own, or y",
        rich_help_panel=_PLY,
    ),
]

# ---------------------------------------------------------------- learned stages

Variant = Annotated[
    list[str] | None,
    typer.Option(
        "--variant",
        metavar="STAGE=analytic|learned|FILE",
        help="How a stage works: analytic, learned (weights that ship), or the networks in a "
        "checkpoint of `train`; repeatable. Stages: refiner (of build-head), deform, decoder (of "
        "render), inpaint, mouth (of inpaint).",
        show_default="learned where weights ship",
    ),
]

# ---------------------------------------------------------------- how the command works and reports

Threads = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", callback=_use_threads, help="Threads to compute with; else every core."
    ),
]

_REPORT = "Reporting"
Quiet = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="No progress, no warnings.", rich_help_panel=_REPORT),
]
LogJson = Annotated[
    bool,
    typer.Option("--log-json", help="One JSON line per event on stderr.", rich_help_panel=_REPORT),
]
Debug = Annotated[
    bool,
    typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=_REPORT),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
