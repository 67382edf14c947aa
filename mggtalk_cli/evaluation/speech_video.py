"""Speech on a photo, measured in the finished picture: what is lost between motion and pixels.

A photo is animated by the sound of a clip, with head motion and blinks as a user gets them, and
the mouth is tracked again in the finished frames. Beside it stand the motion that was asked for
and, where the sound has a picture, the mouth of the person who said it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mggtalk_cli import pipeline
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.core.mouth import MouthCurves
from mggtalk_cli.driver import Moment, drive_audio
from mggtalk_cli.evaluation import mouth_scores as scores
from mggtalk_cli.evaluation import speech_strips as strips
from mggtalk_cli.evaluation.speech import (
    FPS,
    MAX_LAG,
    SECONDS,
    ClipMouth,
    at_frames,
    states_mouth,
    track_mouth,
)


@dataclass(frozen=True)
class VideoResult:
    """One photo saying one clip.

    Attributes:
        portrait: name of the photo.
        clip: name of the sound.
        frames: frames of the video.
        kept: correlation of the opening asked for with that in the pixels.
        kept_width: the same of the width.
        kept_amplitude: standard deviation of opening in the pixels over that asked for.
        lag: frames by which the pixels are late against the motion.
        r: correlation of the speaker's opening with the motion; NaN without a picture.
        r_pixels: the same with the pixels.
        lost: r - r_pixels.
        width_r: as `r`, of the width.
        width_r_pixels: as `r_pixels`, of the width.
        width_lost: width_r - width_r_pixels.
    """

    portrait: str
    clip: str
    frames: int
    kept: float
    kept_width: float
    kept_amplitude: float
    lag: int
    r: float
    r_pixels: float
    lost: float
    width_r: float
    width_r_pixels: float
    width_lost: float


@dataclass(frozen=True)
class SpokenVideo:
    """A photo that was made to speak.

    Attributes:
        asked: the mean face's mouth in the motion that was asked for.
        seen: the mouth tracked in the finished frames, NaN where no face was found.
        pictures: some of the frames, (H, W, 3) uint8, by index.
    """

    asked: MouthCurves
    seen: MouthCurves
    pictures: dict[int, np.ndarray]


def spoken_video(
    head: Artifact, sound: Path, *, seconds: float = SECONDS, keep: Container[int] = ()
) -> SpokenVideo:
    """Return the mouth asked for and the one in the finished frames of a head that speaks.

    Args:
        head: a head artifact.
        sound: any file with speech in it.
        seconds: how much of its beginning is used.
        keep: indices of the frames to hand back.

    Raises:
        InputError: no sound, or no face in the frames.
    """
    states: list[FaceState] = []
    pictures: dict[int, np.ndarray] = {}
    speech = drive_audio(AudioFile(sound), fps=FPS)

    def asked(moments: Iterable[Moment]) -> Iterator[Moment]:
        for moment in moments:
            states.append(moment.state)
            yield moment

    def shown(video: pipeline.Video) -> Iterator[np.ndarray]:
        for index, frame in enumerate(islice(video.frames, round(seconds * FPS))):
            if index in keep:
                pictures[index] = frame.image
            yield frame.image

    video = pipeline.animate(head, replace(speech, moments=asked(speech.moments)))
    seen = track_mouth(shown(video), (video.width, video.height))
    return SpokenVideo(states_mouth(states[: len(seen.opening)]), seen, pictures)


def video_result(portrait: str, video: SpokenVideo, talk: Talk) -> VideoResult:
    """Return what a video kept of the motion, and of the speaker's mouth where there is a clip."""
    asked, seen = video.asked, video.seen
    both = np.isfinite(seen.opening)
    motion_r, pixels_r = (_speaker_r(curves, talk.clip) for curves in (asked, seen))
    return VideoResult(
        portrait=portrait,
        clip=talk.path.stem,
        frames=len(seen.opening),
        kept=scores.pooled_r([asked.opening], [seen.opening]),
        kept_width=scores.pooled_r([asked.width], [seen.width]),
        kept_amplitude=scores.amplitude_ratio(seen.opening[both], asked.opening[both]),
        lag=scores.pooled_lag([seen.opening], [asked.opening], MAX_LAG)[0],
        r=motion_r[0],
        r_pixels=pixels_r[0],
        lost=motion_r[0] - pixels_r[0],
        width_r=motion_r[1],
        width_r_pixels=pixels_r[1],
        width_lost=motion_r[1] - pixels_r[1],
    )


def _speaker_r(curves: MouthCurves, clip: ClipMouth | None) -> tuple[float, float]:
    """Return r of opening and width with the speaker's own; NaN without a speaker."""
    if clip is None:
        return float("nan"), float("nan")
    heard = at_frames(curves, np.arange(len(clip.tracked.opening)) + clip.offset)
    pairs = zip(heard, clip.tracked, strict=True)
    opening, width = (scores.pooled_r([guess], [true]) for guess, true in pairs)
    return opening, width


# ---------------------------------------------------------------- portraits x talks


class Talk(NamedTuple):
    """What is said: a file, its clip where it has a picture, and the stretch shown in strips."""

    path: Path
    clip: ClipMouth | None
    shown: strips.Sentence | None = None


@dataclass(frozen=True)
class PortraitTalks:
    """One photo that said everything: the numbers and, if wanted, one strip per talk."""

    results: list[VideoResult]
    rows: list[np.ndarray]


def portrait_talks(
    photo: Path, talks: Sequence[Talk], build: pipeline.BuildOptions, *, seconds: float = SECONDS
) -> PortraitTalks:
    """Return the measurements of one photo that says everything.

    Raises:
        InputError: unreadable, or no face in the photo or in its video.
    """
    head = pipeline.build_head(read_photo(photo), build)
    done = PortraitTalks([], [])
    for talk in talks:
        frames = [] if talk.shown is None else talk.shown.frames
        video = spoken_video(head, talk.path, seconds=seconds, keep=frames)
        done.results.append(video_result(photo.stem, video, talk))
        done.rows.append(strips.strip(photo.stem, video.pictures, frames))
    return done


def strip_sheet(talks: Sequence[Talk], portraits: Sequence[PortraitTalks]) -> np.ndarray:
    """Return a picture (H, W, 3) uint8: per talk its phones, the speaker, and every portrait."""
    rows = []
    for index, talk in enumerate(talks):
        shown = talk.shown or strips.Sentence([], [])
        rows.append(strips.heading(talk.path.stem, shown.phones))
        if talk.clip is not None:
            own = [round(frame - talk.clip.offset) for frame in shown.frames]
            rows.append(strips.strip("the speaker", strips.clip_pictures(talk.path, own), own))
        rows += [portrait.rows[index] for portrait in portraits]
    return np.vstack(rows)
