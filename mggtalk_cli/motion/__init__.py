"""Stage motion: speech or a take -> one FaceState per video frame; merging, controls, gaps.

Sound flows once, piece by piece, to whatever listens: voice track, mouth and behaviour each read as
far ahead of a frame as they need, a few seconds in a file, `look_ahead_s` in a stream. So the first
frame is there at once and memory does not grow with the sound.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat, tee
from typing import Protocol

import numpy as np

from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES, FaceState
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.motion import voice
from mggtalk_cli.motion.behaviour import (
    AHEAD_S,
    MAX_BLINKS_PER_MIN,
    MAX_SCALE,
    Behaviour,
    SpeechStyle,
    behaviour,
)
from mggtalk_cli.motion.controls import Controls, driven, expression_weights, posed
from mggtalk_cli.motion.curve import Curve, read_curve
from mggtalk_cli.motion.energy import mouth_from_energy
from mggtalk_cli.motion.gaps import fill_gaps
from mggtalk_cli.motion.livelink import is_take, read_take, take_length, take_states, write_take
from mggtalk_cli.motion.merge import PARTS, held, merged_state, resampled
from mggtalk_cli.motion.neural import mouth_from_network
from mggtalk_cli.motion.visemes import mouth_from_phones

log = logging.getLogger("mggtalk")

# name -> (blocks, voice, *, fps, look_ahead_s) -> (52,) mouth coefficients of each frame
VARIANTS: dict[str, Callable[..., Iterator[np.ndarray]]] = {
    "neural": mouth_from_network,
    "phones": mouth_from_phones,
    "energy": mouth_from_energy,
}
DEFAULT_VARIANT = "neural"

BROWS = {"browInnerUp": 1.0, "browOuterUpLeft": 0.7, "browOuterUpRight": 0.7}

__all__ = [
    "DEFAULT_VARIANT",
    "MAX_BLINKS_PER_MIN",
    "MAX_SCALE",
    "PARTS",
    "VARIANTS",
    "Controls",
    "Curve",
    "SpeechMotion",
    "SpeechSound",
    "SpeechStyle",
    "driven",
    "expression_weights",
    "fill_gaps",
    "held",
    "is_take",
    "merged_state",
    "posed",
    "read_curve",
    "read_take",
    "resampled",
    "speech_motion",
    "take_length",
    "take_states",
    "write_take",
]


class SpeechSound(Protocol):
    """A sound that can be listened to: a file or a stream.

    Attributes:
        look_ahead_s: Seconds of sound a frame may wait for; None where all of it is there.
    """

    look_ahead_s: float | None

    def blocks_16k_mono(self) -> Iterator[np.ndarray]:
        """Yield consecutive float32 blocks in -1..1."""
        ...

    def frame_count(self, fps: float) -> int:
        """Return how many video frames cover the sound, as far as it has come in."""
        ...


@dataclass(frozen=True)
class SpeechMotion:
    """Motion of a talking face, relative to a relaxed face that looks into the camera.

    Attributes:
        frame_count: Frames that cover the whole sound, None while it comes in.
        fps: Frames per second.
        states: One state per frame, computed as they are taken; can be read once.
    """

    frame_count: int | None
    fps: float
    states: Iterator[FaceState]


def speech_motion(
    sound: SpeechSound,
    *,
    fps: float = 25.0,
    style: SpeechStyle | None = None,
    variant: str = DEFAULT_VARIANT,
) -> SpeechMotion:
    """Return the motion of somebody who says what is heard.

    Args:
        sound: What is heard.
        fps: Video frames per second.
        style: Seed and scales of what accompanies the words.
        variant: A key of `VARIANTS`.

    Raises:
        InputError: The sound is damaged.
    """
    if variant == "phones" and importlib.util.find_spec("pocketsphinx") is None:
        log.warning("pocketsphinx is not installed: the mouth follows loudness only")
        variant = "energy"
    look_ahead_s = sound.look_ahead_s
    whole = look_ahead_s is None
    frame_count = sound.frame_count(fps) if whole else None
    states = _states(sound, fps, style or SpeechStyle(), VARIANTS[variant])
    return SpeechMotion(frame_count, fps, states)


def _states(
    sound: SpeechSound, fps: float, style: SpeechStyle, variant: Callable[..., Iterator[np.ndarray]]
) -> Iterator[FaceState]:
    """Yield the state of each frame."""
    look_ahead_s = sound.look_ahead_s
    for_voice, for_mouth = tee(sound.blocks_16k_mono())
    windows, ahead_s = voice.OFFLINE, AHEAD_S
    if look_ahead_s is not None:
        windows, ahead_s = voice.streaming_windows(look_ahead_s), 0.0
    heard = voice.Voice(voice.voice_pieces(for_voice, windows))
    mouth = variant(for_mouth, heard, fps=fps, look_ahead_s=look_ahead_s)
    closed = repeat(np.zeros(len(ARKIT_NAMES), np.float32))
    moments = behaviour(heard, fps=fps, style=style, ahead_s=ahead_s)
    pairs = zip(chain(mouth, closed), moments, strict=False)
    for index, (beta, moment) in enumerate(pairs):
        if index >= sound.frame_count(fps):
            return
        yield _state(np.minimum(beta * style.mouth_scale, 1.0), moment)


def _state(mouth: np.ndarray, moment: Behaviour) -> FaceState:
    """Return the face of one frame; the eyes hold their target while the head turns.

    Its place is the neck's: `deform.retarget` turns the head about it, in the photo's own pose.
    """
    beta = mouth.astype(np.float32)
    beta[ARKIT_INDEX["eyeBlinkLeft"]] = beta[ARKIT_INDEX["eyeBlinkRight"]] = moment.blink
    for name, weight in BROWS.items():
        beta[ARKIT_INDEX[name]] += weight * moment.brow
    yaw, pitch, roll = moment.angles_deg
    rotation = matrix_from_angles(yaw, pitch, roll)
    return FaceState(
        beta=beta,
        rotation=rotation.astype(np.float32),
        translation=moment.shift_cm.astype(np.float32),
        gaze=(moment.gaze_deg + np.array([-yaw, pitch])).astype(np.float32),
    )
