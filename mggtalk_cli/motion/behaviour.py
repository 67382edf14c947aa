"""Blinks, head motion, brows and gaze of a talking person: statistics and prosody, seeded.

Every process draws from its own generator and is made of single events (blinks, nods, glances)
or of random knots joined smoothly, so nothing repeats. What happens at time t depends on the seed
and on the voice up to half a second after t, never on the length of the sound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.ndimage import uniform_filter1d

from mggtalk_cli.motion.voice import FRAME_RATE, VoiceTrack

# blinks: 15-20 a minute in conversation, log-normal intervals
BLINK_MEDIAN_S, BLINK_SPREAD = 3.2, 0.45
BLINK_LIMITS_S = (1.0, 8.0)
BLINK_CLOSE_S, BLINK_HOLD_S, BLINK_OPEN_S = 0.08, 0.04, 0.16
PHRASE_BLINK_CHANCE = 0.5  # people blink where they pause
PHRASE_PAUSE_S = 0.25  # a gap this long ends a phrase
BLINK_REST_S = 0.9  # no phrase-end blink sooner after the last one

# accents: loud syllables
ACCENT_REACH_S, ACCENT_SPACING_S = 0.25, 0.45
ACCENT_RISE = 0.18  # above the mean loudness of the second around it
NOD_CHANCE, NOD_DEG = 0.6, 1.2
BROW_CHANCE, BROW_RAISE = 0.2, 0.18

# slow sway: standard deviations per knot, seconds between knots
SWAY_DEG = np.array([1.9, 1.0, 0.8])  # yaw, pitch, roll
SWAY_CM = np.array([0.10, 0.06, 0.12])
SWAY_KNOT_S = (0.9, 2.6)
QUIET_SWAY = 0.45  # of the sway that remains while listening
ACTIVITY_S = 1.0
LIMIT_DEG = np.array([3.0, 2.5, 1.5])
NECK_CM = np.array([0.0, -5.0, -7.0])  # the head turns about the top of the neck, not the nose

FIXATION_MEDIAN_S, FIXATION_SPREAD = 0.9, 0.5
SACCADE_S = 0.04
FIXATION_DEG = np.array([0.7, 0.45])
GAZE_LIMIT_DEG = 2.0

# one independent random stream per process: adding one never changes the others
BLINKS, NODS, BROWS, SWAY, GAZE = range(5)


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


def behaviour(voice: VoiceTrack, *, fps: float, seed: int, still: bool) -> Iterator[Behaviour]:
    """Yield the behaviour at i / fps seconds, without end.

    Args:
        voice: Voice track; silence is assumed after its end.
        fps: Video frames per second.
        seed: Equal seeds give equal motion.
        still: Turn head motion off; blinks, brows and gaze stay.
    """
    blinks = Pulses(_blinks(voice, _stream(seed, BLINKS)), _blink_shape)
    nods = Pulses(_accent_events(voice, _stream(seed, NODS), NOD_CHANCE), _nod_shape)
    brows = Pulses(_accent_events(voice, _stream(seed, BROWS), BROW_CHANCE), _brow_shape)
    scale = np.concatenate([SWAY_DEG, SWAY_CM])
    sway = _smooth_noise(_stream(seed, SWAY), scale)
    gaze = _fixations(_stream(seed, GAZE))
    activity, index = 0.0, 0
    while True:
        time_s = index / fps
        angles, shift = np.zeros(3), np.zeros(3)
        offsets, target = sway(time_s), gaze(time_s)
        activity += (_active_at(voice, time_s + 0.2) - activity) * min(1.0, 1 / (ACTIVITY_S * fps))
        if not still:
            offsets = offsets * (QUIET_SWAY + (1.0 - QUIET_SWAY) * activity)
            angles = offsets[:3] + np.array([0.0, NOD_DEG * nods.at(time_s), 0.0])
            angles = LIMIT_DEG * np.tanh(angles / LIMIT_DEG)
            shift = offsets[3:]
        brow = BROW_RAISE * brows.at(time_s)
        yield Behaviour(min(1.0, blinks.at(time_s)), brow, angles, shift, target)
        index += 1


class Pulses:
    """Sum of the shapes of events that come in order of time."""

    LEAD_S, TAIL_S = 0.5, 1.5  # shapes are zero outside

    def __init__(
        self, events: Iterator[tuple[float, float]], shape: Callable[[float], float]
    ) -> None:
        """Take (time in s, strength) events and a shape of the time since the event."""
        self._events, self._shape = events, shape
        self._near: deque[tuple[float, float]] = deque()
        self._next: tuple[float, float] | None = next(events, None)

    def at(self, time_s: float) -> float:
        """Return the sum at a time; times must not decrease."""
        while self._next is not None and self._next[0] < time_s + self.LEAD_S:
            self._near.append(self._next)
            self._next = next(self._events, None)
        while self._near and self._near[0][0] < time_s - self.TAIL_S:
            self._near.popleft()
        return sum(strength * self._shape(time_s - begin) for begin, strength in self._near)


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


def _active_at(voice: VoiceTrack, time_s: float) -> float:
    frame = round(time_s * FRAME_RATE)
    return float(voice.active[frame]) if frame < len(voice.active) else 0.0


def _phrase_ends(voice: VoiceTrack) -> Iterator[float]:
    """Yield the times at which a phrase ends in a pause."""
    changes = np.diff(voice.active.astype(np.int8), append=0)
    ends, begins = np.flatnonzero(changes < 0), np.flatnonzero(changes > 0)
    following = np.searchsorted(begins, ends)
    for end, after in zip(ends, following, strict=True):
        pause = begins[after] - end if after < len(begins) else len(voice.active)
        if pause >= PHRASE_PAUSE_S * FRAME_RATE:
            yield float(end + 1) / FRAME_RATE


def _blinks(voice: VoiceTrack, random: np.random.Generator) -> Iterator[tuple[float, float]]:
    """Yield blinks: random intervals, pulled forward to phrase ends half of the time."""
    ends = _phrase_ends(voice)
    end: float | None = next(ends, None)
    last = -float(random.uniform(0.0, 2.0))
    while True:
        interval = BLINK_MEDIAN_S * float(np.exp(BLINK_SPREAD * random.standard_normal()))
        begin = last + float(np.clip(interval, *BLINK_LIMITS_S))
        while end is not None and end < begin:
            pulled = end + float(random.uniform(-0.05, 0.15))
            if random.random() < PHRASE_BLINK_CHANCE and pulled > last + BLINK_REST_S:
                begin = pulled
            end = next(ends, None)
        if begin >= 0.0:
            yield begin, 1.0
        last = begin


def _accents(voice: VoiceTrack) -> Iterator[tuple[float, float]]:
    """Yield (time in s, strength about 0.5..1.5) of loud syllables."""
    level = uniform_filter1d(voice.level.astype(np.float32), 8)
    around = uniform_filter1d(level, FRAME_RATE)
    reach, last = round(ACCENT_REACH_S * FRAME_RATE), -np.inf
    for frame in np.flatnonzero(voice.active & (level > around + ACCENT_RISE)):
        near = level[max(0, frame - reach) : frame + reach + 1]
        if level[frame] >= near.max() and frame - last >= ACCENT_SPACING_S * FRAME_RATE:
            last = frame
            strength = 0.5 + (level[frame] - around[frame] - ACCENT_RISE) / ACCENT_RISE
            yield frame / FRAME_RATE, float(min(strength, 1.5))


def _accent_events(
    voice: VoiceTrack, random: np.random.Generator, chance: float
) -> Iterator[tuple[float, float]]:
    for time_s, strength in _accents(voice):
        taken, size = random.random() < chance, float(random.uniform(0.5, 1.3))
        if taken:
            yield time_s, strength * size


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
