"""Blinks, head motion, brows and gaze of a talking person: statistics and prosody, seeded.

Every process draws from its own generator and is made of single events (blinks, nods, glances)
or of random knots joined smoothly, so nothing repeats. What happens at time t depends on the seed
and on the voice up to `AHEAD_S` after t, never on the length of the sound; in a stream, where
nothing after t is known, blinks at phrase ends and nods come a little later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import maximum_filter1d, uniform_filter1d

from mggtalk_cli.errors import InputError
from mggtalk_cli.motion.voice import FRAME_RATE, Voice

AHEAD_S = 0.75  # enough to know an accent before its nod begins

# blinks: 15-20 a minute in conversation, log-normal intervals
BLINK_MEDIAN_S, BLINK_SPREAD = 3.2, 0.45
BLINK_LIMITS_S = (1.0, 8.0)
BLINK_CLOSE_S, BLINK_HOLD_S, BLINK_OPEN_S = 0.08, 0.04, 0.16
PHRASE_BLINK_CHANCE = 0.5  # people blink where they pause
PHRASE_PAUSE_S = 0.25  # a gap this long ends a phrase
BLINK_REST_S = 0.9  # no phrase-end blink sooner after the last one
BLINKS_PER_MIN = 20.0  # what all this gives in talk

# accents: loud syllables
ACCENT_REACH_S, ACCENT_SPACING_S = 0.25, 0.45
ACCENT_RISE = 0.18  # above the mean loudness of the second around it
ACCENT_SMOOTH_S = 0.08
NOD_CHANCE, NOD_DEG = 0.6, 1.4
BROW_CHANCE, BROW_RAISE = 0.2, 0.18

# Slow sway: sd per knot, seconds between knots. With nods: yaw, pitch, roll 1.5, 1.0, 0.9 degrees
# (sd), nose 3.6 % of the face's width; median of 25 real talkers: 0.7, 1.1, 0.65 degrees, 4.1 %.
SWAY_DEG = np.array([2.1, 1.2, 1.4])  # yaw, pitch, roll
SWAY_CM = np.array([0.20, 0.12, 0.15])
SWAY_KNOT_S = (0.9, 2.6)
QUIET_SWAY = 0.45  # of the sway that remains while listening
ACTIVITY_S = 1.0
LIMIT_DEG = np.array([3.5, 3.0, 2.5])

FIXATION_MEDIAN_S, FIXATION_SPREAD = 0.9, 0.5
SACCADE_S = 0.04
FIXATION_DEG = np.array([0.7, 0.45])
GAZE_LIMIT_DEG = 2.0

MAX_BLINKS_PER_MIN, MAX_SCALE = 60.0, 3.0

# one independent random stream per process: adding one never changes the others
BLINKS, NODS, BROWS, SWAY, GAZE = range(5)


@dataclass(frozen=True)
class SpeechStyle:
    """How somebody talks.

    Attributes:
        seed: Equal seeds give equal blinks, head motion, brows and gaze.
        blinks_per_min: About how many, at most 60; 0 for none.
        head_scale: Factor on head motion, 0..3.
        mouth_scale: Factor on mouth motion, 0..3.
    """

    seed: int = 0
    blinks_per_min: float = BLINKS_PER_MIN
    head_scale: float = 1.0
    mouth_scale: float = 1.0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            InputError: A value is outside its range.
        """
        limits = dict.fromkeys(("head_scale", "mouth_scale"), MAX_SCALE)
        limits["blinks_per_min"] = MAX_BLINKS_PER_MIN
        for name, limit in limits.items():
            if not 0.0 <= (value := getattr(self, name)) <= limit:
                raise InputError(f"{name} {value} is outside 0..{limit:g}; choose one inside")


class Behaviour(NamedTuple):
    """Everything but the mouth, for one frame.

    Attributes:
        blink: 0 open .. 1 closed, both eyes.
        brow: 0 .. about 0.3, raise of both brows.
        angles_deg: (3,) yaw, pitch, roll.
        shift_cm: (3,) sway of the neck's top.
        gaze_deg: (2,) fixation relative to the camera, x to image right, y up.
    """

    blink: float
    brow: float
    angles_deg: np.ndarray
    shift_cm: np.ndarray
    gaze_deg: np.ndarray


def behaviour(
    voice: Voice, *, fps: float, style: SpeechStyle, ahead_s: float = AHEAD_S
) -> Iterator[Behaviour]:
    """Yield the behaviour at i / fps seconds, without end.

    Args:
        voice: Voice track; silence is assumed after its end.
        fps: Video frames per second.
        style: Seed and scales.
        ahead_s: How far after a frame its voice is known.
    """
    blinks = Blinks(_stream(style.seed, BLINKS), style.blinks_per_min)
    nods = Gestures(_stream(style.seed, NODS), NOD_CHANCE, _nod_shape)
    brows = Gestures(_stream(style.seed, BROWS), BROW_CHANCE, _brow_shape)
    sway = _smooth_noise(_stream(style.seed, SWAY), np.concatenate([SWAY_DEG, SWAY_CM]))
    gaze = _fixations(_stream(style.seed, GAZE))
    phrases, accents = PhraseEnds(), Accents()
    activity, index, heard = 0.0, 0, 0
    while True:
        time_s = index / fps
        known = round((time_s + ahead_s) * FRAME_RATE)
        news = voice.between(heard, known)
        heard = known
        blinks.hear(phrases.hear(news.active), time_s)
        found = accents.hear(news.level.astype(np.float32), news.active)
        nods.hear(found, time_s)
        brows.hear(found, time_s)
        soon = min(round((time_s + 0.2) * FRAME_RATE), known)
        speaking = float(voice.between(soon - 1, soon).active[0])
        activity += (speaking - activity) * min(1.0, 1 / (ACTIVITY_S * fps))
        offsets = sway(time_s) * (QUIET_SWAY + (1.0 - QUIET_SWAY) * activity)
        angles = offsets[:3] + np.array([0.0, NOD_DEG * nods.at(time_s), 0.0])
        angles = LIMIT_DEG * np.tanh(angles / LIMIT_DEG)
        yield Behaviour(
            min(1.0, blinks.at(time_s)),
            BROW_RAISE * brows.at(time_s),
            style.head_scale * angles,
            style.head_scale * offsets[3:],
            gaze(time_s),
        )
        index += 1


class Pulses:
    """Sum of the shapes of events."""

    TAIL_S = 1.5  # shapes are zero later

    def __init__(self, shape: Callable[[float], float]) -> None:
        self._shape = shape
        self._near: deque[tuple[float, float]] = deque()

    def add(self, time_s: float, strength: float) -> None:
        """Add an event; times must not decrease."""
        self._near.append((time_s, strength))

    def at(self, time_s: float) -> float:
        """Return the sum at a time; times must not decrease."""
        while self._near and self._near[0][0] < time_s - self.TAIL_S:
            self._near.popleft()
        return sum(strength * self._shape(time_s - begin) for begin, strength in self._near)


class Blinks:
    """Blinks: random intervals, pulled forward to phrase ends half of the time."""

    def __init__(self, random: np.random.Generator, per_min: float) -> None:
        self._intervals, self._pulls = random.spawn(2)
        self._slow = BLINKS_PER_MIN / per_min if per_min > 0 else np.inf
        self._pull_chance = min(1.0, PHRASE_BLINK_CHANCE / self._slow)
        self._pulses = Pulses(_blink_shape)
        self._last = -float(random.uniform(0.0, 2.0))
        self._next = self._last + self._interval()
        while self._next < 0.0:
            self._next += self._interval()

    def hear(self, ends: list[float], now_s: float) -> None:
        """Take the ends of phrases that have become known."""
        for end_s in ends:
            chance, delay_s = self._pulls.random(), float(self._pulls.uniform(-0.05, 0.15))
            begin = max(end_s + delay_s, now_s)
            rested = begin > self._last + BLINK_REST_S * self._slow
            if chance < self._pull_chance and rested:
                self._next = min(self._next, begin)

    def at(self, time_s: float) -> float:
        """Return how far the eyes are closed, 0..1; times must not decrease."""
        while self._next <= time_s:
            self._pulses.add(self._next, 1.0)
            self._last, self._next = self._next, self._next + self._interval()
        return self._pulses.at(time_s)

    def _interval(self) -> float:
        interval = BLINK_MEDIAN_S * np.exp(BLINK_SPREAD * self._intervals.standard_normal())
        return self._slow * float(np.clip(interval, *BLINK_LIMITS_S))


class Gestures:
    """Nods or raised brows on some of the accents."""

    LEAD_S = 0.2  # shapes are zero earlier

    def __init__(
        self, random: np.random.Generator, chance: float, shape: Callable[[float], float]
    ) -> None:
        self._random, self._chance, self._pulses = random, chance, Pulses(shape)

    def hear(self, accents: list[tuple[float, float]], now_s: float) -> None:
        """Take the accents (time in s, strength) that have become known."""
        for time_s, strength in accents:
            taken = self._random.random() < self._chance
            size = float(self._random.uniform(0.5, 1.3))
            if taken:
                self._pulses.add(max(time_s, now_s + self.LEAD_S), strength * size)

    def at(self, time_s: float) -> float:
        """Return the sum of the gestures at a time; times must not decrease."""
        return self._pulses.at(time_s)


class PhraseEnds:
    """Finds where a phrase ends in a pause, 0.25 s after it."""

    def __init__(self) -> None:
        self._frame, self._end = 0, -1  # next frame; first silent one after speech

    def hear(self, active: np.ndarray) -> list[float]:
        """Return the times in s of the phrase ends that the next frames reveal."""
        found = []
        for speaking in active.tolist():
            if speaking:
                self._end = self._frame + 1
            elif self._end >= 0 and self._frame - self._end + 1 >= PHRASE_PAUSE_S * FRAME_RATE:
                found.append(self._end / FRAME_RATE)
                self._end = -1
            self._frame += 1
        return found


class Accents:
    """Finds loud syllables, about 0.3 s after their peak."""

    SMOOTH = round(ACCENT_SMOOTH_S * FRAME_RATE)
    REACH = round(ACCENT_REACH_S * FRAME_RATE)
    AFTER = REACH + SMOOTH // 2  # frames that must be known after a peak
    BEFORE = FRAME_RATE - AFTER  # loudness is compared with that of a second

    def __init__(self) -> None:
        self._level = np.zeros(self.BEFORE, np.float32)
        self._active = np.zeros(self.BEFORE, bool)
        self._frame = 0  # whose level is self._level[BEFORE]
        self._last = -FRAME_RATE

    def hear(self, level: np.ndarray, active: np.ndarray) -> list[tuple[float, float]]:
        """Return (time in s, strength about 0.5..1.5) of the accents the next frames reveal."""
        self._level = np.concatenate([self._level, level])
        self._active = np.concatenate([self._active, active])
        count = len(self._level) - self.BEFORE - self.AFTER
        if count <= 0:
            return []
        smooth = uniform_filter1d(self._level, self.SMOOTH)
        highest = maximum_filter1d(smooth, 2 * self.REACH + 1)
        sums = np.concatenate([[0.0], np.cumsum(self._level, dtype=np.float64)])
        here = slice(self.BEFORE, self.BEFORE + count)
        around = (sums[FRAME_RATE:] - sums[:-FRAME_RATE])[:count] / FRAME_RATE
        rise = smooth[here] - around - ACCENT_RISE
        found = []
        peaks = self._active[here] & (rise > 0) & (smooth[here] >= highest[here])
        for offset in np.flatnonzero(peaks):
            frame = self._frame + int(offset)
            if frame - self._last >= ACCENT_SPACING_S * FRAME_RATE:
                self._last = frame
                strength = min(0.5 + rise[offset] / ACCENT_RISE, 1.5)
                found.append((frame / FRAME_RATE, float(strength)))
        self._level, self._active = self._level[count:], self._active[count:]
        self._frame += count
        return found


def _stream(seed: int, process: int) -> np.random.Generator:
    return np.random.default_rng([seed, process])


def _ease(share: float) -> float:
    """Return the minimum-jerk step 0..1 (Flash and Hogan, 1985)."""
    x = min(max(share, 0.0), 1.0)
    return x * x * x * (10.0 - 15.0 * x + 6.0 * x * x)


def _blink_shape(since_s: float) -> float:
    closing = _ease(since_s / BLINK_CLOSE_S)
    return closing * (1.0 - _ease((since_s - BLINK_CLOSE_S - BLINK_HOLD_S) / BLINK_OPEN_S))


def _nod_shape(since_s: float) -> float:
    return _ease((since_s + 0.16) / 0.28) * (1.0 - _ease((since_s - 0.12) / 0.55))


def _brow_shape(since_s: float) -> float:
    return _ease((since_s + 0.2) / 0.22) * (1.0 - _ease((since_s - 0.2) / 0.5))


def _smooth_noise(random: np.random.Generator, scale: np.ndarray) -> Callable[[float], np.ndarray]:
    """Return band-limited noise of time (non-decreasing): random knots, minimum-jerk steps.

    The sum of two such walks with independent knots never stands still nor repeats.
    """
    walks = [_walk(random.spawn(1)[0], scale / np.sqrt(2.0), SWAY_KNOT_S) for _ in range(2)]
    return lambda time_s: walks[0](time_s) + walks[1](time_s)


def _walk(
    random: np.random.Generator, scale: np.ndarray, knot_s: tuple[float, float]
) -> Callable[[float], np.ndarray]:
    begin, end = 0.0, float(random.uniform(*knot_s))
    start, goal = np.zeros_like(scale), scale * random.standard_normal(len(scale))

    def at(time_s: float) -> np.ndarray:
        nonlocal begin, end, start, goal
        while time_s >= end:
            begin, end = end, end + float(random.uniform(*knot_s))
            # an autoregressive step keeps the spread constant and excursions short
            start, goal = goal, 0.4 * goal + 0.92 * scale * random.standard_normal(len(scale))
        return start + (goal - start) * _ease((time_s - begin) / (end - begin))

    return at


def _fixations(random: np.random.Generator) -> Callable[[float], np.ndarray]:
    """Return the gaze target in degrees at a time (non-decreasing): small jumps, steady between."""
    jump, start, goal = 0.0, np.zeros(2), np.zeros(2)
    following = float(random.uniform(0.3, 1.5))

    def at(time_s: float) -> np.ndarray:
        nonlocal jump, start, goal, following
        while time_s >= following:
            jump, start = following, goal
            goal = np.clip(
                FIXATION_DEG * random.standard_normal(2), -GAZE_LIMIT_DEG, GAZE_LIMIT_DEG
            )
            pause = FIXATION_MEDIAN_S * float(np.exp(FIXATION_SPREAD * random.standard_normal()))
            following += max(0.2, pause)
        return start + (goal - start) * _ease((time_s - jump) / SACCADE_S)

    return at
