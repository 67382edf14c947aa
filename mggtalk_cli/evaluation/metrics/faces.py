"""How close one face is to another: landmarks, expression, pose, identity.

Landmarks are (n, 468 or more, 2 or more) positions in px of the frames they were found in,
`core.landmark_groups` names them; a frame without a face is NaN and is left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mggtalk_cli.core.landmark_groups import LIPS
from mggtalk_cli.core.mouth import EYE_CORNERS
from mggtalk_cli.core.rotation import angles_from_matrix
from mggtalk_cli.errors import InputError

SIDE = 256  # px: landmark distances are stated for frames whose longer side is this
MESH = 468  # landmarks that count; irises follow


class LandmarkDistance(NamedTuple):
    """A mean distance: in `px` at 256 x 256, and as a share of the inter-ocular distance."""

    px: float
    iod: float


def lmd(points: np.ndarray, truth: np.ndarray, *, size: tuple[int, int]) -> LandmarkDistance:
    """Return the landmark distance; 0 (equal) and up, lower is better.

    Mean over frames and all 468 landmarks of the distance in the image plane, in px of a frame
    whose longer side is 256, and divided by the true distance of the outer eye corners of the
    frame. Chen et al. 2018, "Lip movements generation at a glance" (there over mouth landmarks).

    Args:
        points: (n, >= 468, >= 2) px, NaN where no face was found.
        truth: the same of the true frames.
        size: width and height of the frames, px.

    Raises:
        InputError: the shapes differ or hold fewer landmarks.
    """
    own, true = _planes(points, truth)
    return _distance(own[:, :MESH], true[:, :MESH], true, size)


def mouth_lmd(points: np.ndarray, truth: np.ndarray, *, size: tuple[int, int]) -> LandmarkDistance:
    """Return M-LMD, that of the mouth's shape alone; 0 (equal) and up, lower is better.

    As `lmd`, over the 80 landmarks of the lips, each mouth centred on their mean first: where the
    mouth is does not count, its turn and size in the image do.

    Args:
        points: (n, >= 468, >= 2) px, NaN where no face was found.
        truth: the same of the true frames.
        size: width and height of the frames, px.

    Raises:
        InputError: the shapes differ or hold fewer landmarks.
    """
    own, true = _planes(points, truth)
    lips = list(LIPS)
    centred = [p[:, lips] - p[:, lips].mean(1, keepdims=True) for p in (own, true)]
    return _distance(centred[0], centred[1], true, size)


def aed(beta: np.ndarray, truth: np.ndarray) -> float:
    """Return the average expression distance; 0 (equal) and up, lower is better.

    Mean over frames and coefficients of |difference|, of the 52 ARKit-named coefficients (mostly
    0..1) that this program's tracker fits to both videos. Papers use other face models: their
    numbers cannot be compared with these. Ren et al. 2021, "PIRenderer".

    Args:
        beta: (n, k) coefficients, NaN rows where no face was found.
        truth: the same of the driving frames.

    Raises:
        InputError: the shapes differ.
    """
    return _mean_difference(np.asarray(beta, np.float64), np.asarray(truth, np.float64))


def apd(rotations: np.ndarray, truth: np.ndarray) -> float:
    """Return the average pose distance in radians, 0 (equal) to pi; lower is better.

    Mean over frames and the head angles yaw, pitch, roll (`core.rotation`) of |difference|, the
    short way round. Ren et al. 2021, "PIRenderer", who add translations; these depend on the
    framing and do not count here.

    Args:
        rotations: (n, 3, 3) head rotations, NaN where no face was found.
        truth: the same of the driving frames.

    Raises:
        InputError: the shapes differ.
    """
    a, b = head_angles(rotations), head_angles(truth)
    if a.shape != b.shape:
        raise InputError(f"cannot compare {len(a)} poses with {len(b)}: give one per frame of each")
    turn = (a - b + np.pi) % (2 * np.pi) - np.pi
    return _mean_difference(turn, np.zeros_like(turn))


def csim(embedding: np.ndarray | None, truth: np.ndarray | None) -> float:
    """Return the cosine similarity of two identity embeddings, -1..1; higher is better.

    Its level depends on the embedder, which stands beside the number: for ArcFace strangers are
    near 0; for dlib's network, whose embeddings share a large mean, near .83 (99 % of 1162 pairs
    of photos below .92) and the same person in two photos at .94-.98. Computed on face chips of
    112 or 150 px. Deng et al. 2019, "ArcFace"; Zakharov et al. 2019 used it for talking heads.

    Args:
        embedding: (d,) of any length above zero, or None where there is no face: NaN.
        truth: the same of the person it should be.
    """
    if embedding is None or truth is None:
        return float("nan")
    a, b = np.asarray(embedding, np.float64), np.asarray(truth, np.float64)
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else float("nan")


def head_angles(rotations: np.ndarray) -> np.ndarray:
    """Return (n, 3) yaw, pitch, roll in radians of (n, 3, 3) rotations; NaN stays NaN."""
    matrices = np.asarray(rotations, np.float64)
    angles = np.full((len(matrices), 3), np.nan)
    known = np.isfinite(matrices).all((1, 2))
    if known.any():
        angles[known] = np.radians(angles_from_matrix(matrices[known]))
    return angles


def _planes(points: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return both landmark sets' (n, m, 2) positions in the image plane."""
    own, true = np.asarray(points, np.float64), np.asarray(truth, np.float64)
    if own.shape != true.shape or own.ndim != 3 or own.shape[1] < MESH or own.shape[2] < 2:
        raise InputError(
            f"cannot compare landmarks {own.shape} with {true.shape}: both must be "
            f"(frames, {MESH} or more, 2 or 3)"
        )
    return own[..., :2], true[..., :2]


def _distance(
    own: np.ndarray, true: np.ndarray, face: np.ndarray, size: tuple[int, int]
) -> LandmarkDistance:
    """Return the mean distance of (n, m, 2) points; `face` holds all true landmarks."""
    apart = np.linalg.norm(own - true, axis=-1).mean(1)
    eyes = np.linalg.norm(face[:, EYE_CORNERS[0]] - face[:, EYE_CORNERS[1]], axis=-1)
    known = np.isfinite(apart) & (eyes > 0)
    if not known.any():
        return LandmarkDistance(float("nan"), float("nan"))
    px = float(apart[known].mean()) * SIDE / max(size)
    return LandmarkDistance(px, float((apart[known] / eyes[known]).mean()))


def _mean_difference(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        raise InputError(f"cannot compare values {a.shape} with {b.shape}: give one row per frame")
    rows = np.abs(a - b).mean(-1)
    rows = rows[np.isfinite(rows)]
    return float(rows.mean()) if rows.size else float("nan")
