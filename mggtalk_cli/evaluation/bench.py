"""How fast every stage runs on this machine: medians of several interleaved rounds.

The real pipeline is run, not a copy of it: while a round runs, each stage function is replaced by
one that also books its time, so the split cannot drift from what users get. Builds and animations
take turns, so that a busy neighbour slows all of them alike. The first round loads models and
compiled kernels; it is reported apart from the others. CUDA works while Python goes on, so there
every stage waits for its own kernels.
"""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mggtalk_cli import __version__, deform, face, head, inpaint, pipeline, render, splat
from mggtalk_cli.artifacts import Artifact
from mggtalk_cli.core.encode import frame_writer
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.drawing import choose_device
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.machine import Machine, describe_machine, load_average
from mggtalk_cli.evaluation.stopwatch import RENDER_STAGES, Stopwatch, Times
from mggtalk_cli.evaluation.synthetic_portrait import draw_portrait, write_voice

# Frames animated in each round: enough that the encoder's look-ahead is filled.
FRAMES = 25

# Stage -> the functions it consists of: (module, name) as `pipeline` and `portrait` call them.
BUILD_STAGES: dict[str, tuple[tuple[Any, str], ...]] = {
    "detect + landmarks": ((face, "detect_faces"), (face, "find_landmarks")),
    "matte": ((face, "person_mask"),),
    "fit": ((face, "fit_face"),),
    "depth + normals": ((head, "head_view"), (head, "estimate")),
    "integration": ((head, "build_surface"),),
    "binding": ((deform, "bind_face"),),
    "unseen side, eyes, mouth": (
        *((head, "complete_by_symmetry"), (head, "back_shell")),
        *((deform, "eye_sheets"), (deform, "mouth_sheets")),
    ),
    "background": ((inpaint, "fill_behind"), (inpaint, "fill_unknown")),
    "compensation": ((splat, "precompensate"),),
}
FRAME_STAGES: dict[str, tuple[tuple[Any, str], ...]] = {
    "deform": ((deform, "retarget"),),
    "to rgba": ((pipeline, "to_rgba"),),
}
# Stage -> the method of `Variants` that makes its function, analytic or learned, of a head.
MADE_STAGES = {"deform": "deformer", "decode": "gaussians_of", "finish": "finisher"}
# What is done once per head, and after the frames are finished.
START, ENCODE, REST = "start", "encode", "rest"


class Timing(NamedTuple):
    """Milliseconds of one stage: median, least and most of the rounds."""

    median: float
    least: float
    most: float


@dataclass(frozen=True)
class Run:
    """One kind of work: its stages in order, and all of it.

    Attributes:
        name: "build-head", "animate (audio)" or "animate (video)".
        unit: what one measurement is: "head" or "frame".
        first_ms: the whole of it in the first round, which loads models and kernels.
        stages: milliseconds per unit; "rest" is what no stage accounts for.
        total: milliseconds per unit.
    """

    name: str
    unit: str
    first_ms: float
    stages: dict[str, Timing]
    total: Timing

    @property
    def per_second(self) -> float:
        """Units a second, by the median."""
        return 1e3 / max(self.total.median, 1e-9)

    @property
    def finished_per_second(self) -> float:
        """The same from driver to finished frames: without what is done once, and the encoder."""
        aside = (self.stages[name].median for name in (START, ENCODE) if name in self.stages)
        return 1e3 / max(self.total.median - sum(aside), 1e-9)


@dataclass(frozen=True)
class Bench:
    """The whole measurement; `points` is the number of Gaussians of the head.

    `device` says what rendered and ran networks, `variants` of every stage whether it was analytic,
    or which weights it had.
    """

    version: str
    machine: Machine
    device: str
    photo: str
    size: int
    rounds: int
    frames: int
    points: int
    variants: dict[str, str]
    runs: list[Run]


@contextmanager
def watched(watch: Stopwatch, stages: dict[str, tuple[tuple[Any, str], ...]]) -> Iterator[None]:
    """Time these stages, and the renderer, while the context lasts."""
    with ExitStack() as undo:
        for stage, functions in stages.items():
            for module, name in functions:
                original = getattr(module, name)
                undo.callback(setattr, module, name, original)
                setattr(module, name, watch.timed(stage, original))
        for stage, name in MADE_STAGES.items():
            made = getattr(pipeline.Variants, name)
            undo.callback(setattr, pipeline.Variants, name, made)
            setattr(pipeline.Variants, name, watch.making(stage, made))
        undo.callback(setattr, render, "rasterization", render.rasterization)
        render.rasterization = watch.rendering(render.rasterization)
        yield


def bench(
    photo: str | None = None,
    *,
    audio: str | None = None,
    video: str | None = None,
    size: int = 512,
    rounds: int = 5,
    frames: int = FRAMES,
    device: str = pipeline.RenderOptions.device,
    variants: pipeline.Variants = pipeline.ANALYTIC,
    progress: Callable[[Iterator[int], int], Iterator[int]] | None = None,
) -> Bench:
    """Return how long each stage takes here.

    Args:
        photo: path of a photo; a made-up face without one.
        audio: path of speech; made-up babble without one.
        video: path of a clip that drives too; without one no video is tracked.
        size: working size, px.
        rounds: measured rounds, after one that is not counted.
        frames: frames animated in each round.
        device: "auto", "cpu" or "cuda", where heads are animated; they are built on the CPU.
        variants: analytic or learned stages.
        progress: wraps the loop over rounds (items, count) to show how far it is.

    Raises:
        InputError: no rounds or frames, or see `pipeline`.
        BackendError: CUDA was asked for and does not work.
    """
    if rounds < 1 or frames < 1:
        raise InputError(f"{rounds} rounds of {frames} frames measure nothing: use at least one")
    device = choose_device(device)
    picture = draw_portrait() if photo is None else read_photo(photo)
    before = load_average()
    built: list[Artifact] = []
    with tempfile.TemporaryDirectory(prefix="mggtalk-bench-") as folder:
        if audio is None:
            audio = str(Path(folder) / "voice.wav")
            write_voice(Path(audio), 0.2 + frames / 25)
        film = Path(folder) / "film.mp4"
        animated = partial(_animate, built, film=film, device=device, variants=variants)
        works: dict[str, Callable[[], Times]] = {
            "build-head": lambda: _build(picture, size, built, variants),
            "animate (audio)": lambda: animated(Source(audio, "speech", frames)),
        }
        if video is not None:
            works["animate (video)"] = lambda: animated(Source(video, "track", frames))
        seen = _taking_turns(works, rounds, progress)
    return Bench(
        version=__version__,
        machine=describe_machine(before),
        device=device if device == "cpu" else render.cuda_status()[1],
        photo="made-up face" if photo is None else Path(photo).name,
        size=size,
        rounds=rounds,
        frames=frames,
        points=len(built[-1].arrays["positions"]),
        variants=variants.settings,
        runs=[_run(name, times) for name, times in seen.items()],
    )


def _taking_turns(
    works: dict[str, Callable[[], Times]],
    rounds: int,
    progress: Callable[[Iterator[int], int], Iterator[int]] | None,
) -> dict[str, list[Times]]:
    """Return what each work took in every round, the one to warm up first."""
    seen: dict[str, list[Times]] = {name: [] for name in works}
    numbers: Iterator[int] = iter(range(rounds + 1))
    for _ in numbers if progress is None else progress(numbers, rounds + 1):
        for name, work in works.items():
            seen[name].append(work())
    return seen


def _build(
    picture: np.ndarray, size: int, built: list[Artifact], variants: pipeline.Variants
) -> Times:
    """Build a head; return milliseconds per stage, in their order."""
    watch = Stopwatch()
    begin = time.perf_counter()
    with watched(watch, BUILD_STAGES):
        options = pipeline.BuildOptions(size=size)
        built[:] = [pipeline.build_head(picture, options, variants=variants)]
    return _booked(watch, BUILD_STAGES, time.perf_counter() - begin, 1)


class Source(NamedTuple):
    """What drives a head: a file, the stage that reads it, and how many frames are taken."""

    path: str
    stage: str
    frames: int


def _animate(
    built: list[Artifact], source: Source, *, film: Path, device: str, variants: pipeline.Variants
) -> Times:
    """Animate the head built last into a film; return milliseconds per stage and frame."""
    watch, options = Stopwatch(device), pipeline.RenderOptions(device=device)
    begin = time.perf_counter()
    with watched(watch, FRAME_STAGES):
        driver = watch.timed(source.stage, pipeline.drive)(source.path)
        moments = watch.pulled(source.stage, itertools.islice(driver.moments, source.frames))
        driver = replace(driver, moments=moments)
        start = watch.timed(START, pipeline.animate)
        talk = start(built[-1], driver, options=options, variants=variants)
        count = _encode(watch, talk, film)
    drawing = (*RENDER_STAGES[device], "to rgba", "finish", ENCODE)
    order = (START, source.stage, "deform", "decode", *drawing)
    return _booked(watch, order, time.perf_counter() - begin, count)


def _encode(watch: Stopwatch, talk: pipeline.Video, film: Path) -> int:
    begin = time.perf_counter()
    with frame_writer(
        film, talk.width, talk.height, talk.fps,
        audio_rate=talk.audio_rate, audio_channels=talk.audio_channels or 1, overwrite=True,
    ) as writer:  # fmt: skip
        watch.add(ENCODE, time.perf_counter() - begin)
        write = watch.timed(ENCODE, writer.write)
        for frame in talk.frames:
            write(frame.image, frame.audio)
        begin = time.perf_counter()
    watch.add(ENCODE, time.perf_counter() - begin)
    return writer.frames


def _booked(watch: Stopwatch, order: Any, seconds: float, count: int) -> Times:
    spent = {stage: watch.seconds.get(stage, 0.0) for stage in order}
    spent[REST] = seconds - sum(spent.values())
    spent["total"] = seconds
    return {stage: 1e3 * value / count for stage, value in spent.items()}


def _run(name: str, times: list[Times]) -> Run:
    first, *rounds = times
    timings = {stage: timing_of([spent[stage] for spent in rounds]) for stage in first}
    total = timings.pop("total")
    unit = "head" if name == "build-head" else "frame"
    return Run(name, unit, first["total"], timings, total)


def timing_of(values: list[float]) -> Timing:
    """Return median, least and most of the rounds."""
    return Timing(statistics.median(values), min(values), max(values))
