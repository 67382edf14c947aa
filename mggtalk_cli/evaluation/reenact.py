"""Self-reenactment: frame 0 of a clip is the photo, the clip itself drives it, its frames are true.

Ours runs through the pipeline as a user's would (--crop none). Beside it stand frame 0 repeated,
its 2D warp by the true landmarks, the controls that expose blur (see `controls`), and the frames of
other programs. Frame 0 is not scored: repeating it is perfect there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from mggtalk_cli import pipeline
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.driver import Moment
from mggtalk_cli.evaluation import controls, fidelity, motion_scores, perception
from mggtalk_cli.evaluation.baselines import LandmarkWarp
from mggtalk_cli.evaluation.clips import Track, TrueClip, read_clip, track_faces
from mggtalk_cli.evaluation.fidelity import Yardstick
from mggtalk_cli.evaluation.labels import film_sheet
from mggtalk_cli.evaluation.metrics import distribution_scores, still_pixels
from mggtalk_cli.evaluation.networks import Networks
from mggtalk_cli.evaluation.peers import (
    check_clips,
    check_peers,
    peer_files,
    read_peer,
    write_frames,
)
from mggtalk_cli.evaluation.regions import REGIONS
from mggtalk_cli.evaluation.report import OURS, Metric
from mggtalk_cli.evaluation.runs import Measured, Protocol, Source

FRAMES, FPS, MAX_SIDE = 50, 25.0, 512

TRUTH, REPEAT, WARP, AVERAGE, BLUR = "truth", "repeat", "warp", "average", "blur"
CONTROLS = (AVERAGE, BLUR)  # made of other methods' frames: their faces are not tracked
METHODS = (OURS, REPEAT, WARP, *CONTROLS)

SHEET_FRAMES = 6
# Differences this large (of 1) are the brightest in an error map.
MAP_RANGE = 0.25

Driving = Callable[[pipeline.Drive], pipeline.Drive]
Films = dict[str, list[np.ndarray]]  # method -> frames (H, W, 3) uint8, frame 0 included
Table = dict[str, dict[str, float]]  # method -> metric -> number


@dataclass(frozen=True)
class ReenactOptions:
    """What a run of the protocol looks like.

    Attributes:
        frames: how many of each clip's first frames are used; the first one is the photo.
        fps: rate at which clips are read.
        max_side: larger clips are scaled down to this longer side, px.
        peers: folders of other programs' frames by name.
        kept: folder that every method's frames are written to, None to write none.
        variants: analytic or learned stages of ours.
    """

    frames: int = FRAMES
    fps: float = FPS
    max_side: int = MAX_SIDE
    peers: Mapping[str, Path] = field(default_factory=dict)
    kept: Path | None = None
    variants: pipeline.Variants = pipeline.ANALYTIC


def reenact_protocol(options: ReenactOptions, networks: Networks) -> Protocol:
    """Return the protocol; its sources are those of `with_peers`.

    Args:
        options: what is done.
        networks: for the metrics that need weights.

    Raises:
        InputError: another program's name or folder cannot be used.
    """
    check_peers(options.peers, (TRUTH, *METHODS))
    settings = {
        "frames": options.frames,
        "fps": options.fps,
        "max_side": options.max_side,
        "driving": "relative",
        "softest": controls.SOFTEST,
        "keep_frames": options.kept is not None,
        "variants": options.variants.settings,
        **networks.settings,
    }
    return Protocol(
        name="reenact",
        settings=settings,
        main="head_db",
        ours=OURS,
        others=(*METHODS[1:], *options.peers),
        metrics=reenact_metrics(networks),
        measure=lambda source: measure_clip(source, options, networks),
        left_out=perception.left_out(networks),
        overall=distribution_scores if networks.features is not None else None,
    )


def with_peers(clips: Sequence[Source], options: ReenactOptions) -> list[Source]:
    """Return clips together with what other programs made of each; a program may lack some.

    Raises:
        InputError: another program has nothing of any clip.
    """
    made = {
        name: {clip.name: peer_files(path, clip.name) for clip in clips}
        for name, path in options.peers.items()
    }
    for name, path in options.peers.items():
        missing = [clip for clip, files in made[name].items() if not files]
        check_clips(name, path, list(made[name]), missing)
    return [
        _with_peers(clip, {n: found[clip.name] for n, found in made.items()}, options)
        for clip in clips
    ]


def _with_peers(
    clip: Source, made: Mapping[str, tuple[Path, ...]], options: ReenactOptions
) -> Source:
    others = {name: files for name, files in made.items() if files}
    files = [path for found in others.values() for path in found[: options.frames]]
    return Source(clip.name, (clip.files[0], *files), others)


def measure_clip(source: Source, options: ReenactOptions, networks: Networks) -> Measured:
    """Return the numbers of every method on one clip.

    Raises:
        InputError: unreadable, too short, no face in the first frame, or another program's frames
            are too few or of another size.
    """
    clip = read_clip(source.files[0], options.frames, max_side=options.max_side, fps=options.fps)
    yard = Yardstick.of(clip)
    others: Films = {}
    for name, files in (source.detail or {}).items():
        others[name] = read_peer(files, options.frames, fps=options.fps)
        yard.check(others[name], f"--method {name}, {source.name}")
    states: list[FaceState] = []
    films = {**own_films(clip, yard, options.variants, watched(states)), **others}
    if options.kept is not None:
        write_frames(options.kept / source.name, {TRUTH: clip.frames, **films})
    tracks = {n: track_of(n, images, clip) for n, images in films.items() if n not in CONTROLS}
    scores = {name: yard.scores(images) for name, images in films.items()}
    tables = (
        {name: score.values for name, score in scores.items()},
        equal_scores(films, yard, {n: s.values["head_sharpness"] for n, s in scores.items()}),
        motion_table(films, tracks, clip),
        {OURS: motion_scores.tremor(states[: options.frames], clip)},
        {name: perception.closeness(i, clip.frames, networks) for name, i in films.items()},
        likeness_table(films, tracks, clip, networks),
    )
    kinds = scores[OURS].curves
    curves = {kind: {n: s.curves[kind] for n, s in scores.items()} for kind in kinds}
    curves["opening"] = motion_scores.openings({TRUTH: clip.track, **tracks})
    features = perception.features({TRUTH: clip.frames, **films}, networks)
    return Measured(merged(films, tables), curves, contact_sheet(films, clip), features)


def motion_table(films: Films, tracks: Mapping[str, Track], clip: TrueClip) -> Table:
    """Return how the face of every method moves, and how calm its frames are."""
    still = still_pixels(clip.frames[1:])
    table: Table = {}
    for name, images in films.items():
        track = tracks.get(name)
        table[name] = {} if track is None else motion_scores.against_truth(track, clip)
        table[name] |= motion_scores.steadiness(images, track, clip, still)
    return table


def likeness_table(
    films: Films, tracks: Mapping[str, Track], clip: TrueClip, networks: Networks
) -> Table:
    """Return whether it is still the same person; the controls' faces are where ours are."""
    likeness = perception.Likeness(clip.frames, clip.track, networks)
    return {n: likeness.scores(images, tracks.get(n, tracks[OURS])) for n, images in films.items()}


def merged(methods: Iterable[str], tables: Iterable[Mapping[str, Mapping[str, float]]]) -> Table:
    """Return one table of the numbers in all of them."""
    found: Table = {name: {} for name in methods}
    for table in tables:
        for name, values in table.items():
            found[name] |= values
    return found


def watched(states: list[FaceState]) -> Driving:
    """Return what changes nothing in a driver but keeps its states in a list as they pass."""

    def watch(driver: pipeline.Drive) -> pipeline.Drive:
        def passing() -> Iterator[Moment]:
            for moment in driver.moments:
                states.append(moment.state)
                yield moment

        return replace(driver, moments=passing())

    return watch


def own_films(
    clip: TrueClip,
    yard: Yardstick,
    variants: pipeline.Variants = pipeline.ANALYTIC,
    change: Driving | None = None,
) -> Films:
    """Return the frames of ours, of the baselines and of the controls.

    Args:
        clip: photo, driver and truth.
        yard: made of it.
        variants: see `reenacted`.
        change: see `reenacted`.
    """
    count = len(clip.frames)
    warp = LandmarkWarp(clip.frames[0], clip.track.points[0])
    driven = reenacted(clip.frames[0], clip.path, fps=clip.fps, variants=variants, change=change)
    ours = list(islice(driven, count))
    warped = [warp.to(points) for points in clip.track.held()]
    yard.check(ours, f"{clip.path.name} driven by itself")
    averaged = [controls.average(a, b) for a, b in zip(ours, warped, strict=True)]
    sharpness = [yard.head_sharpness(images) for images in (averaged, ours)]
    sigma = controls.matching_sigma(ours[1:], clip.heads[1:], controls.share(*sharpness))
    return {
        OURS: ours,
        REPEAT: [clip.frames[0]] * count,
        WARP: warped,
        AVERAGE: averaged,
        BLUR: [controls.blurred(image, sigma) for image in ours],
    }


def reenacted(
    photo: np.ndarray,
    clip: Path,
    *,
    fps: float = FPS,
    variants: pipeline.Variants = pipeline.ANALYTIC,
    change: Driving | None = None,
) -> Iterator[np.ndarray]:
    """Yield the photo (H, W, 3) uint8 driven by a clip, in the photo's own framing.

    Args:
        photo: the source.
        clip: the driver.
        fps: rate at which the clip is read.
        variants: analytic or learned stages.
        change: changes the driver before it is used, to find out what a part of it does.
    """
    options = pipeline.BuildOptions(size=max(photo.shape[:2]), crop="none")
    head = pipeline.build_head(photo, options, variants=variants)
    driver = pipeline.drive(str(clip), fps=fps)
    if change is not None:
        driver = change(driver)
    for frame in pipeline.animate(head, driver, variants=variants).frames:
        yield frame.image


def equal_scores(films: Films, yard: Yardstick, sharpness: Mapping[str, float]) -> Table:
    """Return the PSNR of every method once all are blurred to the sharpness of the softest one.

    Args:
        films: the methods' frames.
        yard: the true clip.
        sharpness: their head sharpness.
    """
    target = controls.common_sharpness(list(sharpness.values()))
    table: Table = {}
    for name, images in films.items():
        if not sharpness[name] >= target:
            continue  # softer than what the others are blurred to: nothing to be compared with
        kept = controls.share(target, sharpness[name])
        sigma = controls.matching_sigma(images[1:], yard.heads[1:], kept)
        soft = [controls.blurred(image, sigma) for image in images]
        errors = yard.errors(soft)
        table[name] = {f"{r}_db_equal": fidelity.pooled_psnr(e) for r, e in errors.items()}
        table[name] |= {"sharpness_equal": yard.head_sharpness(soft), "blur_px": sigma}
    return table


def track_of(name: str, images: list[np.ndarray], clip: TrueClip) -> Track:
    """Return the face in a method's frames."""
    if name == REPEAT:
        return clip.track.repeated(len(images))
    return track_faces(images, fps=clip.fps)


def contact_sheet(films: Films, clip: TrueClip) -> np.ndarray:
    """Return truth, methods, and the errors of ours and of the warp in some frames, (h, w, 3)."""
    chosen = fidelity.spread_frames(len(clip.frames), SHEET_FRAMES)
    shown = {TRUTH: clip.frames, **{n: i for n, i in films.items() if n not in CONTROLS}}
    rows = {name: [images[i] for i in chosen] for name, images in shown.items()}
    for name in (OURS, WARP):
        rows[f"error of {name}"] = [error_map(films[name][i], clip.frames[i]) for i in chosen]
    return film_sheet(rows)


def error_map(image: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8: mean |difference| of the colours, black 0, bright `MAP_RANGE`."""
    error = cv2.absdiff(image, truth).mean(-1) / (255 * MAP_RANGE)
    level = np.rint(255 * error.clip(0, 1)).astype(np.uint8)
    return np.ascontiguousarray(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO)[..., ::-1])


def reenact_metrics(networks: Networks) -> dict[str, Metric]:
    """Return how the protocol's numbers are to be read."""
    equal = (
        "after every method was blurred to the head sharpness of the clip's softest one; those "
        f"below {controls.SOFTEST:g} are left out"
    )
    found = fidelity.frame_metrics()
    found |= {
        f"{name}_db_equal": Metric(f"{name}_db {equal}", "higher", "dB", 2, key=name == "head")
        for name in REGIONS
    }
    found["sharpness_equal"] = Metric(f"head_sharpness {equal}", "none")
    found["blur_px"] = Metric("sigma of the Gaussian that blurred it so far", "none", "px", 2)
    return {
        **found,
        **motion_scores.truth_metrics(),
        **motion_scores.steadiness_metrics(),
        **perception.truth_metrics(networks),
    }
