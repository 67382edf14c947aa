"""Speech against the speaker's own lips: predicted and tracked mouth opening of talking clips.

Opening = distance of the inner lips' middles (landmarks 13, 14) over that of the outer eye corners
(33, 263). Predicted: speech motion through the face model. Tracked: 3D landmarks of the picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mggtalk_cli import face, motion
from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import metrics
from mggtalk_cli.motion.voice import FRAME_RATE, VoiceTrack, voice_track

UPPER_LIP, LOWER_LIP, EYE_CORNERS = 13, 14, (33, 263)
FPS, SECONDS, MAX_LAG = 25.0, 10.0, 3
MIN_FRAMES = 20  # correlations of less than a second mean nothing

# Silence is judged this far from any voice (the mouth opens before a sound and closes after it) ...
SILENCE_MARGIN_S = 0.2
# ... and a mouth is open there when its lips are farther apart than this (about 1 mm).
OPEN = 0.012


@dataclass(frozen=True)
class SpeakerResult:
    """One speaker.

    Attributes:
        clip: name of the clip.
        frames: frames with a face and sound.
        r: correlation of predicted and tracked opening.
        r_speech: the same within speech only.
        lag: frames by which the prediction is late, where r is best (-3..3).
        r_lag: r at that lag.
        amplitude: standard deviation predicted over tracked.
        silent_frames: frames judged as silence.
        open_in_silence: share of them in which the predicted mouth is open; NaN without silence.
    """

    clip: str
    frames: int
    r: float
    r_speech: float
    lag: int
    r_lag: float
    amplitude: float
    silent_frames: int
    open_in_silence: float


def speaker_result(path: Path, *, offset: int = 0, seconds: float = SECONDS) -> SpeakerResult:
    """Return how well the mouth follows the speech of one clip.

    Args:
        path: a clip of a talking face with sound.
        offset: frames by which the clip's sound is late.
        seconds: how much of its beginning is used.

    Raises:
        InputError: no sound, no face, or less than a second of both.
    """
    if not VideoReader(path).has_audio:
        raise InputError(f"{path} has no sound: audio is scored on clips of people who talk")
    tracked = tracked_opening(path, seconds)
    audio = AudioFile(path)
    states = motion.speech_motion(audio, fps=FPS, still=True).states
    wanted = len(tracked) + max(offset, 0)
    predicted = np.array([predicted_opening(state) for state in islice(states, wanted)])
    here = np.arange(len(tracked))
    there = here + offset
    usable = np.isfinite(tracked) & (there >= 0) & (there < len(predicted))
    here, there = here[usable], there[usable]
    if len(here) < MIN_FRAMES:
        raise InputError(f"{path}: {len(here)} frames with face and sound, {MIN_FRAMES} are needed")
    true, guess = tracked[here], predicted[there]
    voice = voice_track(audio)
    speaking, silent = voice_at(voice, there)
    lag, r_lag = metrics.best_lag(guess, true, MAX_LAG)
    spread = float(true.std())
    return SpeakerResult(
        clip=path.stem,
        frames=len(here),
        r=metrics.correlation(guess, true),
        r_speech=metrics.correlation(guess[speaking], true[speaking]),
        lag=lag,
        r_lag=r_lag,
        amplitude=float(guess.std()) / spread if spread > 0 else float("nan"),
        silent_frames=int(silent.sum()),
        open_in_silence=float((guess[silent] > OPEN).mean()) if silent.any() else float("nan"),
    )


def opening(landmarks: np.ndarray) -> float:
    """Return the opening of landmarks (>= 468, 3) in any unit, 0 when closed."""
    right, left = EYE_CORNERS
    between = np.linalg.norm(landmarks[right] - landmarks[left])
    return float(np.linalg.norm(landmarks[UPPER_LIP] - landmarks[LOWER_LIP]) / between)


def predicted_opening(state: FaceState) -> float:
    """Return the opening of the mean face in a state, 0 where its lips would cross."""
    model = face.load_face_model()
    landmarks = model.landmarks(state.beta, np.zeros(len(model.landmark_identity), np.float32))
    crossed = landmarks[UPPER_LIP, 1] < landmarks[LOWER_LIP, 1]
    return 0.0 if crossed else opening(landmarks)


def tracked_opening(path: Path, seconds: float) -> np.ndarray:
    """Return (n,) opening of every frame of a clip's beginning, NaN where no face is."""
    reader = VideoReader(path, fps=FPS)
    tracker = face.FaceTracker(reader.size, fps=FPS)
    curve = []
    for frame in islice(reader, round(seconds * FPS)):
        seen = tracker.update(frame)
        curve.append(np.nan if seen is None else opening(seen.points))
    return np.array(curve)


def voice_at(voice: VoiceTrack, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two bool masks (n,) of video frames: within speech, and well within silence."""
    centres = np.minimum((frames / FPS * FRAME_RATE).astype(int), len(voice.active) - 1)
    margin = round(SILENCE_MARGIN_S * FRAME_RATE)
    near = np.convolve(voice.active, np.ones(2 * margin + 1), "same") > 0
    return voice.active[centres], ~near[centres]
