"""What the source's face should do when a driver does something: driver state -> target state.

Absolute: the driver's own pose and coefficients. Relative (the default across people): the change
since the driver's reference moment is put on the source. Two measured exceptions: lips take 75 %
of the driver's absolute shape (a smiling source would smile twice), and lids follow by opening
ratio (a source with narrow eyes would never close them).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES, FaceState
from mggtalk_cli.core.interpolation import smoothstep

# Share of the driver's absolute lip shape in relative driving by video.
ABSOLUTE_LIPS = 0.75

# Head joint at the base of the skull (head frame, cm): speech turns the head about it.
SPEECH_PIVOT_CM = np.array([0.0, -6.0, -6.0], np.float32)

# Coefficients that open and close the mouth: speech owns them entirely.
OPENING = tuple(
    i
    for i, name in enumerate(ARKIT_NAMES)
    if name.startswith(("jawOpen", "mouthClose", "mouthLowerDown", "mouthUpperUp", "mouthRoll"))
)
MOUTH = tuple(i for i, name in enumerate(ARKIT_NAMES) if name.startswith(("mouth", "jaw")))
BLINKS = (ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"])


def retarget(
    driver: FaceState,
    *,
    reference: FaceState,
    source: FaceState,
    mode: str,
) -> FaceState:
    """Return the state the source should take.

    Args:
        driver: the driver now.
        reference: the driver's moment that corresponds to the source photo: its first frame, or
            the neutral face for speech.
        source: the source photo's own state.
        mode: "absolute", "relative" (video) or "speech".
    """
    if mode == "absolute":
        return driver
    beta = source.beta + driver.beta - reference.beta
    if mode == "speech":
        beta[list(OPENING)] = driver.beta[list(OPENING)]
        pivot = source.rotation @ SPEECH_PIVOT_CM + source.translation
        arm = driver.rotation @ (source.translation - pivot) + pivot
        translation = arm + driver.translation
    else:
        lips = list(MOUTH)
        beta[lips] += ABSOLUTE_LIPS * (driver.beta[lips] - beta[lips])
        translation = source.translation + driver.translation - reference.translation
    for lid in BLINKS:
        opening = (1 - driver.beta[lid]) / max(1 - float(reference.beta[lid]), 0.3)
        if mode == "relative":
            opening *= smoothstep(opening, SHUT_AT, TRUSTED_ABOVE)
        beta[lid] = 1 - max(opening, 0.0) * (1 - source.beta[lid])
    return replace(
        driver,
        beta=beta.astype(np.float32),
        rotation=(driver.rotation @ reference.rotation.T @ source.rotation).astype(np.float32),
        translation=translation.astype(np.float32),
        gaze=(source.gaze + driver.gaze - reference.gaze).astype(np.float32),
        residual=source.residual + driver.residual - reference.residual,
    )


# Landmark networks hardly see shut eyes: a lid opening that falls to the first share of the usual
# one is a blink's bottom, above the second one it is taken as it is.
SHUT_AT, TRUSTED_ABOVE = 0.5, 0.8


def head_motion(target: FaceState, source: FaceState) -> tuple[np.ndarray, np.ndarray]:
    """Return (R (3, 3), t (3,) cm) that carry the photo's head frame to the target pose."""
    inverse = source.rotation.T
    # Written as a change, so that equal poses give the identity to the last bit.
    rotation = np.eye(3) + inverse @ (target.rotation - source.rotation)
    translation = inverse @ (target.translation - source.translation)
    return rotation.astype(np.float32), translation.astype(np.float32)
