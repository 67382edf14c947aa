"""Blinks, nods and sway: statistics, no loops, no dependence on the future."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from mggtalk_cli.motion.behaviour import LIMIT_DEG, Behaviour, _accents, behaviour
from mggtalk_cli.motion.voice import VoiceTrack

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
    return VoiceTrack(level=level, middle=level, active=active)


def cut(voice: VoiceTrack, seconds: float) -> VoiceTrack:
    keep = slice(0, round(seconds * 100))
    return VoiceTrack(voice.level[keep], voice.middle[keep], voice.active[keep])


def run(voice: VoiceTrack, seconds: float, seed: int = 0, still: bool = False) -> list[Behaviour]:
    return list(islice(behaviour(voice, fps=FPS, seed=seed, still=still), round(seconds * FPS)))


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
    whole, part = run(voice, 40), run(cut(voice, 40.5), 40)
    for a, b in zip(whole, part, strict=True):
        assert a.blink == b.blink
        assert a.brow == pytest.approx(b.brow, abs=1e-9)
        np.testing.assert_allclose(a.angles_deg, b.angles_deg, atol=1e-9)
        np.testing.assert_array_equal(a.gaze_deg, b.gaze_deg)


def test_still_keeps_blinks() -> None:
    voice = phrases(30)
    moving, still = run(voice, 30), run(voice, 30, still=True)
    assert [b.blink for b in moving] == [b.blink for b in still]
    assert not np.stack([b.angles_deg for b in still]).any()
    assert not np.stack([b.shift_cm for b in still]).any()


def test_frame_rate_changes_sampling_only() -> None:
    voice = phrases(20)
    slow = list(islice(behaviour(voice, fps=25.0, seed=1, still=False), 20 * 25))
    fast = list(islice(behaviour(voice, fps=50.0, seed=1, still=False), 20 * 50))
    for a, b in zip(slow, fast[::2], strict=True):
        assert a.blink == pytest.approx(b.blink)
        np.testing.assert_allclose(a.angles_deg, b.angles_deg, atol=0.1)


def test_accents_are_loud_syllables() -> None:
    level = np.full(1000, 0.3, np.float16)
    level[300:312] = level[700:712] = 1.0
    voice = VoiceTrack(level, level, np.ones(1000, bool))
    times = [time for time, _ in _accents(voice)]
    np.testing.assert_allclose(times, [3.05, 7.05], atol=0.05)
