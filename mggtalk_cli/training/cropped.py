"""A clip as training sees it: a square around the face of the first frame, followed throughout.

The square is that of `build-head` (2.6 faces) and stays where it is, so that what moves is the
person. The clip ends where the face is lost, or the scene changes.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from mggtalk_cli import face
from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.expression import LANDMARK_COUNT
from mggtalk_cli.core.image import crop_square
from mggtalk_cli.core.pcm import frame_start
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.driver import Drive, Lens, Moment, Sound
from mggtalk_cli.errors import InputError
from mggtalk_cli.portrait import choose_face, frame_photo
from mggtalk_cli.tracking import FlowTracker

MIN_FRAMES = 10  # less than this shows no motion
# Frames are compared in so many cells a side. Fast heads change them by up to 20 grey levels on
# average from one frame to the next; another scene by more than this.
CELLS, CUT_LEVELS = 32, 30.0


@dataclass
class CroppedClip:
    """The followed frames of a clip.

    Attributes:
        frames: (H, W, 3) uint8 each.
        points: (468, 2) float32 landmarks px of each.
        moments: tracked state and trust of each.
        fps: their rate.
        crop_px: side of the square in px of the clip: less than H, and the frames are enlarged.
        focal_px: focal length that the tracker assumes, px of the frames.
        landmarks: (468, 3) float32 cm, head frame, of the face in the first frame.
        sound: of these frames, None without any.
    """

    fps: float
    crop_px: float
    frames: list[np.ndarray] = field(default_factory=list)
    points: list[np.ndarray] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    focal_px: float = 0.0
    landmarks: np.ndarray | None = None
    sound: Sound | None = None

    def driver(self) -> Drive:
        """Return the clip as a driver of its own first frame."""
        height, width = self.frames[0].shape[:2]
        return Drive(
            kind="video",
            fps=self.fps,
            frame_count=len(self.moments),
            reference=self.moments[0].state,
            moments=iter(self.moments),
            sound=self.sound,
            lens=Lens(self.focal_px, width, height),
            landmarks=self.landmarks,
        )


def read_cropped(
    path: Path, count: int, *, size: int, fps: float, start_s: float = 0.0
) -> CroppedClip:
    """Return at most `count` frames of a clip, cropped and followed.

    Args:
        path: the clip.
        count: frames wanted; fewer where the clip or the face ends earlier.
        size: side of the frames, px.
        fps: rate at which the clip is read.
        start_s: second at which to begin.

    Raises:
        InputError: unreadable, no usable face in the first frame, or less than `MIN_FRAMES`.
    """
    reader, skipped = VideoReader(path, fps=fps), round(start_s * fps)
    whole = itertools.islice(reader, skipped, skipped + count)
    first = next(whole, None)
    if first is None:
        raise InputError(f"{path.name} ends before")
    framed, box = frame_photo(first, choose_face(first, None), size=size, crop="face")
    side, centre = box[2] - box[0], ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    clip = CroppedClip(fps, side)
    rest = (crop_square(frame, centre, side, size).image for frame in whole)
    _follow(clip, itertools.chain([framed.image], rest), size)
    if len(clip.frames) < MIN_FRAMES:
        raise InputError(
            f"{path.name}: one face in the first {len(clip.frames)} frames only, {MIN_FRAMES} are "
            "needed: cut the clip so that it starts with a longer scene"
        )
    if reader.has_audio:
        clip.sound = Excerpt(AudioFile(path), start_s, len(clip.frames) / fps)
    return clip


def _follow(clip: CroppedClip, frames: Iterable[np.ndarray], size: int) -> None:
    """Append every frame until face or scene are lost, with what is seen in it."""
    tracker = face.FaceTracker((size, size), fps=clip.fps)
    correct: FlowTracker | None = None
    last: face.TrackedFace | None = None
    for frame in frames:
        seen = tracker.update(frame)
        if seen is None or (clip.frames and is_cut(clip.frames[-1], frame)):
            break
        if seen is not last:  # the same again is a face that does not move
            state, agreement, last = seen.state, 1.0, seen
            if correct is None:
                correct = FlowTracker(frame, seen.state, seen.points)
            else:
                state, agreement = correct.update(frame, seen.state)
        clip.frames.append(frame)
        clip.points.append(seen.points[:LANDMARK_COUNT, :2].astype(np.float32))
        clip.moments.append(Moment(state, seen.confidence * (1 + agreement) / 2))
    clip.focal_px, clip.landmarks = float(tracker.focal_px or 0.0), tracker.landmarks


def is_cut(before: np.ndarray, after: np.ndarray) -> bool:
    """Return whether two frames (H, W, 3) uint8 in a row show different scenes."""
    cells = [
        cv2.resize(
            cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), (CELLS, CELLS), interpolation=cv2.INTER_AREA
        )
        for frame in (before, after)
    ]
    return bool(cv2.absdiff(*cells).mean() > CUT_LEVELS)


class Excerpt:
    """Some seconds of a sound track."""

    def __init__(self, whole: Sound, start_s: float, seconds: float) -> None:
        """Take the track, where it begins, and how much of it is meant."""
        self._whole, self._start_s, self._seconds = whole, start_s, seconds
        self.pcm_rate, self.pcm_channels = whole.pcm_rate, whole.pcm_channels

    def pcm_chunks(self, fps: float) -> Iterator[np.ndarray]:
        """Yield int16 (samples, channels), chunk i being the sound of frame i, until it ends."""
        first = round(self._start_s * self.pcm_rate)
        end = first + round(self._seconds * self.pcm_rate)
        kept, heard = [], 0
        for chunk in self._whole.pcm_chunks(fps):
            kept.append(chunk[max(first - heard, 0) : max(end - heard, 0)])
            heard += len(chunk)
            if heard >= end:
                break
        rest = np.concatenate(kept)
        ends = [frame_start(i + 1, rate=self.pcm_rate, fps=fps) for i in range(len(kept))]
        yield from (piece for piece in np.split(rest, ends) if len(piece))
