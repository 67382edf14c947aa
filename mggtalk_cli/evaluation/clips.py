"""Clips as test material: finding the files, the frames to be reproduced, and where the head is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from mggtalk_cli import face
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.image import fit_longer_side
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
SOUND_SUFFIXES = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

# The head is the person within this box around the landmarks, in shares of their width and height:
# it holds hair and ears, and ends just below the chin.
HEAD_WIDTH, HEAD_ABOVE, HEAD_BELOW = 1.6, 0.4, 0.05

IRIS_LANDMARKS = 478  # the 468 of the face and five of each iris


def find_files(sources: list[str], suffixes: tuple[str, ...]) -> list[Path]:
    """Return the files named, and those with a known suffix in the folders named, sorted.

    Raises:
        InputError: a source does not exist, or a folder holds nothing of the kind.
    """
    found: list[Path] = []
    for source in sources:
        path = Path(source)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in suffixes)
            if not inside:
                raise InputError(f"{source}: no {', '.join(suffixes)} in this folder")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise InputError(f"{source} does not exist: name clips, photos or folders of them")
    return found


def read_frames(path: Path, count: int, *, max_side: int, fps: float) -> list[np.ndarray]:
    """Return the first `count` frames, (H, W, 3) uint8, their longer side at most `max_side` px.

    Raises:
        InputError: the clip is shorter.
    """
    reader = VideoReader(path, fps=fps)
    side = min(max(reader.size), max_side)
    frames = [fit_longer_side(frame, side).image for frame in islice(reader, count)]
    if len(frames) < count:
        raise InputError(
            f"{path} has {len(frames)} frames at {fps:g} fps: use --frames {len(frames)} or less"
        )
    return frames


def head_mask(matte: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return (H, W) bool: the person's pixels around the face, above the neck.

    Args:
        matte: (H, W) person matte 0..1.
        points: (n, 2 or 3) landmarks px.
    """
    (left, top), (right, bottom) = points[:, :2].min(0), points[:, :2].max(0)
    wide, high = right - left, bottom - top
    margin = (HEAD_WIDTH - 1) / 2 * wide
    rows, columns = np.ogrid[: matte.shape[0], : matte.shape[1]]
    inside = (columns + 0.5 >= left - margin) & (columns + 0.5 <= right + margin)
    inside = inside & (rows + 0.5 >= top - HEAD_ABOVE * high)
    inside = inside & (rows + 0.5 <= bottom + HEAD_BELOW * high)
    return np.asarray((matte > 0.5) & inside)


def outline_mask(points: np.ndarray, ring: tuple[int, ...], shape: tuple[int, int]) -> np.ndarray:
    """Return (H, W) bool: the hull of the landmarks `ring`."""
    mask = np.zeros(shape, np.uint8)
    hull = cv2.convexHull(points[list(ring), :2].round().astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 1)
    return mask > 0


@dataclass(frozen=True)
class Track:
    """The face in the frames of a clip.

    Attributes:
        points: (n, 478, 3) float32 landmarks px, NaN in frames without a face.
        states: the tracked state of each frame, None without a face.
    """

    points: np.ndarray
    states: list[FaceState | None]

    @property
    def found(self) -> np.ndarray:
        """(n,) bool: frames with a face."""
        return np.array([state is not None for state in self.states])

    def held(self) -> np.ndarray:
        """Return the points with each gap filled by the last face before it."""
        last = np.maximum.accumulate(np.where(self.found, np.arange(len(self.states)), 0))
        return np.asarray(self.points[last])

    def repeated(self, count: int) -> Track:
        """Return the track of `count` frames that all show the first one."""
        return Track(np.repeat(self.points[:1], count, 0), self.states[:1] * count)


def track_faces(frames: Sequence[np.ndarray], *, fps: float) -> Track:
    """Return the face in every frame (H, W, 3) uint8 of a clip."""
    height, width = frames[0].shape[:2]
    tracker = face.FaceTracker((width, height), fps=fps)
    points = np.full((len(frames), IRIS_LANDMARKS, 3), np.nan, np.float32)
    states: list[FaceState | None] = []
    for index, frame in enumerate(frames):
        seen = tracker.update(frame)
        states.append(None if seen is None else seen.state)
        if seen is not None:
            points[index] = seen.points
    return Track(points, states)


def head_masks(frames: Sequence[np.ndarray], points: np.ndarray) -> list[np.ndarray]:
    """Return the head mask (H, W) of every frame, see `head_mask`.

    Args:
        frames: (H, W, 3) uint8.
        points: (n, 478, 3) landmarks px, without gaps.
    """
    masks = []
    for frame, place in zip(frames, points, strict=True):
        low, high = place[:, :2].min(0), place[:, :2].max(0)
        matte = face.person_mask(frame, np.concatenate([low, high]).astype(np.float32))
        masks.append(head_mask(matte, place))
    return masks


@dataclass(frozen=True)
class TrueClip:
    """The frames to be reproduced, and where the face is in them.

    Attributes:
        path: the file.
        fps: rate of the frames.
        frames: (H, W, 3) uint8 each.
        track: the face in them; frame 0 has one.
        heads: (H, W) bool head mask of each.
    """

    path: Path
    fps: float
    frames: list[np.ndarray]
    track: Track
    heads: list[np.ndarray]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the frames, px."""
        height, width = self.frames[0].shape[:2]
        return width, height


def read_clip(path: Path, count: int, *, max_side: int, fps: float) -> TrueClip:
    """Return the first `count` frames of a clip and the face in them.

    Raises:
        InputError: unreadable, shorter, or no face in the first frame. Later gaps are none: the
            head mask of the last face stays.
    """
    frames = read_frames(path, count, max_side=max_side, fps=fps)
    track = track_faces(frames, fps=fps)
    if track.states[0] is None:
        raise InputError(
            f"{path.name}: no face in the first frame, which has to serve as the source photo: "
            "cut the clip so that it begins with one"
        )
    return TrueClip(path, fps, frames, track, head_masks(frames, track.held()))
