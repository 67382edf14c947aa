"""Speech on a photo, measured in the finished picture: what is lost between motion and pixels.

A photo is animated by the sound of a clip, with head motion and blinks as a user gets them, and
the mouth is tracked again in the finished frames. Beside it stand the motion that was asked for
and, where the sound has a picture, the mouth of the person who said it.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mggtalk_cli import pipeline
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.image import fit_longer_side
from mggtalk_cli.core.mouth import MouthCurves
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.driver import Moment, drive_audio
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import mouth_scores as scores
from mggtalk_cli.evaluation import speech_strips as strips
from mggtalk_cli.evaluation.mouth_crops import MouthCutter
from mggtalk_cli.evaluation.mouth_crops import mouth_scores as crop_scores
from mggtalk_cli.evaluation.speech import (
    FPS,
    MAX_LAG,
    SECONDS,
    ClipMouth,
    at_frames,
    mouth_of,
    states_mouth,
    tracked,
)
from mggtalk_cli.motion import SpeechStyle

# What the head does: move as a talker's, or stay as in the photo; factors on its motion.
FREE, FIXED = "free", "fixed"
HEAD_SCALE = {FREE: 1.0, FIXED: 0.0}


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
        mouths: the mouth of every frame, see `mouth_crops`; empty where nobody cuts.
    """

    asked: MouthCurves
    seen: MouthCurves
    pictures: dict[int, np.ndarray]
    mouths: list[np.ndarray | None] = field(default_factory=list)


def style_of(pose: str) -> SpeechStyle:
    """Return how somebody talks whose head is "free" to move, or "fixed" as in the photo."""
    return SpeechStyle(head_scale=HEAD_SCALE[pose])


def spoken_frames(
    head: Artifact, sound: Path, *, pose: str = FREE, states: list[FaceState] | None = None
) -> pipeline.Video:
    """Return the film at 25 fps of a head that speaks.

    Args:
        head: a head artifact.
        sound: any file with speech in it.
        pose: a key of `HEAD_SCALE`.
        states: gets the motion that is asked for, frame by frame.
    """
    speech = drive_audio(AudioFile(sound), fps=FPS, style=style_of(pose))

    def noted(moments: Iterable[Moment]) -> Iterator[Moment]:
        for moment in moments:
            if states is not None:
                states.append(moment.state)
            yield moment

    return pipeline.animate(head, replace(speech, moments=noted(speech.moments)))


def spoken_video(
    head: Artifact,
    sound: Path,
    *,
    seconds: float = SECONDS,
    pose: str = FREE,
    keep: Container[int] = (),
    cutter: MouthCutter | None = None,
) -> SpokenVideo:
    """Return the mouth asked for and the one in the finished frames of a head that speaks.

    Args:
        head: a head artifact.
        sound: any file with speech in it.
        seconds: how much of its beginning is used.
        pose: a key of `HEAD_SCALE`.
        keep: indices of the frames to hand back.
        cutter: cuts the mouth out of every frame.

    Raises:
        InputError: no sound, or no face in the frames.
    """
    states: list[FaceState] = []
    pictures: dict[int, np.ndarray] = {}
    mouths: list[np.ndarray | None] = []
    places: list[np.ndarray] = []
    video = spoken_frames(head, sound, pose=pose, states=states)
    images = (frame.image for frame in islice(video.frames, round(seconds * FPS)))
    for index, (image, points) in enumerate(tracked(images, (video.width, video.height))):
        places.append(points)
        if index in keep:
            pictures[index] = image
        if cutter is not None:
            mouths.append(cutter.cut(image, points))
    seen = mouth_of(np.array(places))
    return SpokenVideo(states_mouth(states[: len(places)]), seen, pictures, mouths)


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


class Talk(NamedTuple):
    """What is said: a file, its clip where it has a picture, and the stretch shown in strips."""

    path: Path
    clip: ClipMouth | None
    shown: strips.Sentence | None = None


def strip_sheet(name: str, video: SpokenVideo, talk: Talk) -> np.ndarray | None:
    """Return mouths beside phones (H, W, 3) uint8: the speaker's and those of a photo's film."""
    if talk.shown is None:
        return None
    frames = talk.shown.frames
    rows = [strips.heading(talk.path.stem, talk.shown.phones)]
    if talk.clip is not None:
        own = [round(frame - talk.clip.offset) for frame in frames]
        rows.append(strips.strip("the speaker", strips.clip_pictures(talk.path, own), own))
    return np.vstack([*rows, strips.strip(name, video.pictures, frames)])


# ---------------------------------------------------------------- frame 0 says its own sound


@dataclass(frozen=True)
class TrueMouths:
    """The mouths of a clip as they would lie in its frame 0.

    Attributes:
        photo: (H, W, 3) uint8, frame 0.
        cutter: cuts mouths as they are here.
        mouths: of every frame, None without a face.
    """

    photo: np.ndarray
    cutter: MouthCutter
    mouths: list[np.ndarray | None]


def true_mouths(clip: ClipMouth, *, max_side: int = 512) -> TrueMouths:
    """Return the mouths of a clip at 25 fps.

    Args:
        clip: a clip of one face.
        max_side: larger clips are scaled down to this longer side, px.

    Raises:
        InputError: no face in frame 0, which has to serve as the photo.
    """
    if not np.isfinite(clip.points[0]).all():
        raise InputError(f"{clip.path.name}: no face in frame 0, which has to serve as the photo")
    reader = VideoReader(clip.path, fps=FPS)
    side = min(max(reader.size), max_side)
    frames = (fit_longer_side(frame, side) for frame in reader)
    first = next(frames)
    cutter = MouthCutter(first.points(clip.points[0, :, :2]))
    # A clip's frames may outnumber those that were tracked.
    seen = zip(chain([first], frames), clip.points, strict=False)
    mouths = [cutter.cut(frame.image, frame.points(place[:, :2])) for frame, place in seen]
    return TrueMouths(first.image, cutter, mouths)


def own_mouth_scores(video: SpokenVideo, true: TrueMouths, offset: float) -> dict[str, float]:
    """Return the numbers of `mouth_scores` for frame 0 that says its own sound.

    Args:
        video: the film; frame i says what is heard then.
        true: the clip.
        offset: frames by which the clip's sound is late.
    """
    late = round(offset)
    pairs = [
        (video.mouths[index + late], mouth)
        for index, mouth in enumerate(true.mouths)
        if index and 0 <= index + late < len(video.mouths)
    ]
    return crop_scores([film for film, _ in pairs], [mouth for _, mouth in pairs])


def repeated_mouth_scores(true: TrueMouths) -> dict[str, float]:
    """Return the same numbers for frame 0 that stays as it is."""
    return crop_scores([true.mouths[0]] * (len(true.mouths) - 1), true.mouths[1:])
