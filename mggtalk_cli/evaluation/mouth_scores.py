"""Numbers that compare mouth curves over time; each has a known-answer test.

Curves are lists of pieces (n,), one per clip, NaN where there is nothing to compare; the pieces of
a speaker are pooled, and no shift reaches across the border between two of them.
"""

from __future__ import annotations

import numpy as np

from mggtalk_cli.evaluation.metrics.curves import pooled_lag, pooled_r

__all__ = [
    "amplitude_ratio",
    "closed_found",
    "closed_frames",
    "longest_still",
    "pooled_lag",
    "pooled_r",
    "spread",
]

# A speaker's lips count as closed at and below this percentile of all his frames. No fixed gap
# would do: the tracker's zero differs between people by more than a closure is deep.
CLOSED_PERCENTILE = 8.0
FOUND_SHARE = 0.2  # predicted lowest share of the frames in speech; chance finds as much
LEAST_CLOSED = 5  # fewer closed frames say nothing


def closed_frames(opening: np.ndarray) -> np.ndarray:
    """Return (n,) bool: where the lips are closed, of all frames (n,) of one speaker."""
    return np.asarray(opening <= np.percentile(opening, CLOSED_PERCENTILE))


def closed_found(guess: np.ndarray, closed: np.ndarray) -> float:
    """Return the share of closed frames among the fifth with the least predicted opening.

    Where several frames share the value at the border, each counts by its chance to be taken, so
    a prediction without any information finds .20 exactly.

    Args:
        guess: (n,) predicted opening of the frames in speech.
        closed: (n,) bool, where the lips are truly closed.

    Returns:
        0..1; NaN with fewer than `LEAST_CLOSED` closed frames.
    """
    if closed.sum() < LEAST_CLOSED:
        return float("nan")
    wanted = FOUND_SHARE * len(guess)
    border = np.sort(guess)[max(int(np.ceil(wanted)) - 1, 0)]
    below, level = guess < border, guess == border
    taken = below + level * ((wanted - below.sum()) / level.sum())
    return float(taken[closed].mean())


def amplitude_ratio(guess: np.ndarray, true: np.ndarray) -> float:
    """Return the standard deviation of one curve over that of the other; NaN for a flat one."""
    own = spread(true)
    return spread(guess) / own if own > 0 else float("nan")


def spread(curve: np.ndarray) -> float:
    """Return the standard deviation of (n,) values; NaN of none."""
    return float(curve.std()) if curve.size else float("nan")


def longest_still(curve: np.ndarray, inside: np.ndarray, tolerance: float) -> int:
    """Return the most samples in a row inside which a curve stays within `tolerance`.

    Args:
        curve: (n,) values.
        inside: (n,) bool; a run ends where this is False.
        tolerance: largest difference between two samples of a run.
    """
    longest, start = 0, 0
    for end in range(len(curve)):
        if not inside[end]:
            start = end + 1
            continue
        apart = np.abs(curve[start : end + 1] - curve[end]) > tolerance
        if apart.any():
            start += int(np.flatnonzero(apart)[-1]) + 1
        longest = max(longest, end + 1 - start)
    return longest
