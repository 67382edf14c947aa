"""What drives a head, from the options of a command; `controls.py` is what is asked of it."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import typer

from mggtalk_cli.cli import controls, files, options
from mggtalk_cli.errors import InputError

if TYPE_CHECKING:
    from mggtalk_cli.cli.progress import Reporter
    from mggtalk_cli.core.audio import AudioFile
    from mggtalk_cli.core.audio_stream import AudioStream
    from mggtalk_cli.pipeline import Drive, SpeechStyle

log = logging.getLogger("mggtalk")

Kind = controls.Kind


def choose_driver(
    driver: str | None, audio: str | None, video: str | None, motion: str | None
) -> tuple[Kind | None, str]:
    """Return the one driver that was given, its kind unknown where only its content tells it.

    None or several are a usage error.
    """
    named = (("audio", audio), ("video", video), ("motion", motion))
    given: list[tuple[Kind | None, str]] = [(kind, path) for kind, path in named if path]  # type: ignore[misc]
    if driver:
        given.append((None, driver))
    if len(given) != 1:
        raise typer.BadParameter("give exactly one driver: a file, --audio, --video or --motion")
    if given[0] == (None, "-"):
        raise typer.BadParameter("say what is on stdin: --audio -, --video - or --motion -")
    return given[0]


def kind_of(kind: Kind | None, source: str) -> Kind:
    """Return the kind of a driver; what was called a motion may be a phone's take."""
    from mggtalk_cli.takes import driver_kind

    if kind in ("audio", "video") or (kind and not os.path.isfile(source)):
        return kind  # what comes through a pipe is looked at when it is there
    if not os.path.isfile(source):
        raise InputError(f"{source} is a pipe: say what it is by --audio, --video or --motion")
    found: Kind = driver_kind(source)  # type: ignore[assignment]
    if kind == "motion" and found not in ("motion", "csv"):
        raise InputError(f"{source} is no motion: name it by --{found}")
    return found


def expect(reporter: Reporter, kind: Kind, path: str, *, fps: float) -> None:
    """Tell how many frames a clip, which may be cut short, will probably give."""
    if kind == "video":
        from mggtalk_cli.core.video import VideoReader

        reporter.expected = VideoReader(path, fps=fps).frame_count


def check_track(track: options.Tracking, *kinds: Kind) -> None:
    """Warn of a way of tracking that was asked for where there is no clip to track."""
    if track != options.Tracking.flow and "video" not in kinds:
        log.warning(f"--track {track.value} changes nothing: only clips are tracked")


def speech_style(*, seed: int, blink: str) -> SpeechStyle:
    """Return how somebody talks."""
    from mggtalk_cli.pipeline import SpeechStyle

    rate = controls.blinks_per_min(blink)
    return SpeechStyle(seed, SpeechStyle.blinks_per_min if rate is None else rate)


@contextmanager
def open_driver(
    kind: Kind,
    source: str,
    *,
    fps: float,
    style: SpeechStyle,
    look_ahead_ms: int,
    track: options.Tracking,
    reporter: Reporter,
) -> Iterator[Drive]:
    """Yield the driver; stdin may carry it, speech as it comes in."""
    from mggtalk_cli import driver

    check_track(track, kind)
    if kind == "audio" and source == "-":
        with _sound_on_stdin(look_ahead_ms) as sound:
            yield driver.drive_audio(sound, fps=fps, style=style)
        return
    with files.local_file(source) as path:
        kind = kind_of(kind, path)
        expect(reporter, kind, path, fps=fps)
        if kind == "motion":
            yield _stored(path, fps)
        elif kind == "csv":
            yield driver.drive_take(path, fps=fps)
        elif kind == "audio":
            yield driver.drive_audio(path, fps=fps, style=style)
        else:
            yield driver.drive_video(path, fps=fps, track=track.value)


def _stored(path: str, fps: float) -> Drive:
    """Return the driver in a motion artifact."""
    from mggtalk_cli import driver

    stored = driver.drive_motion(files.read_artifact(path, "motion"))
    if fps not in (options.FPS, stored.fps):
        log.warning(f"the motion has {stored.fps:g} frames/s: --fps does not change it")
    return stored


@contextmanager
def open_merged(
    main: str,
    parts: dict[str, str | None],
    *,
    fps: float,
    style: SpeechStyle,
    track: options.Tracking,
    reporter: Reporter,
) -> Iterator[tuple[Drive, Kind]]:
    """Yield the driver in a file of any kind with parts of others, and what blinks.

    One of them may come from stdin.
    """
    from mggtalk_cli import pipeline

    with ExitStack() as stack:
        path, *others = (
            None if name is None else stack.enter_context(files.local_file(name))
            for name in (main, *parts.values())
        )
        assert path is not None
        given = {part: other for part, other in zip(parts, others, strict=True) if other}
        kinds = {name: kind_of(None, name) for name in (path, *given.values())}
        check_track(track, *kinds.values())
        expect(reporter, kinds[path], path, fps=fps)
        driver = pipeline.drive(path, fps=fps, style=style, track=track.value)
        opened = {
            part: pipeline.drive(other, fps=driver.fps, style=style, track=track.value)
            for part, other in given.items()
        }
        yield pipeline.merge(driver, opened), kinds[given.get("blink", path)]


@contextmanager
def _sound_on_stdin(look_ahead_ms: int) -> Iterator[AudioFile | AudioStream]:
    """Yield the sound on stdin as it comes in; formats that cannot be read so are copied first."""
    from mggtalk_cli.core.audio import AudioFile
    from mggtalk_cli.core.audio_stream import AudioStream, Bytes, is_streamable

    if sys.stdin.isatty():
        raise InputError("stdin is a terminal: name a file or pipe one into the command")
    stream = Bytes(sys.stdin.buffer)  # type: ignore[arg-type]  # it has read1
    if is_streamable(stream):
        yield AudioStream(stream, look_ahead_s=look_ahead_ms / 1000)
        return
    with tempfile.NamedTemporaryFile(prefix="mggtalk-stdin-") as copy:
        shutil.copyfileobj(stream, copy)
        copy.flush()
        yield AudioFile(copy.name)
