"""Clips in, frame by frame in constant memory (PyAV, which carries FFmpeg's libraries).

`VideoReader` shows a clip as a player does: upright, with square pixels, resampled by time to one
frame rate. Time 0 is the start of the file's own time line, as in `core.audio`, so picture and
sound stay together. The way out is `core.encode`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import av
import av.error
import numpy as np
from av.stream import Disposition
from av.video.frame import VideoFrame

from mggtalk_cli.core.encode import EXACT_BICUBIC, VideoWriter, video_codec
from mggtalk_cli.errors import InputError

__all__ = ["FPS", "VideoReader", "VideoWriter", "video_codec"]

log = logging.getLogger("mggtalk")

FPS = 25.0
# Longest side of decoded frames: trackers gain nothing above it and 4K costs four times the time.
MAX_FRAME_SIDE = 1920
MAX_LATE_START_S = 30.0  # a track that starts later than this carries a clock, not a pause
MAX_BAD_RUN = 8  # damaged packets in a row before the rest is given up
BREAK_SLACK_S = 0.5  # containers round their length; less than this is not a break
HD_HEIGHT = 720  # untagged clips at least this tall are BT.709, smaller ones BT.601
_UNSPECIFIED = 2  # the colour-space tag of clips that carry none


class VideoReader:
    """A clip as uint8 RGB frames (height, width, 3) at a steady rate; each loop reads it anew.

    Attributes:
        path: The file.
        fps: Frames per second that come out.
        width, height: Size of the frames in px: upright, square pixels, at most `max_side`.
        source_fps: The file's own average rate, or None.
        duration_s: Announced length in seconds, or None.
        has_audio: Whether there is a sound track.
    """

    def __init__(
        self, path: str | Path, *, fps: float = FPS, max_side: int = MAX_FRAME_SIDE
    ) -> None:
        """Open the clip and decode its first frame.

        Raises:
            InputError: The file is missing, unreadable, or has no picture.
        """
        self.path, self.fps = str(path), float(fps)
        self._warned = False
        with _open(self.path) as container:
            stream = _video_stream(container, self.path)
            self.has_audio = bool(container.streams.audio)
            self.source_fps = float(stream.average_rate) if stream.average_rate else None
            self.duration_s = _announced_s(container, stream)
            first = next(_decoded(container, stream), None)
        if first is None:
            raise InputError(f"{self.path}: not one frame can be decoded; export the clip again")
        self._turn = _orientation(first)
        self._raw_size = _square_pixel_size(first, stream.sample_aspect_ratio, max_side)
        self.width, self.height = self._raw_size[:: -1 if self._turn.transposed else 1]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the frames in px."""
        return self.width, self.height

    @property
    def frame_count(self) -> int | None:
        """Expected number of frames, or None; a damaged clip gives fewer."""
        return None if self.duration_s is None else max(1, round(self.duration_s * self.fps))

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield the frame on display around each time i / fps.

        Of two neighbours the nearer one in time is taken, but none more than half an output
        interval early: a long still frame stays until its successor is due.
        """
        step, index = 1 / self.fps, 0
        shown: VideoFrame | None = None
        shown_at = end = 0.0
        for frame, time, lasts in self._timed():
            if shown is not None:
                switch = max((shown_at + time) / 2, time - step / 2) - 1e-6
                image = self._rgb(shown) if index * step < switch else None
                while image is not None and index * step < switch:
                    yield image
                    index += 1
            shown, shown_at, end = frame, time, time + lasts
        if shown is None:
            raise InputError(f"{self.path}: not one frame can be decoded; export the clip again")
        image = self._rgb(shown)
        while index == 0 or (index + 0.5) * step <= end + 1e-6:
            yield image
            index += 1
        self._warn_if_short(end)

    def _timed(self) -> Iterator[tuple[VideoFrame, float, float]]:
        """Yield (frame, time, duration) in seconds, times strictly rising from about 0."""
        with _open(self.path) as container:
            stream = _video_stream(container, self.path)
            lasts = 1 / float(stream.average_rate or self.fps)
            origin = (container.start_time or 0) / av.time_base
            before: float | None = None
            for frame in _decoded(container, stream):
                time = frame.time if frame.time is not None else None
                if before is None:
                    if time is not None and time - origin > MAX_LATE_START_S:
                        origin = time
                    time = origin if time is None else time
                elif time is None:
                    time = origin + before + lasts
                interval = time - origin - before if before is not None else lasts
                if interval <= 0:
                    continue
                # Some muxers write one tick for the last frame: believe the spacing before it.
                reported = float((frame.duration or 0) * (frame.time_base or 0))
                lasts = max(reported, min(interval, 1 / self.fps))
                before = time - origin
                yield frame, before, lasts

    def _rgb(self, frame: VideoFrame) -> np.ndarray:
        """Return the frame upright, with square pixels, as (height, width, 3) uint8."""
        width, height = self._raw_size
        colorspace = None
        if frame.colorspace == _UNSPECIFIED and frame.height >= HD_HEIGHT:
            colorspace = "ITU709"
        rgb = frame.reformat(
            width, height, "rgb24", src_colorspace=colorspace, interpolation=EXACT_BICUBIC
        )
        return self._turn.apply(np.asarray(rgb.to_ndarray()))

    def _warn_if_short(self, end_s: float) -> None:
        announced = self.duration_s
        if announced is None or self._warned:
            return
        if end_s < announced - max(BREAK_SLACK_S, 0.02 * announced):
            self._warned = True
            log.warning(
                "%s: the picture breaks off at %.1f s of %.1f s; used up to there",
                self.path, end_s, announced,
            )  # fmt: skip


class _Turn(NamedTuple):
    """How stored pixels are turned for display: swap the axes first, then flip."""

    transposed: bool
    flip_x: bool
    flip_y: bool

    def apply(self, image: np.ndarray) -> np.ndarray:
        if self.transposed:
            image = image.transpose(1, 0, 2)
        return np.ascontiguousarray(image[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])


def _orientation(frame: VideoFrame) -> _Turn:
    """Read the display matrix (3 x 3 fixed point, row vectors); none means upright."""
    side_data: Any = frame.side_data  # iterates over its items, though typed as a mapping
    for data in side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d = np.frombuffer(data, np.int32)[:5].tolist()
            if abs(b) > abs(a):  # x' = c y, y' = b x
                return _Turn(True, c < 0, b < 0)
            return _Turn(False, a < 0, d < 0)
    return _Turn(False, False, False)


def _square_pixel_size(
    frame: VideoFrame, aspect: Fraction | None, max_side: int
) -> tuple[int, int]:
    """Return the stored (width, height) stretched to square pixels, at most `max_side` long."""
    width, height = float(frame.width), float(frame.height)
    if aspect and 0.1 < aspect < 10:
        stretch = float(aspect)
        width, height = width * max(stretch, 1.0), height / min(stretch, 1.0)
    scale = min(1.0, max_side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _decoded(container: Any, stream: Any) -> Iterator[VideoFrame]:
    """Yield frames in display order; damaged packets are skipped, a run of them ends the clip."""
    stream.thread_type = "AUTO"
    stream.codec_context.thread_count = 2
    bad_run = 0
    packets = container.demux(stream)
    while bad_run < MAX_BAD_RUN:
        try:
            packet = next(packets, None)
            frames = packet.decode() if packet is not None else []
            bad_run = 0
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, ValueError) as error:
            log.debug("skipped a damaged packet: %s", error)
            bad_run += 1
            continue
        if packet is None:
            return
        yield from frames


def _open(path: str) -> Any:
    file = Path(path)
    if not file.exists():
        raise InputError(f"no such video: {path}")
    if file.is_dir():
        raise InputError(f"{path} is a folder: name one video in it")
    if file.is_file() and file.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty (0 bytes)")
    try:
        return av.open(path, metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: no video, or damaged ({reason}); play it or export it again"
        ) from error


def _video_stream(container: Any, path: str) -> Any:
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        hint = "it holds only sound: use it as audio" if container.streams.audio else "no stream"
        raise InputError(f"{path}: has no picture ({hint})")
    return streams[0]


def _announced_s(container: Any, stream: Any) -> float | None:
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return float(container.duration / av.time_base) if container.duration else None
