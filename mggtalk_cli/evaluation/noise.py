"""Noise on the expression coefficients: how much does a head suffer from a nervous tracker?

Self-reenactment with beta + sigma N(0, 1) in place of beta (the paper's Table 8, sigma .05, .1 and
.2). The 52 ARKit-named coefficients stand for the paper's 64; both are of the order of one. Every
frame and coefficient gets its own noise, nothing is clipped, and all levels share one draw, so that
they differ by strength alone. Pose, gaze and what the coefficients leave over stay as tracked.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from mggtalk_cli import pipeline
from mggtalk_cli.core.expression import ARKIT_NAMES, FaceState
from mggtalk_cli.evaluation.replay import Film, Take, film_metrics, measure_films, played, take_of
from mggtalk_cli.evaluation.report import OURS
from mggtalk_cli.evaluation.runs import Measured, Protocol, Source

LEVELS = (0.05, 0.1, 0.2)
FRAMES, FPS, MAX_SIDE = 50, 25.0, 512


def noise_protocol(
    *,
    levels: Sequence[float] = LEVELS,
    seed: int = 0,
    frames: int = FRAMES,
    fps: float = FPS,
    max_side: int = MAX_SIDE,
) -> Protocol:
    """Return the protocol; its sources are clips of one face.

    Args:
        levels: standard deviations of the noise.
        seed: of the noise; every clip draws its own from it.
        frames: how many of each clip, the photo included.
        fps: rate at which clips are read.
        max_side: larger clips are scaled down to this longer side, px.
    """
    settings = {
        "levels": list(levels),
        "seed": seed,
        "frames": frames,
        "fps": fps,
        "size": max_side,
        "variants": pipeline.choose_variants().settings,
    }

    def measure(source: Source) -> Measured:
        take = take_of(source.files[0], frames=frames, fps=fps, max_side=max_side)
        noise = noise_of(source.name, frames, seed=seed)
        return measure_films(take, {**noisy_films(take, noise, levels), **take.baselines()})

    return Protocol(
        name="noise",
        settings=settings,
        main="head_db",
        ours=OURS,
        others=("repeat", "warp", *(level_name(level) for level in levels)),
        metrics=film_metrics(),
        measure=measure,
    )


def noisy_films(take: Take, noise: np.ndarray, levels: Sequence[float]) -> dict[str, Film]:
    """Return the films of a clip without noise and with every level of it, by method.

    Args:
        take: the clip.
        noise: (frames, 52) of standard deviation 1.
        levels: standard deviations.
    """
    head = pipeline.build_head(take.photo, take.build_options())

    def film(level: float) -> Iterator[np.ndarray]:
        def shaken(index: int, state: FaceState) -> FaceState:
            return replace(state, beta=state.beta + np.float32(level) * noise[index])

        return played(head, take.recording.replayed(shaken))

    films: dict[str, Film] = {OURS: lambda: played(head, take.recording.replayed())}
    return films | {level_name(level): partial(film, level) for level in levels}


def noise_of(name: str, frames: int, *, seed: int) -> np.ndarray:
    """Return (frames, 52) float32 normal noise of a clip; the same for the same name and seed."""
    generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return generator.standard_normal((frames, len(ARKIT_NAMES)), np.float32)


def level_name(level: float) -> str:
    """Return the method that stands for a noise level.

    >>> level_name(0.05)
    'noise_0.05'
    """
    return f"noise_{level:g}"
