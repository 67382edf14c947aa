"""A driver of any file, of several files, or with a user's controls on it.

path --drive--> Drive     Drive, {part: Drive} --merge--> Drive     Drive --control--> Drive
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from mggtalk_cli import motion
from mggtalk_cli.artifacts.npz import open_artifact
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.audio import media_kind
from mggtalk_cli.core.expression import ARKIT_NAMES, FaceState
from mggtalk_cli.core.output import atomic_path
from mggtalk_cli.driver import (
    DEFAULT_TRACK,
    Drive,
    Moment,
    drive_audio,
    drive_motion,
    drive_take,
    drive_video,
)
from mggtalk_cli.errors import InputError
from mggtalk_cli.motion import Curve, expression_weights, read_curve

__all__ = [
    "Curve",
    "control",
    "describe_take",
    "drive",
    "driver_kind",
    "export_take",
    "expression_weights",
    "merge",
    "read_curve",
]

_ZIP_MAGIC = b"PK\x03\x04"  # how every artifact begins


def driver_kind(path: str) -> str:
    """Return "audio", "video", "motion" (an artifact) or "csv" (a take), by a file's content.

    Raises:
        InputError: The file is missing, a picture, or none of these.
    """
    if os.path.isfile(path):
        with open(path, "rb") as file:
            if file.read(len(_ZIP_MAGIC)) == _ZIP_MAGIC:
                return "motion"
        if motion.is_take(path):
            return "csv"
        if Path(path).suffix.lower() == ".csv":
            raise InputError(f"{path} is no take of Live Link Face: its header has no Timecode")
    kind = media_kind(path)
    if kind == "image":
        raise InputError(f"{path} is a picture: a head is driven by a sound or a video")
    return kind


def drive(
    path: str,
    *,
    fps: float = 25.0,
    style: motion.SpeechStyle | None = None,
    track: str = DEFAULT_TRACK,
) -> Drive:
    """Return the driver in a file of any kind, found from the content.

    Args:
        path: a sound, a video, a motion artifact or a phone's take.
        fps: frames per second; a motion artifact keeps its own.
        style: how somebody talks, for sound.
        track: how videos are tracked.
    """
    kind = driver_kind(path)
    if kind == "motion":
        return drive_motion(open_artifact(Path(path), ("motion",)))
    if kind == "csv":
        return drive_take(path, fps=fps)
    if kind == "audio":
        return drive_audio(path, fps=fps, style=style)
    return drive_video(path, fps=fps, track=track)


def merge(main: Drive, others: Mapping[str, Drive]) -> Drive:
    """Return the main driver with its mouth, head, blink or gaze taken from others.

    It is as long as the main one; others that end before hold still, with a warning. The sound is
    the mouth's, if that one has any.

    Args:
        main: gives everything else.
        others: part -> its driver.
    """
    if not others:
        return main
    streams = {
        part: motion.held(
            motion.resampled((m.state for m in other.moments), rate=other.fps, fps=main.fps),
            part,
            fps=main.fps,
        )
        for part, other in others.items()
    }

    def moments() -> Iterator[Moment]:
        for moment in main.moments:
            parts = {part: next(states) for part, states in streams.items()}
            yield moment._replace(state=motion.merged_state(moment.state, parts))

    references = {part: other.reference for part, other in others.items()}
    kinds = {part: other.parts.get(part, other.kind) for part, other in others.items()}
    return replace(
        main,
        reference=motion.merged_state(main.reference, references),
        moments=moments(),
        sound=(others["mouth"].sound if "mouth" in others else None) or main.sound,
        lens=others.get("head", main).lens,
        parts={**main.parts, **kinds},
        landmarks=main.landmarks if all(o.landmarks is None for o in others.values()) else None,
    )


def control(driver: Drive, controls: motion.Controls) -> Drive:
    """Return the driver smoothed, with other blinks and scaled, as the controls ask."""

    def change(states: Iterator[FaceState]) -> Iterator[FaceState]:
        return motion.driven(states, controls, reference=driver.reference, fps=driver.fps)

    return replace(driver, moments=_through(driver.moments, change))


def _through(
    moments: Iterator[Moment], change: Callable[[Iterator[FaceState]], Iterator[FaceState]]
) -> Iterator[Moment]:
    """Yield moments whose states went through a change that gives as many as it takes."""
    trust: deque[float] = deque()

    def states() -> Iterator[FaceState]:
        for moment in moments:
            trust.append(moment.confidence)
            yield moment.state

    for state in change(states()):
        yield Moment(state, trust.popleft())


def export_take(artifact: Artifact, target: str | TextIO, *, overwrite: bool = False) -> None:
    """Write a motion artifact as a take: the CSV of Live Link Face.

    Args:
        artifact: a motion.
        target: path, or an open text file.
        overwrite: whether a file that exists may be replaced.
    """
    arrays = {name: artifact.arrays[name] for name in ("beta", "rotation", "gaze")}
    beta, rotation, gaze = (np.asarray(array) for array in arrays.values())
    with ExitStack() as stack:
        if isinstance(target, str):
            part = stack.enter_context(atomic_path(Path(target), overwrite=overwrite))
            target = stack.enter_context(part.open("w", encoding="utf-8", newline=""))
        motion.write_take(target, beta, rotation, gaze, fps=float(artifact.meta["fps"]))


# Angles of a take, as `--yaw`, `--pitch` and `--roll` have them.
_TURNS = ("to image right", "down", "counter-clockwise")
_STRONGEST = 5  # shapes that are named


def describe_take(path: str) -> dict[str, Any]:
    """Return a JSON-ready description of a phone's take, in the layout of `artifacts.describe`.

    Raises:
        InputError: Damaged, see `motion.read_take`.
    """
    take = motion.read_take(path)
    seconds = float(take.times_s[-1])
    most = take.beta.max(0)
    strongest = [int(i) for i in np.argsort(-most, kind="stable")[:_STRONGEST] if most[i] > 0]
    return {
        "kind": "csv",
        "what": "a phone's take (Live Link Face)",
        "made_by": "an app, or mggtalk drive --csv",
        "file_bytes": os.path.getsize(path),
        "meta": {
            "rows": len(take.times_s),
            "seconds": round(seconds, 3),
            "rows_per_second": round((len(take.times_s) - 1) / seconds, 2) if seconds else None,
            "strongest": {ARKIT_NAMES[i]: round(float(most[i]), 2) for i in strongest},
        },
        "arrays": [
            _column("beta", take.beta, "0..1", "coefficients in ARKit's order"),
            *(
                _column(f"head_{axis}", take.angles_deg[:, i], "degrees", _TURNS[i])
                for i, axis in enumerate(("yaw", "pitch", "roll"))
            ),
            *(
                _column(f"gaze_{axis}", take.gaze_deg[:, i], "degrees", f"to image {axis}")
                for i, axis in enumerate(("right", "up"))
            ),
        ],
    }


def _column(name: str, values: np.ndarray, unit: str, doc: str) -> dict[str, Any]:
    return {
        **{"name": name, "shape": list(values.shape), "dtype": str(values.dtype), "unit": unit},
        **{"doc": doc, "min": float(values.min()), "max": float(values.max())},
        "mean": float(values.mean()),
    }
