"""How well two curves over time agree: Pearson's r, and how late one of them is.

Curves are lists of pieces (n,), one per clip, NaN where there is nothing to compare; the pieces of
a speaker are pooled, and no shift reaches across the border between two of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Pieces = Sequence[np.ndarray]

MAX_LAG = 3  # frames at 25 fps: a fifth of a second between picture and sound is seen as wrong


class Agreement(NamedTuple):
    """How two curves agree: `r` at lag 0, the `lag` (samples late) of the best r, and `lag_r`."""

    r: float
    lag: int
    lag_r: float


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's r of two curves (n,), -1..1; NaN where one of them is constant.

    Higher is better: 1 is equal up to scale and offset, 0 unrelated, -1 mirrored.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def opening_agreement(guess: np.ndarray, truth: np.ndarray, *, max_lag: int = MAX_LAG) -> Agreement:
    """Return correlation and lag of two mouth-opening curves of one clip.

    r and `lag_r` lie in -1..1, higher is better; `lag` is 0 where the lips move in time, positive
    where `guess` is late. Openings are those of `core.mouth` (inner lip gap over the distance of
    the outer eye corners), so resolution does not matter.

    Args:
        guess: (n,) opening of the frames judged, NaN where no face was found.
        truth: (n,) opening of the true frames.
        max_lag: largest lag looked for, samples.
    """
    lag, lag_r = pooled_lag([guess], [truth], max_lag)
    return Agreement(pooled_r([guess], [truth]), lag, lag_r)


def pooled_r(guess: Pieces, true: Pieces, *, lag: int = 0) -> float:
    """Return Pearson's r over all pieces where both are finite, `guess` moved `lag` earlier."""
    first, second = [], []
    for late, early in zip(guess, true, strict=True):
        count = max(len(late) - abs(lag), 0)
        first.append(late[max(lag, 0) :][:count])
        second.append(early[max(-lag, 0) :][:count])
    a, b = np.concatenate(first), np.concatenate(second)
    both = np.isfinite(a) & np.isfinite(b)
    return correlation(a[both], b[both])


def pooled_lag(guess: Pieces, true: Pieces, max_lag: int) -> tuple[int, float]:
    """Return by how many samples `guess` is late, and r at that lag; of equals the smallest."""
    best, best_r = 0, pooled_r(guess, true)
    for lag in sorted(range(-max_lag, max_lag + 1), key=abs):
        r = pooled_r(guess, true, lag=lag)
        if r > best_r + 1e-12 or (np.isnan(best_r) and not np.isnan(r)):
            best, best_r = lag, r
    return best, best_r
