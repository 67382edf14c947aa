"""How open and how wide a mouth is, from face landmarks; one definition for every measurement.

Both are 3D distances in shares of that between the outer eye corners, so size of the picture,
distance and turn of the head do not matter.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

INNER_LIPS = (13, 14)  # middles of the upper and the lower inner lip
MOUTH_CORNERS = (61, 291)  # the outer ones: those of the inner lips vanish as the lips close
EYE_CORNERS = (33, 263)


class MouthCurves(NamedTuple):
    """A mouth over time: `opening` (n,) is 0 where the lips meet, `width` (n,)."""

    opening: np.ndarray
    width: np.ndarray


def mouth_curves(landmarks: np.ndarray) -> MouthCurves:
    """Return opening and width of landmarks (n, >= 468, 3) in any unit; NaN stays NaN.

    >>> face = np.zeros((1, 468, 3))
    >>> face[0, [33, 263, 61, 291], 0] = -4, 4, -2, 2
    >>> face[0, [13, 14], 1] = -5, -7
    >>> [float(curve[0]) for curve in mouth_curves(face)]
    [0.25, 0.5]
    """

    def between(pair: tuple[int, int]) -> np.ndarray:
        first, second = pair
        return np.asarray(np.linalg.norm(landmarks[:, first] - landmarks[:, second], axis=-1))

    eyes = np.maximum(between(EYE_CORNERS), 1e-6)
    return MouthCurves(between(INNER_LIPS) / eyes, between(MOUTH_CORNERS) / eyes)


def model_mouth(landmarks: np.ndarray) -> MouthCurves:
    """Return the curves of landmarks (n, 468, 3) in the head frame; crossed lips are closed."""
    curves = mouth_curves(landmarks)
    upper, lower = INNER_LIPS
    crossed = landmarks[:, upper, 1] < landmarks[:, lower, 1]
    return curves._replace(opening=np.where(crossed, 0.0, curves.opening))
