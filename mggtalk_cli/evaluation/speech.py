"""Speech against the speaker's own lips: predicted and tracked mouth of clips of people who talk.

Predicted: speech motion through the mean face. Tracked: 3D landmarks of the picture. Both as
opening and width of `core.mouth`; the clips of one speaker are pooled. A sound alone has nothing to
be compared with: there, chatter in pauses and a mouth that is stuck are looked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mggtalk_cli import face, motion
from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.mouth import MouthCurves, model_mouth, mouth_curves
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import mouth_scores as scores
from mggtalk_cli.motion.voice import FRAME_RATE, VoiceTrack, voice_track

FPS, SECONDS, MAX_LAG = 25.0, 30.0, 3
STILL = motion.SpeechStyle(head_scale=0.0)
MIN_FRAMES = 20  # correlations of less than a second mean nothing

# Silence is judged this far from any voice (the mouth opens before a sound and closes after it) ...
SILENCE_MARGIN_S = 0.2
# ... and a mouth is open there when its lips are farther apart than this (about 1 mm). A mouth that
# moves less than this is still.
OPEN = 0.012

_NUMBER = re.compile(r"_\d+$")


@dataclass(frozen=True)
class ClipMouth:
    """One clip, frame by frame of its picture.

    Attributes:
        path: the file.
        offset: frames by which its sound is late.
        tracked: the speaker's mouth, NaN where no face was found.
        predicted: the mouth by each variant, NaN where the clip has no sound.
        speaking: (n,) bool, within speech.
        silent: (n,) bool, well within silence.
        points: (n, 468, 3) float32 landmarks px, NaN where no face was found.
    """

    path: Path
    offset: float
    tracked: MouthCurves
    predicted: dict[str, MouthCurves]
    speaking: np.ndarray
    silent: np.ndarray
    points: np.ndarray

    @property
    def speaker(self) -> str:
        """The file name up to the last _NN."""
        return speaker_of(self.path)


@dataclass(frozen=True)
class SpeakerResult:
    """One speaker by one variant of speech motion.

    Attributes:
        speaker: whose clips they are.
        variant: a key of `motion.VARIANTS`.
        frames: frames with a face and sound.
        r: correlation of predicted and tracked opening.
        width_r: the same of the width.
        closed_found: share of the closed frames in speech found, see `mouth_scores`; chance .20.
        amplitude: standard deviation of opening, the mean face's over the speaker's, both in
            shares of the distance of the eye corners: people differ, so it means something as a
            median over speakers.
        width_amplitude: the same of the width.
        lag: frames by which the prediction is late, where r is best (-3..3).
        lag_r: r at that lag.
        open_in_silence: share of silent frames in which the predicted mouth is open; NaN without.
    """

    speaker: str
    variant: str
    frames: int
    r: float
    width_r: float
    closed_found: float
    amplitude: float
    width_amplitude: float
    lag: int
    lag_r: float
    open_in_silence: float


@dataclass(frozen=True)
class SoundResult:
    """One sound by one variant of speech motion.

    Attributes:
        sound: its name.
        variant: a key of `motion.VARIANTS`.
        seconds: how much of it was used.
        speech: share of the frames within speech.
        spread: standard deviation of the opening within speech.
        longest_still: seconds within speech in which the mouth did not move.
        open_in_silence: share of silent frames in which the mouth is open; NaN without silence.
        silence_to_speech: variance of opening in silence over that in speech; NaN without either.
    """

    sound: str
    variant: str
    seconds: float
    speech: float
    spread: float
    longest_still: float
    open_in_silence: float
    silence_to_speech: float


# ---------------------------------------------------------------- clips


def speaker_of(path: Path) -> str:
    """Return who talks in a clip: its name up to the last _NN.

    >>> speaker_of(Path("clips/ann_lee_02.mp4"))
    'ann_lee'
    """
    return _NUMBER.sub("", path.stem)


def clip_mouth(path: Path, *, offset: float = 0, seconds: float = SECONDS) -> ClipMouth:
    """Return the tracked mouth of a clip beside that of every variant.

    Args:
        path: a clip of a talking face with sound.
        offset: frames by which its sound is late.
        seconds: how much of its beginning is used.

    Raises:
        InputError: no sound, or no face.
    """
    if not VideoReader(path).has_audio:
        raise InputError(f"{path} has no sound: audio is scored on clips of people who talk")
    reader = VideoReader(path, fps=FPS)
    frames = islice(reader, round(seconds * FPS))
    points = np.array([place for _, place in tracked(frames, reader.size)])
    mouth = mouth_of(points)
    audio = AudioFile(path)
    heard = np.arange(len(points)) + offset
    # Sound that is late is still needed after the last frame, with a frame to interpolate to.
    wanted = len(points) + max(int(np.ceil(offset)), 0) + 1
    predicted = {
        variant: at_frames(predicted_mouth(audio, variant, wanted), heard) for variant in variants()
    }
    speaking, silent = voice_at(voice_track(audio), heard)
    return ClipMouth(path, offset, mouth, predicted, speaking, silent, points)


def variants() -> list[str]:
    """Return the names of speech motion's variants, the default first."""
    others = (name for name in motion.VARIANTS if name != motion.DEFAULT_VARIANT)
    return [motion.DEFAULT_VARIANT, *others]


def tracked(
    frames: Iterable[np.ndarray], size: tuple[int, int]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield every frame (H, W, 3) at 25 fps and its landmarks (468, 3) px, NaN without a face."""
    tracker = face.FaceTracker(size, fps=FPS)
    nobody = np.full((468, 3), np.nan, np.float32)
    for frame in frames:
        seen = tracker.update(frame)
        yield frame, nobody if seen is None else seen.points[:468]


def mouth_of(points: np.ndarray) -> MouthCurves:
    """Return the mouth of landmarks (n, 468, 3).

    Raises:
        InputError: no face at all.
    """
    if not len(points) or np.isnan(points).all():
        raise InputError(f"no face in {len(points)} frames")
    return mouth_curves(points)


def predicted_mouth(audio: AudioFile, variant: str, frames: int | None = None) -> MouthCurves:
    """Return the mean face's mouth at 25 fps, saying what is heard; all of it, or some frames."""
    states = motion.speech_motion(audio, fps=FPS, style=STILL, variant=variant).states
    return states_mouth(list(islice(states, frames)))


def states_mouth(states: Sequence[FaceState]) -> MouthCurves:
    """Return the mean face's mouth in some states."""
    model = face.load_face_model()
    betas = np.stack([state.beta for state in states])
    return model_mouth(model.landmarks(betas, np.zeros(len(model.landmark_identity), np.float32)))


def at_frames(curves: MouthCurves, heard: np.ndarray) -> MouthCurves:
    """Return curves at fractional frames (n,), NaN beyond their ends."""
    own = np.arange(len(curves.opening))
    return MouthCurves(*(np.interp(heard, own, c, left=np.nan, right=np.nan) for c in curves))


def voice_at(voice: VoiceTrack, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two bool masks (n,) of video frames: within speech, and well within silence."""
    centres = np.clip((frames / FPS * FRAME_RATE).astype(int), 0, len(voice.active) - 1)
    margin = round(SILENCE_MARGIN_S * FRAME_RATE)
    near = np.convolve(voice.active, np.ones(2 * margin + 1), "same") > 0
    return voice.active[centres], ~near[centres]


# ---------------------------------------------------------------- numbers


def speaker_results(clips: Sequence[ClipMouth]) -> list[SpeakerResult]:
    """Return one result per variant for the clips of one speaker.

    Raises:
        InputError: less than a second of face and sound.
    """
    return [_speaker_result(clips, variant) for variant in clips[0].predicted]


def _speaker_result(clips: Sequence[ClipMouth], variant: str) -> SpeakerResult:
    true, guess = [clip.tracked for clip in clips], [clip.predicted[variant] for clip in clips]
    opening = [c.opening for c in guess], [c.opening for c in true]
    width = [c.width for c in guess], [c.width for c in true]
    usable = np.isfinite(np.concatenate(opening[0])) & np.isfinite(np.concatenate(opening[1]))
    lips, own_lips, mouth, own_mouth, speaking, silent = (
        np.concatenate(pieces)[usable]
        for pieces in (*opening, *width, [c.speaking for c in clips], [c.silent for c in clips])
    )
    speaker = clips[0].speaker
    if len(lips) < MIN_FRAMES:
        raise InputError(f"{speaker}: {len(lips)} frames with face and sound, need {MIN_FRAMES}")
    closed = scores.closed_frames(own_lips)
    lag, lag_r = scores.pooled_lag(*opening, MAX_LAG)
    return SpeakerResult(
        speaker=speaker,
        variant=variant,
        frames=len(lips),
        r=scores.pooled_r(*opening),
        width_r=scores.pooled_r(*width),
        closed_found=scores.closed_found(lips[speaking], closed[speaking]),
        amplitude=scores.amplitude_ratio(lips, own_lips),
        width_amplitude=scores.amplitude_ratio(mouth, own_mouth),
        lag=lag,
        lag_r=lag_r,
        open_in_silence=_share(lips[silent] > OPEN),
    )


def sound_results(path: Path, *, seconds: float = SECONDS) -> list[SoundResult]:
    """Return how the mouth behaves in a sound, by every variant.

    Raises:
        InputError: unreadable, or no sound in it.
    """
    audio = AudioFile(path)
    voice = voice_track(audio)
    results = []
    for variant in variants():
        opening = predicted_mouth(audio, variant, round(seconds * FPS)).opening
        speaking, silent = voice_at(voice, np.arange(len(opening)))
        ratio = scores.amplitude_ratio(opening[silent], opening[speaking])
        still = scores.longest_still(opening, speaking, OPEN)
        results.append(
            SoundResult(
                sound=path.stem,
                variant=variant,
                seconds=len(opening) / FPS,
                speech=_share(speaking),
                spread=scores.spread(opening[speaking]),
                longest_still=still / FPS,
                open_in_silence=_share(opening[silent] > OPEN),
                silence_to_speech=ratio**2,
            )
        )
    return results


def _share(mask: np.ndarray) -> float:
    return float(mask.mean()) if mask.size else float("nan")
