"""Made-up speakers: features in which the mouth is hidden, and the mouth itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli.motion.network import COEFFICIENTS
from mggtalk_cli.training.clips import Clip
from mggtalk_cli.training.recordings import Recording
from mggtalk_cli.training.sound import Voice
from mggtalk_cli.training.tracking import MouthTrack

WIDTH = 384
MakeRecording = Callable[..., Recording]


def smooth_noise(count: int, generator: np.random.Generator) -> np.ndarray:
    noise = generator.normal(size=count + 8)
    curve = np.convolve(noise, np.ones(9) / 3.0, "valid")
    return np.asarray(curve[:count])


@pytest.fixture(scope="session")
def make_recording() -> MakeRecording:
    """Return a clip whose features carry opening and width in two of many directions."""
    axes = np.random.default_rng(0).normal(size=(2, WIDTH))

    def make(
        speaker: str, index: int, *, seconds: float = 8.0, late: int = 0, ship: bool = True
    ) -> Recording:
        generator = np.random.default_rng([len(speaker), ord(speaker[-1]), index])
        count = round(25 * seconds)
        opening = np.maximum(smooth_noise(count, generator), -0.3)
        width = smooth_noise(count, generator)
        scale = generator.uniform(0.02, 0.06)
        curves = np.stack([opening, width], 1)
        heard = np.repeat(np.roll(curves, late, axis=0), 2, axis=0)
        features = heard @ axes + generator.normal(0, 1.5, (2 * count, WIDTH))
        mouth = MouthTrack(
            (0.05 + scale * opening).astype(np.float32),
            (0.6 + scale * width).astype(np.float32),
            (0.9 + scale * opening).astype(np.float32),
            np.tile(opening[:, None], len(COEFFICIENTS)).astype(np.float32),
        )
        clip = Clip(Path(f"{speaker}_{index:02d}.mp4"), speaker, ship, "CC0", "made up")
        voice = Voice([features.astype(np.float16)], [1.0], np.ones(4 * count, bool))
        return Recording(clip, mouth, voice)

    return make


@pytest.fixture(scope="session")
def recordings(make_recording: MakeRecording) -> list[Recording]:
    """Five speakers with two clips each; the last one may not ship."""
    return [
        make_recording(name, index, ship=name != "eve")
        for name in ("ann", "bob", "cyd", "dan", "eve")
        for index in range(2)
    ]
