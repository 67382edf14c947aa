"""`mggtalk evaluate audio`: speech motion against real speakers, in silence, and in films."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from mggtalk_cli.cli import options, reports
from mggtalk_cli.cli.results import finish_report, parse_pairs
from mggtalk_cli.errors import InputError

SECONDS = 30.0  # the library has the same (a test compares them)

Sounds = Annotated[
    list[str],
    typer.Argument(
        metavar="CLIP|SOUND...",
        help="Clips of people who talk, NAME_01.mp4, NAME_02.mp4 being one speaker's; sounds, "
        "looked at without a picture; or folders of them.",
    ),
]
Seconds = Annotated[float, typer.Option(min=1, max=600, help="How much of each one's beginning.")]
Offsets = Annotated[
    str | None,
    typer.Option(metavar="JSON", help="Frames at 25 fps by which a clip's sound is late, by name."),
]
Portraits = Annotated[
    list[str] | None,
    typer.Option(
        "--portrait",
        metavar="PHOTO",
        help="Also let this photo say each of them, and measure the finished film; repeatable.",
    ),
]
OwnFace = Annotated[
    bool,
    typer.Option(
        "--self",
        help="Also let frame 0 of each clip say its own sound, and compare the mouth with the "
        "clip's.",
    ),
]


class Pose(str, Enum):
    """What the head does while it talks."""

    free = "free"
    fixed = "fixed"


PoseMode = Annotated[
    Pose, typer.Option("--pose", help="Heads in films: free to move, or fixed as in the photo.")
]


def audio(
    ctx: typer.Context,
    sounds: Sounds,
    output: reports.ReportDir = None,
    offsets: Offsets = None,
    seconds: Seconds = SECONDS,
    own_face: OwnFace = False,
    portraits: Portraits = None,
    pose: PoseMode = Pose.free,
    weights: reports.Weights = None,
    size: options.Size = options.SIZE,
    threads: options.Threads = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Compare the mouth that speech predicts with each speaker's own, by every variant."""
    files, late = parse_pairs(weights), _read_offsets(offsets)
    from mggtalk_cli.evaluation import clips
    from mggtalk_cli.evaluation.audio import audio_protocol
    from mggtalk_cli.evaluation.audio_sources import AudioOptions, audio_sources
    from mggtalk_cli.evaluation.networks import open_networks
    from mggtalk_cli.evaluation.runs import run_protocol

    chosen = AudioOptions(
        offsets=late,
        seconds=seconds,
        portraits=tuple(clips.find_files(portraits or [], clips.PHOTO_SUFFIXES)),
        own_face=own_face,
        pose=pose.value,
        size=size,
        sheets=output is not None,
    )
    found = clips.find_files(sounds, clips.VIDEO_SUFFIXES + clips.SOUND_SUFFIXES)
    sources = audio_sources(found, chosen)
    report = run_protocol(
        audio_protocol(chosen, sources, open_networks(files)),
        sources,
        directory=None if output is None else Path(output),
        track=ctx.obj.track_items,
        warn=ctx.obj.warn,
    )
    finish_report(ctx.obj, report, as_json=as_json, output=output)


def _read_offsets(path: str | None) -> dict[str, float]:
    """Return frames of lateness by clip name: a JSON object, or one under "offset_frames"."""
    if path is None:
        return {}
    try:
        loaded = json.loads(Path(path).read_text("utf-8"))
        table = loaded.get("offset_frames", loaded)
        return {str(name): float(frames) for name, frames in table.items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise InputError(
            f'--offsets {path}: {error}; a JSON object {{"clip name": frames}} is expected'
        ) from None
