"""The one language of faces: 52 ARKit-named coefficients, a head pose and a gaze per frame.

Photo fitting, video tracking and speech all speak it; deformation understands nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

ARKIT_NAMES: tuple[str, ...] = (
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight"),
    *("eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight"),
    *("eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight"),
    *("eyeLookUpLeft", "eyeLookUpRight", "eyeSquintLeft", "eyeSquintRight"),
    *("eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight"),
    *("mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight"),
    *("mouthFunnel", "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight"),
    *("mouthPressLeft", "mouthPressRight", "mouthPucker", "mouthRight", "mouthRollLower"),
    *("mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft"),
    *("mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft"),
    *("mouthUpperUpRight", "noseSneerLeft", "noseSneerRight", "tongueOut"),
)
ARKIT_INDEX: dict[str, int] = {name: index for index, name in enumerate(ARKIT_NAMES)}
LANDMARK_COUNT = 468

# The top of the neck (head frame, cm), about which a head turns whose position nobody measured.
NECK_CM = np.array([0.0, -6.0, -6.0])


@dataclass(frozen=True)
class FaceState:
    """One moment of a face.

    Attributes:
        beta: (52,) float32 expression coefficients in the order of `ARKIT_NAMES`, mostly 0..1.
        rotation: (3, 3) float32 head rotation in the y-up camera frame; identity faces the camera.
        translation: (3,) float32 head origin in the y-up camera frame, cm.
        gaze: (2,) float32 gaze of both eyes relative to the head, degrees: positive x looks to
            image right (subject's left), positive y looks up.
        residual: (468, 3) float32 landmark motion beyond the face model, head frame, cm; zeros
            when there is none (speech).
    """

    beta: np.ndarray
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    translation: np.ndarray = field(default_factory=lambda: np.zeros(3, np.float32))
    gaze: np.ndarray = field(default_factory=lambda: np.zeros(2, np.float32))
    residual: np.ndarray = field(
        default_factory=lambda: np.zeros((LANDMARK_COUNT, 3), np.float32), repr=False
    )


def neutral_state() -> FaceState:
    """Return the relaxed face that looks into the camera at the origin."""
    return FaceState(beta=np.zeros(len(ARKIT_NAMES), np.float32))
