"""Clips as test material: finding the files, the frames to be reproduced, and where the head is."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from mggtalk_cli import face
from mggtalk_cli.core.image import fit_longer_side
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import InputError

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
SOUND_SUFFIXES = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac")
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

# The head is the person within this box around the landmarks, in shares of their width and height:
# it holds hair and ears, and ends just below the chin.
HEAD_WIDTH, HEAD_ABOVE, HEAD_BELOW = 1.6, 0.4, 0.05


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


def true_heads(
    frames: list[np.ndarray], *, fps: float
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return landmarks (478, 3) px and head mask (H, W) of every frame.

    Raises:
        InputError: the first frame shows no face. Later gaps repeat the last face.
    """
    height, width = frames[0].shape[:2]
    tracker = face.FaceTracker((width, height), fps=fps)
    points: list[np.ndarray] = []
    masks: list[np.ndarray] = []
    for frame in frames:
        seen = tracker.update(frame)
        if seen is None and not points:
            raise InputError("no face in the first frame: it has to serve as the source photo")
        points.append(points[-1] if seen is None else seen.points)
        low, high = points[-1][:, :2].min(0), points[-1][:, :2].max(0)
        matte = face.person_mask(frame, np.concatenate([low, high]).astype(np.float32))
        masks.append(head_mask(matte, points[-1]))
    return points, masks
