"""Blinks, nods and sway: statistics, no loops, no dependence on the future."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from mggtalk_cli.errors import InputError
from mggtalk_cli.motion.behaviour import (
    LIMIT_DEG,
    Accents,
    Behaviour,
    PhraseEnds,
    SpeechStyle,
    behaviour,
)
from mggtalk_cli.motion.voice import Voice, VoiceTrack

FPS = 25.0


def phrases(seconds: int, seed: int = 0) -> VoiceTrack:
    """Speech-like loudness: phrases of 2.5 s with syllables, pauses of 0.7 s."""
    times = np.arange(seconds * 100) / 100
    active = (times % 3.2) < 2.5
    rng = np.random.default_rng(seed)
    bumps = np.interp(
        times, np.arange(0, seconds, 0.12), rng.uniform(0.3, 1, len(np.arange(0, seconds, 0.12)))
    )
    level = (active * bumps).astype(np.float16)
    return VoiceTrack(level=level, middle=level, active=active, gate=active.astype(np.float16))


def cut(voice: VoiceTrack, seconds: float) -> VoiceTrack:
    keep = slice(0, round(seconds * 100))
    return VoiceTrack(voice.level[keep], voice.middle[keep], voice.active[keep], voice.gate[keep])


def run(voice: VoiceTrack, seconds: float, *, fps: float = FPS, **style: float) -> list[Behaviour]:
    found = behaviour(Voice([voice]), fps=fps, style=SpeechStyle(**style))
    return list(islice(found, round(seconds * fps)))


def run_stream(voice: VoiceTrack, seconds: float) -> list[Behaviour]:
    found = behaviour(Voice([voice]), fps=FPS, style=SpeechStyle(), ahead_s=0.0)
    return list(islice(found, round(seconds * FPS)))


def blink_times(found: list[Behaviour]) -> np.ndarray:
    shut = np.array([b.blink for b in found]) > 0.5
    return np.flatnonzero(np.diff(shut.astype(int)) > 0) / FPS


def test_blinks_have_natural_intervals() -> None:
    times = blink_times(run(phrases(600), 600))
    gaps = np.diff(times)
    assert 10 < len(times) / 10 < 30  # a minute
    assert gaps.min() > 0.6
    assert gaps.max() < 9.0
    assert gaps.std() / gaps.mean() > 0.25  # not a metronome


def test_blinks_prefer_phrase_ends() -> None:
    phase = blink_times(run(phrases(600), 600)) % 3.2
    near_end = ((phase > 2.4) & (phase < 2.85)).mean()
    assert near_end > 2 * 0.45 / 3.2


def test_head_motion_is_small_smooth_and_never_repeats() -> None:
    angles = np.stack([b.angles_deg for b in run(phrases(300), 300)])
    assert (np.abs(angles).max(axis=0) <= LIMIT_DEG).all()
    assert (angles.std(axis=0) > [0.6, 0.3, 0.25]).all()
    assert np.abs(np.diff(angles, axis=0)).max() < 0.7  # degrees a frame
    yaw = angles[:, 0] - angles[:, 0].mean()
    spectrum = np.abs(np.fft.rfft(yaw)) ** 2
    assert spectrum.max() / spectrum.sum() < 0.2  # no single period
    autocorrelation = np.correlate(yaw, yaw, "full")[len(yaw) - 1 :] / (yaw @ yaw)
    assert autocorrelation[200:].max() < 0.5


def test_gaze_jumps_and_rests() -> None:
    gaze = np.stack([b.gaze_deg for b in run(phrases(60), 60)])
    moving = np.abs(np.diff(gaze, axis=0)).max(axis=1) > 1e-9
    assert 0.02 < moving.mean() < 0.3
    assert np.abs(gaze).max() <= 2.0


def test_future_does_not_change_the_past() -> None:
    voice = phrases(60)
    whole, part = run(voice, 40), run(cut(voice, 40.75), 40)
    for a, b in zip(whole, part, strict=True):
        assert a.blink == b.blink
        assert a.brow == pytest.approx(b.brow, abs=1e-9)
        np.testing.assert_allclose(a.angles_deg, b.angles_deg, atol=1e-9)
        np.testing.assert_array_equal(a.gaze_deg, b.gaze_deg)


def test_head_scale_scales_the_head_only() -> None:
    voice = phrases(30)
    whole, still, half = (run(voice, 30, head_scale=scale) for scale in (1.0, 0.0, 0.5))
    for a, b, c in zip(whole, still, half, strict=True):
        assert a.blink == b.blink == c.blink
        assert a.brow == b.brow == c.brow
        assert not b.angles_deg.any()
        assert not b.shift_cm.any()
        np.testing.assert_allclose(c.angles_deg, 0.5 * a.angles_deg, atol=1e-9)
        np.testing.assert_allclose(c.shift_cm, 0.5 * a.shift_cm, atol=1e-9)


@pytest.mark.parametrize("rate", [5.0, 12.0, 40.0])
def test_blink_rate_is_what_is_asked_for(rate: float) -> None:
    times = blink_times(run(phrases(900), 900, blinks_per_min=rate))
    assert len(times) / 15 == pytest.approx(rate, rel=0.25)


@pytest.mark.parametrize(
    "style",
    [{"blinks_per_min": 61.0}, {"head_scale": -0.1}, {"mouth_scale": float("nan")}],
    ids=str,
)
def test_styles_outside_their_range_are_refused(style: dict[str, float]) -> None:
    with pytest.raises(InputError, match="is outside 0"):
        SpeechStyle(**style)  # type: ignore[arg-type]


def test_blinks_can_be_turned_off() -> None:
    off = run(phrases(60), 60, blinks_per_min=0.0)
    assert not any(b.blink for b in off)
    for a, b in zip(off, run(phrases(60), 60), strict=True):
        np.testing.assert_array_equal(a.angles_deg, b.angles_deg)


def test_stream_does_the_same_a_little_later() -> None:
    voice = phrases(300)
    whole, stream = run(voice, 300), run_stream(voice, 300)
    assert len(blink_times(stream)) == pytest.approx(len(blink_times(whole)), rel=0.15)
    phase = blink_times(stream) % 3.2
    assert ((phase > 2.6) & (phase < 3.1)).mean() > 2 * 0.5 / 3.2  # as the pause is noticed
    pitch = np.stack([[b.angles_deg[1] for b in found] for found in (whole, stream)])
    assert np.abs(np.diff(pitch[1])).max() < 0.7
    later = [np.corrcoef(pitch[0, :-20], pitch[1, lag : lag - 20])[0, 1] for lag in range(20)]
    assert max(later) > 0.9
    for a, b in zip(whole, stream, strict=True):
        np.testing.assert_array_equal(a.gaze_deg, b.gaze_deg)


def test_frame_rate_changes_sampling_only() -> None:
    voice = phrases(20)
    slow, fast = (run(voice, 20, fps=fps, seed=1) for fps in (25.0, 50.0))
    for a, b in zip(slow, fast[::2], strict=True):
        assert a.blink == pytest.approx(b.blink)
        np.testing.assert_allclose(a.angles_deg, b.angles_deg, atol=0.1)


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_accents_are_loud_syllables(piece: int) -> None:
    level = np.full(1000, 0.3, np.float32)
    level[300:312] = level[700:712] = 1.0
    accents, active = Accents(), np.arange(1000) > 100
    cuts = [slice(i, i + piece) for i in range(0, 1000, piece)]
    times = [time for cut in cuts for time, _ in accents.hear(level[cut], active[cut])]
    np.testing.assert_allclose(times, [3.05, 7.05], atol=0.05)


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_phrases_end_in_pauses(piece: int) -> None:
    active = np.zeros(1000, bool)
    active[100:200] = active[215:400] = active[700:] = True
    ends = PhraseEnds()
    found = [end for i in range(0, 1000, piece) for end in ends.hear(active[i : i + piece])]
    assert found == [4.0]
