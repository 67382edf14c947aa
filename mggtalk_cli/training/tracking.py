"""A clip's mouth: lip distances and coefficients of every frame at 25 fps, in one cached file."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from mggtalk_cli import face
from mggtalk_cli.core.mouth import EYE_CORNERS, mouth_curves
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import InputError
from mggtalk_cli.motion.network import COEFFICIENT_INDEX, MOUTH_RATE

NOSE_CHIN = (1, 152)

MIN_FRAMES = 25  # a second: correlations of less mean nothing
MIN_SEEN = 0.5  # share of frames with a face


class MouthTrack(NamedTuple):
    """Tracked mouth, one row per frame at 25 fps; NaN where no face was found.

    Attributes:
        opening: (n,) float32, see `core.mouth`.
        width: (n,) float32, see `core.mouth`.
        jaw: (n,) float32 distance of nose tip and chin over that of the eye corners.
        coefficients: (n, 8) float32 expression, see `network.COEFFICIENTS`.
    """

    opening: np.ndarray
    width: np.ndarray
    jaw: np.ndarray
    coefficients: np.ndarray


def track_mouth(path: Path) -> MouthTrack:
    """Return the mouth of a clip.

    Raises:
        InputError: unreadable, less than a second, or a face in less than half of the frames.
    """
    reader = VideoReader(path, fps=float(MOUTH_RATE))
    tracker = face.FaceTracker(reader.size, fps=float(MOUTH_RATE))
    rows = []
    for frame in reader:
        seen = tracker.update(frame)
        if seen is None:
            rows.append(np.full(3 + len(COEFFICIENT_INDEX), np.nan, np.float32))
        else:
            rows.append(mouth_row(seen.points, seen.state.beta))
    table = np.array(rows, np.float32).reshape(len(rows), 3 + len(COEFFICIENT_INDEX))
    seen_share = float(np.isfinite(table[:, 0]).mean()) if rows else 0.0
    if len(table) < MIN_FRAMES or seen_share < MIN_SEEN:
        raise InputError(
            f"{path}: {len(table)} frames, {100 * seen_share:.0f} % with a face; "
            f"{MIN_FRAMES} and {100 * MIN_SEEN:.0f} % are needed"
        )
    return MouthTrack(table[:, 0], table[:, 1], table[:, 2], table[:, 3:])


def mouth_row(points: np.ndarray, beta: np.ndarray) -> np.ndarray:
    """Return (11,) float32: opening, width, jaw, coefficients.

    Args:
        points: (>= 468, 3) landmarks in any unit.
        beta: (52,) expression.
    """
    (opening,), (width,) = mouth_curves(points[None])
    nose, chin = NOSE_CHIN
    right, left = EYE_CORNERS
    eyes = max(float(np.linalg.norm(points[right] - points[left])), 1e-6)
    jaw = np.linalg.norm(points[nose] - points[chin]) / eyes
    return np.array([opening, width, jaw, *beta[COEFFICIENT_INDEX]], np.float32)
