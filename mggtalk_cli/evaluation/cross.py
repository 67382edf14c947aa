"""Cross-reenactment: a photo, or frame 0 of a clip, is driven by the clip of somebody else.

There are no true frames. What is measured is whether the person stays the same (CSIM with the
photo), whether expression and pose follow the driver (AED, APD and those of the changes since frame
0), whether the head stays as sharp as in the photo, and whether it shakes. Ours runs as a user's
would; beside it stand the photo repeated, and its 2D warp by the driver's landmark motion.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from mggtalk_cli import pipeline
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.core.mouth import EYE_CORNERS
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import metrics, motion_scores, perception
from mggtalk_cli.evaluation.baselines import LandmarkWarp
from mggtalk_cli.evaluation.clips import (
    PHOTO_SUFFIXES,
    Track,
    head_masks,
    read_frames,
    track_faces,
)
from mggtalk_cli.evaluation.fidelity import mean_of, spread_frames
from mggtalk_cli.evaluation.labels import film_sheet
from mggtalk_cli.evaluation.metrics import METRICS
from mggtalk_cli.evaluation.metrics.image import FLAT
from mggtalk_cli.evaluation.networks import Networks
from mggtalk_cli.evaluation.reenact import (
    FPS,
    FRAMES,
    MAX_SIDE,
    REPEAT,
    SHEET_FRAMES,
    WARP,
    Films,
)
from mggtalk_cli.evaluation.report import OURS, Metric
from mggtalk_cli.evaluation.runs import Measured, Protocol, Source

PHOTO, DRIVER = "photo", "driver"
SHARPNESS_FRAMES = 10  # at most so many, evenly spread, are matted
MAX_LIST_BYTES = 4 << 20  # a list of pairs is a small text file


@dataclass(frozen=True)
class CrossOptions:
    """What a run of the protocol looks like.

    Attributes:
        frames: how many of each driver's first frames are used.
        fps: rate at which drivers are read.
        max_side: longer side of photos of the faces, and of larger clips, px.
        variants: analytic or learned stages of ours.
    """

    frames: int = FRAMES
    fps: float = FPS
    max_side: int = MAX_SIDE
    variants: pipeline.Variants = pipeline.ANALYTIC


@dataclass(frozen=True)
class Pair:
    """A photo, or a clip whose frame 0 serves as one, and the clip that drives it."""

    photo: Path
    driver: Path


def cross_protocol(options: CrossOptions, networks: Networks) -> Protocol:
    """Return the protocol; its sources are those of `all_pairs` or `listed_pairs`."""
    return Protocol(
        name="reenact-cross",
        settings={
            "frames": options.frames,
            "fps": options.fps,
            "max_side": options.max_side,
            "driving": "relative",
            "variants": options.variants.settings,
            **networks.settings,
        },
        main="aed_change",
        ours=OURS,
        others=(REPEAT, WARP),
        metrics=cross_metrics(networks),
        measure=lambda source: measure_pair(source.detail, options, networks),
        left_out=perception.left_out(networks, truth=False),
    )


def all_pairs(photos: Sequence[Path], clips: Sequence[Source]) -> list[Source]:
    """Return every photo, and frame 0 of every clip, driven by every clip of somebody else.

    Args:
        photos: photos of one face each.
        clips: what `datasets.find_clips` returned.

    Raises:
        InputError: there is no such pair.
    """
    pairs = [_pair(photo.stem, photo, clip) for photo in photos for clip in clips]
    pairs += [
        _pair(one.name, one.files[0], other)
        for one in clips
        for other in clips
        if one.detail.identity != other.detail.identity
    ]
    if not pairs:
        raise InputError(
            "--cross all: no two clips of different people (NAME_01, NAME_02 are one person's); "
            "add clips or photos of others, or list the pairs"
        )
    return pairs


def listed_pairs(table: Path, photos: Sequence[Path], clips: Sequence[Source]) -> list[Source]:
    """Return the pairs of a list: lines PHOTO,DRIVER, each the name of a photo or clip given.

    Args:
        table: text file; empty lines, those that begin with #, and a line "source,driver" do not
            count.
        photos: photos that may serve.
        clips: what `datasets.find_clips` returned; they may serve as both.

    Raises:
        InputError: unreadable, no pairs, or a line that names nothing that was given.
    """
    drivers = {clip.name: clip for clip in clips}
    known = {**{p.stem: p for p in photos}, **{name: c.files[0] for name, c in drivers.items()}}
    pairs = {}
    for number, (photo, driver) in _lines(table):
        for name, names in ((photo, known), (driver, drivers)):
            if _stem(name) not in names:
                kind = "photo or clip" if names is known else "clip"
                raise InputError(f"{table}, line {number}: no {kind} {name!r} was given")
        pair = _pair(_stem(photo), known[_stem(photo)], drivers[_stem(driver)])
        pairs[pair.name] = pair
    if not pairs:
        raise InputError(f"{table} lists no pairs: lines PHOTO,DRIVER are expected")
    return list(pairs.values())


def measure_pair(pair: Pair, options: CrossOptions, networks: Networks) -> Measured:
    """Return the numbers of one photo driven by one clip.

    Raises:
        InputError: unreadable, too short, or no face in the photo or in the driver's first frame.
    """
    head = pipeline.build_head(*_photo_of(pair.photo, options), variants=options.variants)
    photo = np.asarray(head.arrays["image"])
    size = options.max_side
    frames = read_frames(pair.driver, options.frames, max_side=size, fps=options.fps)
    driver = track_faces(frames, fps=options.fps)
    if driver.states[0] is None:
        raise InputError(f"{pair.driver.name}: no face in the first frame, nothing can be compared")
    rest = track_faces([photo], fps=options.fps)
    if rest.states[0] is None:
        raise InputError(f"{pair.photo.name}: the tracker finds no face in the photo")
    films = {
        OURS: list(islice(_driven(head, pair.driver, options), options.frames)),
        REPEAT: [photo] * len(frames),
        WARP: _warped(photo, rest, driver),
    }
    likeness = perception.Likeness([photo], rest, networks)
    values, tracks = {}, {}
    for name, images in films.items():
        still = name == REPEAT
        track = rest.repeated(len(images)) if still else track_faces(images, fps=options.fps)
        tracks[name] = track
        values[name] = {
            **motion_scores.against_driver(track, driver),
            "photo_sharpness": photo_sharpness(images, track, photo, rest),
            "pose_jitter": metrics.pose_jitter(motion_scores.rotations(track)[1:]),
            **likeness.scores(images, track),
        }
    curves = {"opening": motion_scores.openings({DRIVER: driver, **tracks})}
    return Measured(values, curves, _sheet(photo, frames, films))


def photo_sharpness(
    images: Sequence[np.ndarray], track: Track, photo: np.ndarray, rest: Track
) -> float:
    """Return the head's mean gradient magnitude in some of the frames over that in the photo.

    Args:
        images: (H, W, 3) uint8 frames.
        track: the face in them; frames without one do not count.
        photo: (H, W, 3) uint8.
        rest: the face in the photo.
    """
    [true] = _head_gradients([photo], rest.points[:1])
    chosen = [i for i in spread_frames(len(images), SHARPNESS_FRAMES) if track.found[i]]
    own = _head_gradients([images[i] for i in chosen], track.points[chosen])
    return mean_of(own) / true if true > FLAT * 255 else float("nan")


def cross_metrics(networks: Networks) -> dict[str, Metric]:
    """Return how the protocol's numbers are to be read."""
    found = motion_scores.driver_metrics()
    if networks.identity is not None:
        found["csim"] = METRICS["csim"]
    found["photo_sharpness"] = Metric(
        "mean gradient magnitude of the head over the photo's", "one", key=True
    )
    found["pose_jitter"] = METRICS["pose_jitter"]
    return found


def _pair(name: str, photo: Path, driver: Source) -> Source:
    path = driver.files[0]
    return Source(f"{name}--{driver.name}", (photo, path), Pair(photo, path))


def _stem(name: str) -> str:
    """Return a name without the suffix of a photo or a clip."""
    path = Path(name)
    return path.stem if path.suffix else name


def _lines(table: Path) -> Iterable[tuple[int, tuple[str, str]]]:
    """Yield the number and the two names of every line that counts."""
    try:
        if table.stat().st_size > MAX_LIST_BYTES:
            raise InputError(f"{table} is no list of pairs: it is larger than 4 MiB")
        text = table.read_text("utf-8-sig")
    except OSError as error:
        raise InputError(
            f"--cross {table}: {error.strerror or error}; all, or a file of pairs, is expected"
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"{table} is no text: lines PHOTO,DRIVER are expected") from None
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in next(csv.reader([line]), [])]
        if not any(cells) or cells[0].startswith("#") or cells == ["source", "driver"]:
            continue
        if len(cells) != 2:
            raise InputError(f"{table}, line {number}: {line[:80]!r} is not PHOTO,DRIVER")
        yield number, (cells[0], cells[1])


def _photo_of(path: Path, options: CrossOptions) -> tuple[np.ndarray, pipeline.BuildOptions]:
    """Return a photo, framed as `build-head` frames it, or frame 0 of a clip, as it is."""
    if path.suffix.lower() in PHOTO_SUFFIXES:
        return read_photo(path), pipeline.BuildOptions(size=options.max_side)
    [frame] = read_frames(path, 1, max_side=options.max_side, fps=options.fps)
    return frame, pipeline.BuildOptions(size=max(frame.shape[:2]), crop="none")


def _driven(head: Artifact, driver: Path, options: CrossOptions) -> Iterable[np.ndarray]:
    drive = pipeline.drive(str(driver), fps=options.fps)
    film = pipeline.animate(head, drive, variants=options.variants)
    return (frame.image for frame in film.frames)


def _warped(photo: np.ndarray, rest: Track, driver: Track) -> list[np.ndarray]:
    """Return the photo warped by the driver's landmark motion, scaled by the size of the faces."""
    warp = LandmarkWarp(photo, rest.points[0])
    scale = _eye_distance(rest) / _eye_distance(driver)
    moved = driver.held()
    return [warp.to(rest.points[0] + scale * (points - moved[0])) for points in moved]


def _eye_distance(track: Track) -> float:
    """Return the distance of the outer eye corners in the first frame, px."""
    right, left = (track.points[0, corner] for corner in EYE_CORNERS)
    return max(float(np.linalg.norm(right - left)), 1e-3)


def _head_gradients(images: Sequence[np.ndarray], points: np.ndarray) -> list[float]:
    """Return the mean gradient magnitude within every head, NaN where there is none."""
    found = []
    for image, head in zip(images, head_masks(images, points), strict=True):
        inside = metrics.gradient_magnitude(image)[head]
        found.append(float(inside.mean()) if inside.size else float("nan"))
    return found


def _sheet(photo: np.ndarray, frames: Sequence[np.ndarray], films: Films) -> np.ndarray:
    """Return the photo, the driver and the methods in some frames, (h, w, 3) uint8."""
    chosen = spread_frames(len(frames), SHEET_FRAMES)
    rows = {PHOTO: [photo], DRIVER: [frames[i] for i in chosen]}
    rows |= {n: [images[i] for i in chosen] for n, images in films.items() if n != REPEAT}
    return film_sheet(rows)
