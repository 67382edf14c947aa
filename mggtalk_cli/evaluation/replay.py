"""A clip that is tracked once and drives its own frame 0 again and again, with something changed.

The common ground of `noise` and `ablation`: frame 0 is the photo, the clip's frames are the truth,
and the films differ only in what was changed between tracker and pixels. Frame 0 is not scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from mggtalk_cli import pipeline
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.driver import DEFAULT_TRACK, Moment, drive_video
from mggtalk_cli.evaluation import controls, fidelity, metrics
from mggtalk_cli.evaluation.baselines import LandmarkWarp
from mggtalk_cli.evaluation.clips import TrueClip, read_clip
from mggtalk_cli.evaluation.fidelity import Yardstick
from mggtalk_cli.evaluation.labels import film_sheet
from mggtalk_cli.evaluation.report import Metric
from mggtalk_cli.evaluation.runs import Measured

SHEET_FRAMES = 6
MARGIN = 0.1  # of the head's longer side, around it in the sheet

# A film wins PSNR by being soft: each is measured once more after blurring to this share of the
# truth's gradients, which all but the uncompensated ones exceed.
EQUAL_SHARPNESS = 0.75

# A moment's index and state to the state used in its place.
Change = Callable[[int, FaceState], FaceState]
Film = Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Recording:
    """A driver whose moments can be had again.

    Attributes:
        drive: the driver; its own moments are used up.
        moments: what it did.
    """

    drive: pipeline.Drive
    moments: tuple[Moment, ...]

    def replayed(self, change: Change | None = None) -> pipeline.Drive:
        """Return the driver, its states changed one by one; the reference stays what it was."""
        moments = (
            moment if change is None else moment._replace(state=change(index, moment.state))
            for index, moment in enumerate(self.moments)
        )
        return replace(self.drive, moments=moments, sound=None, frame_count=len(self.moments))


def record(path: Path, frames: int, *, fps: float, track: str = DEFAULT_TRACK) -> Recording:
    """Return the first frames of a clip as a driver that can be replayed.

    Args:
        path: the clip.
        frames: how many.
        fps: rate at which it is read.
        track: one of `driver.TRACKS`.

    Raises:
        InputError: unreadable, or no face.
    """
    drive = drive_video(str(path), fps=fps, track=track)
    return Recording(drive, tuple(islice(drive.moments, frames)))


@dataclass(frozen=True)
class Take:
    """A clip as photo, driver and truth at once.

    Attributes:
        clip: the true frames and the face in them; the first frame is the photo.
        recording: the clip as a driver.
    """

    clip: TrueClip
    recording: Recording

    @property
    def photo(self) -> np.ndarray:
        """(H, W, 3) uint8: frame 0."""
        return self.clip.frames[0]

    def build_options(self) -> pipeline.BuildOptions:
        """Return the options that keep the clip's own framing."""
        return pipeline.BuildOptions(size=max(self.clip.size), crop="none")

    def baselines(self) -> dict[str, Film]:
        """Return frame 0 repeated, and frame 0 warped in 2D by the true landmarks."""
        points = self.clip.track.held()
        warp = LandmarkWarp(self.photo, points[0])
        return {
            "repeat": lambda: iter([self.photo] * len(points)),
            "warp": lambda: (warp.to(place) for place in points),
        }


def take_of(path: Path, *, frames: int, fps: float, max_side: int) -> Take:
    """Return the first frames of a clip, measured and tracked.

    Args:
        path: the clip.
        frames: how many.
        fps: rate at which it is read.
        max_side: larger clips are scaled down to this longer side, px.

    Raises:
        InputError: unreadable, too short, or no face in the first frame.
    """
    clip = read_clip(path, frames, max_side=max_side, fps=fps)
    return Take(clip, record(path, frames, fps=fps))


def played(
    head: pipeline.Artifact,
    drive: pipeline.Drive,
    options: pipeline.RenderOptions | None = None,
    variants: pipeline.Variants | None = None,
) -> Iterator[np.ndarray]:
    """Yield the frames (H, W, 3) uint8 of a driven head; variants as in `pipeline.animate`."""
    for frame in pipeline.animate(head, drive, options=options, variants=variants).frames:
        yield frame.image


def measure_films(take: Take, films: Mapping[str, Film]) -> Measured:
    """Return the numbers of every film of one clip, method by method, and a sheet of them all."""
    clip = take.clip
    yard = Yardstick.of(clip)
    chosen = fidelity.spread_frames(len(clip.frames), SHEET_FRAMES)
    values: dict[str, Mapping[str, float]] = {}
    curves: dict[str, dict[str, list[float]]] = {"head_db": {}}
    shown = head_window(clip)
    rows = {"truth": [clip.frames[index][shown] for index in chosen]}
    for name, film in films.items():
        images = list(islice(film(), len(clip.frames)))
        yard.check(images, name)
        scores = yard.scores(images)
        values[name] = {
            **scores.values,
            "head_db_equal": equal_psnr(images, yard, scores.values["head_sharpness"]),
            "flicker": metrics.temporal_flicker(images, clip.frames, clip.heads),
        }
        curves["head_db"][name] = scores.curves["head_db"]
        rows[name] = [images[index][shown] for index in chosen]
    return Measured(values, curves, film_sheet(rows))


def head_window(clip: TrueClip) -> tuple[slice, slice]:
    """Return the rows and columns of a clip that its head moves through, with a margin."""
    places = np.any(clip.heads, axis=0)
    if not places.any():
        return slice(None), slice(None)
    ends = [np.flatnonzero(places.any(axis))[[0, -1]] for axis in (1, 0)]
    margin = round(MARGIN * max(last - first for first, last in ends))
    rows, columns = (slice(max(first - margin, 0), last + margin + 1) for first, last in ends)
    return rows, columns


def equal_psnr(images: Sequence[np.ndarray], yard: Yardstick, sharpness: float) -> float:
    """Return the PSNR over the head of a film blurred to `EQUAL_SHARPNESS`; NaN of softer films.

    Args:
        images: its frames (H, W, 3) uint8.
        yard: the true clip.
        sharpness: of the film's heads.
    """
    if not sharpness >= EQUAL_SHARPNESS:
        return float("nan")
    sigma = controls.matching_sigma(images, yard.heads, EQUAL_SHARPNESS / sharpness)
    soft = [controls.blurred(image, sigma) for image in images]
    return fidelity.pooled_psnr(yard.errors(soft)["head"])


def film_metrics() -> dict[str, Metric]:
    """Return how the numbers of `measure_films` are to be read."""
    flicker = metrics.within("flicker", "the person around the face, above the neck")
    equal = Metric(
        f"head_db after blurring to a head sharpness of {EQUAL_SHARPNESS:g} of the truth's; none "
        "where a film is softer",
        *("higher", "dB", 2),
        key=True,
    )
    return {**fidelity.frame_metrics(), "head_db_equal": equal, "flicker": flicker}
