"""What the source's face should do when a driver does something: driver state -> target state.

Absolute: the driver's own pose and coefficients. Relative (the default across people): the change
since the driver's reference moment is put on the source. Two measured exceptions: lips take 75 %
of the driver's absolute shape (a smiling source would smile twice) and all of it where that closes
them, and lids follow by opening ratio (a source with narrow eyes would never close them). Whoever
measures about a neutral face opens and shuts the mouth as measured; who measures no place of the
head turns it about the neck.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES, NECK_CM, FaceState
from mggtalk_cli.core.interpolation import smoothstep

# Share of the driver's absolute lip shape in relative driving by video.
ABSOLUTE_LIPS = 0.75

# Coefficients that open and close the mouth: who measures about a neutral face (speech, a phone)
# owns them entirely.
OPENING = tuple(
    i
    for i, name in enumerate(ARKIT_NAMES)
    if name.startswith(("jawOpen", "mouthClose", "mouthLowerDown", "mouthUpperUp", "mouthRoll"))
)
# Those of them that part the lips: closed lips of a driver close the source's.
PARTING = tuple(
    i
    for i, name in enumerate(ARKIT_NAMES)
    if name.startswith(("jawOpen", "mouthLowerDown", "mouthUpperUp"))
)
MOUTH = tuple(i for i, name in enumerate(ARKIT_NAMES) if name.startswith(("mouth", "jaw")))
BLINKS = (ARKIT_INDEX["eyeBlinkLeft"], ARKIT_INDEX["eyeBlinkRight"])


def retarget(
    driver: FaceState,
    *,
    reference: FaceState,
    source: FaceState,
    mode: str,
    parts: Mapping[str, str] | None = None,
    likeness: float = 1.0,
) -> FaceState:
    """Return the state the source should take; driver and reference alike leave its pose as it is.

    Args:
        driver: the driver now.
        reference: the driver's moment that corresponds to the source photo: its first frame, or
            the neutral face for speech.
        source: the source photo's own state.
        mode: "absolute", or how the driver was measured: "relative" (tracked in a video), "speech",
            or "phone" (shapes measured about a neutral face, and a head that only turns).
        parts: the same for its "mouth", "head" and "blink" where they were measured otherwise.
        likeness: how far the driver's face is the source's own, see `face_likeness`.
    """
    if mode == "absolute":
        return driver
    modes = dict.fromkeys(("mouth", "head", "blink"), mode) | dict(parts or {})
    beta = source.beta + (driver.beta - reference.beta)
    beta[list(MOUTH)] = _lips(driver, reference, source, mode=modes["mouth"], likeness=likeness)
    if modes["mouth"] != "relative":
        beta[list(OPENING)] = driver.beta[list(OPENING)]
    for lid in BLINKS:
        ratio = (1 - driver.beta[lid]) / max(1 - float(reference.beta[lid]), 0.3)
        if modes["blink"] == "relative":
            ratio *= smoothstep(ratio, SHUT_AT, TRUSTED_ABOVE)
        beta[lid] = 1 - max(ratio, 0.0) * (1 - source.beta[lid])
    # Written as a change, so that equal rotations give the source's to the last bit.
    turn = (driver.rotation - reference.rotation) @ reference.rotation.T
    translation = source.translation + (driver.translation - reference.translation)
    if modes["head"] in ("speech", "phone"):
        translation = translation - turn @ (source.rotation @ NECK_CM)
    return replace(
        driver,
        beta=beta.astype(np.float32),
        rotation=(source.rotation + turn @ source.rotation).astype(np.float32),
        translation=translation.astype(np.float32),
        gaze=(source.gaze + (driver.gaze - reference.gaze)).astype(np.float32),
        residual=source.residual + carried(driver.residual - reference.residual, likeness),
    )


def anchored(driver: FaceState, *, reference: FaceState, source: FaceState) -> FaceState:
    """Return the driver's own face and turn on the source's neck, moved as the driver's neck is.

    A head of another size or place than the photo's would tear off its neck.

    Args:
        driver: the driver now.
        reference: its first frame.
        source: the state in the photo.
    """
    necks = [state.rotation @ NECK_CM + state.translation for state in (source, reference)]
    place = driver.translation + (necks[0] - necks[1])
    return replace(driver, translation=place.astype(np.float32))


def _lips(
    driver: FaceState, reference: FaceState, source: FaceState, *, mode: str, likeness: float
) -> np.ndarray:
    """Return the coefficients of the mouth; a source that smiles already does not smile twice."""
    own, now, then = (state.beta[list(MOUTH)] for state in (source, driver, reference))
    change = now - then
    if mode == "speech":  # a shape that is there already moves the less, and never beyond 1
        return np.asarray(own + change * np.where(change > 0, np.clip(1 - own, 0, 1), 1))
    # One face in one photo has one lip shape, however it was measured. Of two faces, the result
    # lies between their shapes.
    between = np.clip(own + change, np.minimum(own, now), np.maximum(own, now))
    relative = own + change + (1 - likeness) * (between - own - change)
    shape = relative + ABSOLUTE_LIPS * (now + likeness * (own - then) - relative)
    closed = (1 - likeness) * np.isin(MOUTH, PARTING)
    return np.asarray(shape + closed * (np.minimum(shape, now) - shape))


# Landmarks of two faces that differ by less than the first share of the face's width are those of
# one photo, by more than the second those of two people.
ONE_FACE, TWO_FACES = 0.006, 0.015
# What moves landmarks beyond the face model is much about the driver's own shape: on another face
# it moves them less than this far. Landmarks of clips seldom leave it, flow on turned heads does.
STRANGER_CM = 0.3


def face_likeness(one: np.ndarray, other: np.ndarray) -> float:
    """Return how far two sets of landmarks (468, 3), cm, head frame, are one face in one photo.

    >>> face = np.random.default_rng(0).uniform(-7, 7, (468, 3))
    >>> face_likeness(face, face + 1), face_likeness(face, 1.2 * face)
    (1.0, 0.0)
    """
    apart = (one - one.mean(0)) - (other - other.mean(0))
    share = np.sqrt((apart**2).sum(1).mean()) / max(float(np.ptp(one[:, 0])), 1e-6)
    return 1.0 - float(smoothstep(share, ONE_FACE, TWO_FACES))


def carried(motion: np.ndarray, likeness: float) -> np.ndarray:
    """Return landmark motion (468, 3), cm, as another face takes it: softly limited."""
    length = np.linalg.norm(motion, axis=1, keepdims=True)
    limited = motion / np.sqrt(1 + (length / STRANGER_CM) ** 2)
    return np.asarray(limited + likeness * (motion - limited), np.float32)


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
