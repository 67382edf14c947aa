"""The network's curves as mouth shapes: alike for files and streams, gated, lips that meet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli import motion
from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.motion import SpeechStyle
from mggtalk_cli.motion.network import MouthCurves, load_mouth_network
from mggtalk_cli.motion.neural import curve_blocks, shape_blocks, shapes_of
from mggtalk_cli.motion.visemes import MouthShapes, mouth_beta
from mggtalk_cli.motion.voice import Voice, VoiceTrack
from mggtalk_cli.motion.whisper import OFFLINE, streaming_windows

SPEECH = Path(__file__).parents[2] / "examples" / "speech.wav"
JAW, CLOSE = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["mouthClose"]


class Live:
    """Speech that comes in piece by piece and counts what has been taken."""

    def __init__(self, samples: np.ndarray, *, piece: int, look_ahead_s: float = 0.24) -> None:
        self.look_ahead_s: float | None = look_ahead_s
        self._samples, self._piece, self.taken = samples, piece, 0

    def blocks_16k_mono(self) -> Iterator[np.ndarray]:
        for start in range(0, len(self._samples), self._piece):
            block = self._samples[start : start + self._piece]
            self.taken += len(block)
            yield block

    def frame_count(self, fps: float) -> int:
        return max(1, int(np.ceil(self.taken / 16_000 * fps - 1e-6)))


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.concatenate(list(AudioFile(SPEECH).blocks_16k_mono()))


def betas(states: list[FaceState]) -> np.ndarray:
    return np.stack([state.beta for state in states])


def joined(blocks: Iterator[MouthCurves]) -> MouthCurves:
    return MouthCurves(*(np.concatenate(rows) for rows in zip(*blocks, strict=True)))


@pytest.mark.parametrize("look_ahead_s", [0.0, 0.1, 0.24])
def test_no_frame_waits_longer_than_the_look_ahead_and_a_window(
    samples: np.ndarray, look_ahead_s: float
) -> None:
    live = Live(samples, piece=160, look_ahead_s=look_ahead_s)
    states = motion.speech_motion(live, variant="neural").states
    count = 0
    for count, _ in enumerate(states, 1):
        assert live.taken / 16_000 <= (count - 1) / 25 + look_ahead_s + 0.16 + 0.01 + 1e-6
    assert count == AudioFile(SPEECH).frame_count(25)


def test_stream_does_not_depend_on_how_it_is_cut(samples: np.ndarray) -> None:
    a, b = (
        list(motion.speech_motion(Live(samples, piece=piece), variant="neural").states)
        for piece in (320, 4111)
    )
    np.testing.assert_array_equal(betas(a), betas(b))
    for one, other in zip(a, b, strict=True):
        np.testing.assert_array_equal(one.rotation, other.rotation)


def test_stream_agrees_with_the_file(samples: np.ndarray) -> None:
    network = load_mouth_network()
    whole = joined(curve_blocks([samples], network, OFFLINE))
    stream = joined(curve_blocks([samples], network, streaming_windows(0.24)))
    assert len(whole.opening) == len(stream.opening) == -(-len(samples) // 640)
    assert np.corrcoef(whole.opening, stream.opening)[0, 1] > 0.93
    assert np.corrcoef(whole.width, stream.width)[0, 1] > 0.9


@pytest.mark.parametrize("fps", [10.0, 25.0, 29.97, 60.0])
def test_every_frame_of_the_sound_has_a_mouth(samples: np.ndarray, fps: float) -> None:
    live = Live(samples[:40_123], piece=40_123)
    beta = betas(list(motion.speech_motion(live, fps=fps, variant="neural").states))
    assert len(beta) == live.frame_count(fps)
    assert beta[-2:, JAW].max() > 0 or not beta[-round(0.2 * fps) :, JAW].any()


def test_shapes_are_gated_and_cut_anywhere() -> None:
    rng = np.random.default_rng(0)
    curves = MouthCurves(*rng.uniform(0, 1, (4, 50)).astype(np.float32))
    ones = np.ones(200, np.float16)
    voice = VoiceTrack(ones, ones, ones > 0, np.concatenate([ones[:100], 0 * ones[:100]]))

    def shapes(cuts: list[int]) -> MouthShapes:
        pieces = (
            MouthCurves(*(row[a:b] for row in curves))
            for a, b in zip([0, *cuts], [*cuts, 50], strict=True)
        )
        found = shape_blocks(pieces, Voice([voice]))
        return MouthShapes(*(np.concatenate(rows) for rows in zip(*found, strict=True)))

    whole, cut = shapes([]), shapes([1, 2, 20])
    for a, b in zip(whole, cut, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
        assert len(a) == 200
        assert not a[100:].any()
    np.testing.assert_allclose(whole.opening[:100:4], curves.opening[:25], atol=1e-6)


def test_lips_that_come_close_meet() -> None:
    opening = np.array([0.0, 0.02, 0.3, 1.0], np.float32)
    rest = np.zeros(4, np.float32)
    beta = mouth_beta(shapes_of(MouthCurves(opening, rest, rest, rest), np.ones(4, np.float32)))
    gap = beta[:, JAW] - beta[:, CLOSE]
    np.testing.assert_allclose(gap[:2], 0.0, atol=1e-6)
    assert (beta[:2, ARKIT_INDEX["mouthRollLower"]] > 0.1).all()
    assert gap[2] > 0.1
    assert not beta[2:, ARKIT_INDEX["mouthRollLower"]].any()


def test_mouth_scale_of_a_stream(samples: np.ndarray) -> None:
    whole, half = (
        betas(list(motion.speech_motion(Live(samples[:32_000], piece=640), style=style).states))
        for style in (SpeechStyle(), SpeechStyle(mouth_scale=0.5))
    )
    np.testing.assert_allclose(half[:, JAW], 0.5 * whole[:, JAW], atol=1e-6)
