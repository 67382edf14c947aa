"""Scores of mouth curves on curves whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mggtalk_cli.evaluation import mouth_scores as scores


@pytest.fixture
def signal() -> np.ndarray:
    return np.random.default_rng(1).normal(size=200)


@pytest.mark.parametrize("late", [-3, -1, 0, 2, 3])
def test_the_lag_of_shifted_pieces(signal: np.ndarray, late: int) -> None:
    moved = np.roll(signal, late)
    true, guess = [signal[10:90], signal[110:190]], [moved[10:90], moved[110:190]]
    lag, r = scores.pooled_lag(guess, true, 3)
    assert lag == late
    assert r == pytest.approx(1)
    assert scores.pooled_r(guess, true, lag=late) == pytest.approx(1)


def test_gaps_and_short_pieces_do_not_count(signal: np.ndarray) -> None:
    gaps = signal.copy()
    gaps[::7] = np.nan
    flipped = [signal[:100], -signal[100:102]]
    assert scores.pooled_r([gaps], [3 * signal + 1]) == pytest.approx(1)
    assert scores.pooled_r(flipped, [signal[:100], signal[100:102]], lag=2) == pytest.approx(
        scores.pooled_r([signal[:100]], [signal[:100]], lag=2)
    )
    assert math.isnan(scores.pooled_r([np.full(9, np.nan)], [np.arange(9.0)]))


def test_pieces_are_pooled() -> None:
    """Two pieces that each agree perfectly, but are offset against each other, do not."""
    ramp = np.arange(10.0)
    assert scores.pooled_r([ramp, ramp], [ramp, ramp]) == pytest.approx(1)
    assert scores.pooled_r([ramp, ramp], [ramp, ramp + 100]) < 0.1


def test_closed_frames_are_the_lowest_of_a_speaker() -> None:
    opening = np.random.default_rng(2).permutation(np.arange(100.0))
    closed = scores.closed_frames(opening)
    assert sorted(opening[closed]) == list(range(8))


def test_closed_found() -> None:
    opening = np.tile([0.0, 0.3, 0.5, 0.4, 0.2], 40)
    closed = opening == 0
    assert scores.closed_found(opening, closed) == pytest.approx(1)
    assert scores.closed_found(-opening, closed) == pytest.approx(0)
    assert scores.closed_found(np.zeros(200), closed) == pytest.approx(scores.FOUND_SHARE)
    halves = opening.copy()
    halves[np.flatnonzero(closed)[:20]] = 1.0
    assert scores.closed_found(halves, closed) == pytest.approx(0.5)
    assert math.isnan(scores.closed_found(opening, np.arange(200) < 4))


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_amplitude(signal: np.ndarray, scale: float) -> None:
    assert scores.amplitude_ratio(scale * signal + 3, signal) == pytest.approx(scale)
    assert math.isnan(scores.amplitude_ratio(signal, np.ones(200)))
    assert math.isnan(scores.amplitude_ratio(np.zeros(0), signal))


def test_longest_still() -> None:
    moving = np.tile([0.0, 1.0], 20)
    inside = np.ones(40, bool)
    assert scores.longest_still(moving, inside, 0.1) == 1
    moving[10:22] = 0.55
    assert scores.longest_still(moving, inside, 0.1) == 12
    inside[15] = False
    assert scores.longest_still(moving, inside, 0.1) == 6
    assert scores.longest_still(np.linspace(0, 1, 101), np.ones(101, bool), 0.1001) == 11
    assert scores.longest_still(moving, np.zeros(40, bool), 0.1) == 0
