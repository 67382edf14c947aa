"""Stage motion: speech -> one FaceState per video frame, streaming; gaps in tracked video.

A first fast pass finds the voice (and damaged files), then phones are decoded a few seconds ahead
of the frames, so the first frame is there at once and memory does not grow with the sound.
"""

from __future__ import annotations

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat

import numpy as np

from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES, FaceState
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.motion.behaviour import NECK_CM, Behaviour, behaviour
from mggtalk_cli.motion.energy import mouth_from_energy
from mggtalk_cli.motion.gaps import fill_gaps
from mggtalk_cli.motion.visemes import mouth_from_phones
from mggtalk_cli.motion.voice import voice_track

log = logging.getLogger("mggtalk")

# name -> (audio, voice, *, fps) -> one (52,) array of mouth coefficients per frame
VARIANTS: dict[str, Callable[..., Iterator[np.ndarray]]] = {
    "phones": mouth_from_phones,
    "energy": mouth_from_energy,
}
DEFAULT_VARIANT = "phones"

BROWS = {"browInnerUp": 1.0, "browOuterUpLeft": 0.7, "browOuterUpRight": 0.7}

__all__ = ["DEFAULT_VARIANT", "VARIANTS", "SpeechMotion", "fill_gaps", "speech_motion"]


@dataclass(frozen=True)
class SpeechMotion:
    """Motion of a talking face, relative to a relaxed face that looks into the camera.

    Attributes:
        frame_count: Frames that cover the whole sound.
        fps: Frames per second.
        states: One state per frame, computed as they are taken; can be read once.
    """

    frame_count: int
    fps: float
    states: Iterator[FaceState]


def speech_motion(
    audio: str | os.PathLike[str] | AudioFile,
    *,
    fps: float = 25.0,
    seed: int = 0,
    still: bool = False,
    variant: str = DEFAULT_VARIANT,
) -> SpeechMotion:
    """Return the motion of somebody who says what is heard.

    Args:
        audio: A sound, or its path.
        fps: Video frames per second.
        seed: Seed of blinks, head motion, brows and gaze.
        still: Keep the head still (it still blinks).
        variant: A key of `VARIANTS`.

    Raises:
        InputError: The sound is missing, unreadable, empty or damaged.
    """
    source = audio if isinstance(audio, AudioFile) else AudioFile(audio)
    voice = voice_track(source)
    frame_count = source.frame_count(fps)
    if variant == "phones" and importlib.util.find_spec("pocketsphinx") is None:
        log.warning("pocketsphinx is not installed: the mouth follows loudness only")
        variant = "energy"
    mouth = VARIANTS[variant](source, voice, fps=fps)
    closed = repeat(np.zeros(len(ARKIT_NAMES), np.float32))
    rest = behaviour(voice, fps=fps, seed=seed, still=still)
    pairs = zip(chain(mouth, closed), rest, strict=False)
    states = (_state(beta, moment) for beta, moment in pairs)
    return SpeechMotion(frame_count, fps, islice(states, frame_count))


def _state(mouth: np.ndarray, moment: Behaviour) -> FaceState:
    """Return the face of one frame; the eyes hold their target while the head turns."""
    beta = mouth.astype(np.float32)
    beta[ARKIT_INDEX["eyeBlinkLeft"]] = beta[ARKIT_INDEX["eyeBlinkRight"]] = moment.blink
    for name, weight in BROWS.items():
        beta[ARKIT_INDEX[name]] += weight * moment.brow
    yaw, pitch, roll = moment.angles_deg
    rotation = matrix_from_angles(yaw, pitch, roll)
    return FaceState(
        beta=beta,
        rotation=rotation.astype(np.float32),
        translation=(NECK_CM - rotation @ NECK_CM + moment.shift_cm).astype(np.float32),
        gaze=(moment.gaze_deg + np.array([-yaw, pitch])).astype(np.float32),
    )
