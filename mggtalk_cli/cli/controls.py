"""What is asked of a motion: flags that `drive`, `deform` and `animate` share, and their meaning.

The values are plain Python; what does the work is loaded when it is needed.
"""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mggtalk_cli.cli.options import MAX_BLINKS_PER_MIN, MAX_SCALE, TURN_HELP
from mggtalk_cli.errors import InputError

if TYPE_CHECKING:
    from mggtalk_cli.pipeline import Controls
    from mggtalk_cli.takes import Curve

MAX_SMOOTH_S, MAX_GAZE_DEG = 2, 30

_MERGE = "Parts of the motion from elsewhere: a file of any kind that DRIVER may be"
_CONTROL = "What is asked of the motion"

Kind = Literal["audio", "video", "motion", "csv"]


def blinks_per_min(value: str) -> float | None:
    """Return the rate that --blink asks for, None for a natural one."""
    if value in ("off", "auto"):
        return 0.0 if value == "off" else None
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= MAX_BLINKS_PER_MIN:
        raise typer.BadParameter(
            f"{value} is neither off, auto nor a rate of up to {MAX_BLINKS_PER_MIN} a minute"
        )
    return rate


def _check_blink(value: str) -> str:
    blinks_per_min(value)
    return value


def gaze_deg(value: str) -> tuple[float, float] | None:
    """Return where --gaze asks to look, degrees from the camera; None as driven."""
    if value in ("camera", "track"):
        return (0.0, 0.0) if value == "camera" else None
    try:
        across, up = map(float, value.split(","))
    except ValueError:
        across = up = math.nan
    if not max(abs(across), abs(up)) <= MAX_GAZE_DEG:
        raise typer.BadParameter(
            f"{value} is neither camera, track nor two numbers X,Y within {MAX_GAZE_DEG} degrees"
        )
    return across, up


def _check_gaze(value: str) -> str:
    gaze_deg(value)
    return value


# ---------------------------------------------------------------- whose mouth, head, blinks, gaze

MouthFrom = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Whose mouth, with its sound.", rich_help_panel=_MERGE),
]
HeadFrom = Annotated[
    str | None, typer.Option(metavar="FILE", help="Whose head motion.", rich_help_panel=_MERGE)
]
BlinkFrom = Annotated[
    str | None, typer.Option(metavar="FILE", help="Whose blinks.", rich_help_panel=_MERGE)
]
GazeFrom = Annotated[
    str | None, typer.Option(metavar="FILE", help="Whose gaze.", rich_help_panel=_MERGE)
]

# ---------------------------------------------------------------- what is asked of the motion

Absolute = Annotated[
    bool,
    typer.Option(
        "--absolute/--relative",
        help="The driver's own pose and expression, or their change on the source's.",
        rich_help_panel=_CONTROL,
    ),
]

Expression = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=X,...",
        help="Put on top, -1 to 1: smile=.4,jawOpen=.1; ARKit's names, both sides without Left or "
        "Right.",
        rich_help_panel=_CONTROL,
    ),
]
ExpressionScale = Annotated[
    float,
    typer.Option(
        min=0,
        max=MAX_SCALE,
        help="Factor on the motion of the face, but for blinks.",
        rich_help_panel=_CONTROL,
    ),
]
MouthScale = Annotated[
    float,
    typer.Option(
        min=0, max=MAX_SCALE, help="Factor on the motion of the mouth.", rich_help_panel=_CONTROL
    ),
]
HeadScale = Annotated[
    float,
    typer.Option(
        min=0, max=MAX_SCALE, help="Factor on the motion of the head.", rich_help_panel=_CONTROL
    ),
]
Still = Annotated[
    bool,
    typer.Option("--still", help="No head motion; --head-scale 0.", rich_help_panel=_CONTROL),
]
Blink = Annotated[
    str,
    typer.Option(
        metavar="auto|off|RATE",
        callback=_check_blink,
        help="Blinks: the driver's (speech: natural ones), none, or so many a minute.",
        rich_help_panel=_CONTROL,
    ),
]
Gaze = Annotated[
    str,
    typer.Option(
        metavar="camera|X,Y|track",
        callback=_check_gaze,
        help="Look into the camera, degrees right and up of it, or as the driver.",
        rich_help_panel=_CONTROL,
    ),
]
Smooth = Annotated[
    float,
    typer.Option(
        min=0,
        max=MAX_SMOOTH_S,
        metavar="SECONDS",
        help="Smooth face, head and gaze over so long, without lag; live sound comes out later.",
        rich_help_panel=_CONTROL,
    ),
]
HeadYaw = Annotated[
    str,
    typer.Option("--yaw", metavar="DEG|CSV", help=TURN_HELP["yaw"], rich_help_panel=_CONTROL),
]
HeadPitch = Annotated[
    str,
    typer.Option("--pitch", metavar="DEG|CSV", help=TURN_HELP["pitch"], rich_help_panel=_CONTROL),
]
HeadRoll = Annotated[
    str,
    typer.Option("--roll", metavar="DEG|CSV", help=TURN_HELP["roll"], rich_help_panel=_CONTROL),
]

# ---------------------------------------------------------------- what they mean together


def asked(
    kind: Kind,
    *,
    seed: int,
    blink: str,
    head_scale: float,
    mouth_scale: float,
    still: bool,
    expression: str | None = None,
    expression_scale: float = 1.0,
    gaze: str = "track",
    turn: tuple[str, str, str] = ("0", "0", "0"),
    smooth: float = 0.0,
) -> Controls:
    """Return what is asked of a motion; speech blinks as its style says, the others as this says.

    Args:
        kind: of the driver.
        seed: see the flags, as all that follow.
        blink: off, auto or a rate.
        head_scale: factor.
        mouth_scale: factor.
        still: head_scale 0.
        expression: NAME=WEIGHT,...
        expression_scale: factor.
        gaze: camera, track or X,Y.
        turn: --yaw, --pitch and --roll: degrees or a CSV.
        smooth: seconds.
    """
    from mggtalk_cli.pipeline import Controls
    from mggtalk_cli.takes import expression_weights

    try:
        weights = expression_weights(expression) if expression else {}
    except InputError as error:
        raise typer.BadParameter(f"--expression: {error}") from None
    yaw, pitch, roll = (_angle(text, name) for text, name in zip(turn, _ANGLES, strict=True))
    return Controls(
        expression=weights,
        expression_scale=expression_scale,
        mouth_scale=mouth_scale,
        head_scale=0.0 if still else head_scale,
        blinks_per_min=None if kind == "audio" else blinks_per_min(blink),
        gaze_deg=gaze_deg(gaze),
        yaw_deg=yaw,
        pitch_deg=pitch,
        roll_deg=roll,
        smooth_s=smooth,
        seed=seed,
    )


_ANGLES = {"yaw": 180.0, "pitch": 90.0, "roll": 180.0}


def _angle(text: str, name: str) -> Curve:
    """Return an angle, or the column of that name in a CSV."""
    from mggtalk_cli.takes import Curve, read_curve

    limit = _ANGLES[name]
    try:
        value = float(text)
    except ValueError:
        if os.path.isfile(text):
            return read_curve(text, name, limit=limit)
        value = math.nan
    if not abs(value) <= limit:
        raise typer.BadParameter(
            f"--{name} {text}: neither degrees within {limit:g} nor a CSV file that exists"
        )
    return Curve((value,))
