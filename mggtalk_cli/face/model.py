"""The face model: rest head, identity shapes, 52 expression shapes, and where landmarks lie.

    vertices(beta, identity) = rest + identity . I + beta . E
    landmarks(beta, identity) = the same at three vertices' barycentric mean, + a mean offset

Units are centimetres in the canonical head frame. The data is CC0 (see data/NOTICE); it was made
exactly symmetric, so swapping left and right coefficients mirrors the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES
from mggtalk_cli.core.landmark_groups import (
    EYE_LEFT_LOWER,
    EYE_LEFT_UPPER,
    EYE_RIGHT_LOWER,
    EYE_RIGHT_UPPER,
    MIRROR,
    TRIANGLES,
)
from mggtalk_cli.errors import WeightsError
from mggtalk_cli.face.models import DATA_DIR

# Triangle labels in `FaceModel.part`.
PART_NAMES = (
    *("body", "left_eye", "right_eye", "tongue", "upper_teeth", "lower_teeth"),
    *("left_lash_lower", "left_lash_upper", "right_lash_lower", "right_lash_upper"),
)
_LID_MIDDLE = 4  # of the nine points of a lid edge
_FILE = "head_model_cc0.npz"


@dataclass(frozen=True)
class FaceModel:
    """A head that moves; all lengths in cm, canonical head frame.

    Attributes:
        rest: (V, 3) float32 mean head, relaxed.
        triangles: (F, 3) int32 vertex indices.
        part: (F,) uint8 index into `PART_NAMES` per triangle.
        expression: (52, V, 3) float32 shapes in the order of `ARKIT_NAMES`.
        identity_basis: (40, V, 3) float32 shapes for one standard deviation each.
        landmark_vertices: (468, 3) int32 vertices that carry each landmark.
        landmark_weights: (468, 3) float32 their barycentric weights.
        landmark_rest: (468, 3) float32 landmarks of the mean head, mean offset included.
        landmark_expression: (52, 468, 3) float32 landmark motion per coefficient.
        landmark_identity: (40, 468, 3) float32 landmark motion per identity coefficient.
        landmark_triangles: (898, 3) int32 the mesh the landmarks form.
        landmark_mirror: (468,) int32 partner of each landmark on the other side.
    """

    rest: np.ndarray
    triangles: np.ndarray
    part: np.ndarray
    expression: np.ndarray
    identity_basis: np.ndarray
    landmark_vertices: np.ndarray
    landmark_weights: np.ndarray
    landmark_rest: np.ndarray
    landmark_expression: np.ndarray
    landmark_identity: np.ndarray
    landmark_triangles: np.ndarray
    landmark_mirror: np.ndarray

    def vertices(self, beta: np.ndarray, identity: np.ndarray) -> np.ndarray:
        """Return (V, 3) float32 cm of coefficients (52,) and identity (40,)."""
        moved = self.rest + np.tensordot(np.asarray(identity, np.float32), self.identity_basis, 1)
        used = np.flatnonzero(beta)
        return moved + np.tensordot(np.asarray(beta, np.float32)[used], self.expression[used], 1)

    def landmarks(self, beta: np.ndarray, identity: np.ndarray) -> np.ndarray:
        """Return (..., 468, 3) float32 cm of coefficients (..., 52) and one identity (40,)."""
        person = self.landmark_rest + np.tensordot(
            np.asarray(identity, np.float32), self.landmark_identity, 1
        )
        return person + np.tensordot(np.asarray(beta, np.float32), self.landmark_expression, 1)


@cache
def load_face_model() -> FaceModel:
    """Return the shipped face model, loaded once.

    Raises:
        WeightsError: the data file is missing.
    """
    path = DATA_DIR / _FILE
    if not path.is_file():
        raise WeightsError(f"{_FILE} is missing from the package; reinstall it")
    with np.load(path, allow_pickle=False) as data:
        rest = data["vertices"]
        expression = _dense(data["expr_count"], data["expr_vertex"], data["expr_delta"], len(rest))
        identity = data["identity"].astype(np.float32)
        corner = data["landmark_vertices"].astype(np.int32)
        weights = data["landmark_bary"]
        offset = data["landmark_offset"]
        triangles, part = data["triangles"].astype(np.int32), data["part"]

    def at_landmarks(shapes: np.ndarray) -> np.ndarray:
        return np.einsum("...lkc,lk->...lc", shapes[..., corner, :], weights)

    model = FaceModel(
        rest=rest,
        triangles=triangles,
        part=part,
        expression=expression,
        identity_basis=identity,
        landmark_vertices=corner,
        landmark_weights=weights,
        landmark_rest=at_landmarks(rest) + offset,
        landmark_expression=_tuned_expression(
            at_landmarks(expression), at_landmarks(rest) + offset
        ),
        landmark_identity=at_landmarks(identity),
        landmark_triangles=TRIANGLES,
        landmark_mirror=MIRROR,
    )
    for array in vars(model).values():
        array.setflags(write=False)
    return model


def _tuned_expression(shapes: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return landmark shapes (52, 468, 3) that are exactly symmetric and close the lids at 1.

    The embedding of landmarks on the midline is not quite central. The mean offset narrows the
    eyes, so the blink that closes the mesh's lids would make the landmarks' lids overlap.
    """
    partner = [ARKIT_INDEX[_other_side(name)] for name in ARKIT_NAMES]
    shapes = (shapes + shapes[partner][:, MIRROR] * np.array([-1, 1, 1], np.float32)) / 2
    for side, upper, lower in (
        ("Right", EYE_RIGHT_UPPER[_LID_MIDDLE], EYE_RIGHT_LOWER[_LID_MIDDLE]),
        ("Left", EYE_LEFT_UPPER[_LID_MIDDLE], EYE_LEFT_LOWER[_LID_MIDDLE]),
    ):
        shape = shapes[ARKIT_INDEX[f"eyeBlink{side}"]]
        shape *= (rest[upper, 1] - rest[lower, 1]) / (shape[lower, 1] - shape[upper, 1])
    return shapes


def _other_side(name: str) -> str:
    return name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")


def _dense(
    count: np.ndarray, vertex: np.ndarray, delta: np.ndarray, vertex_count: int
) -> np.ndarray:
    """Return (shapes, V, 3) float32 of shapes stored one after another as (vertex, delta)."""
    dense = np.zeros((len(count), vertex_count, 3), np.float32)
    dense[np.repeat(np.arange(len(count)), count), vertex] = delta
    return dense
