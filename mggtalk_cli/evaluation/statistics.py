"""How sure a mean is, and whether one method is better than another on the same items.

Intervals are bootstrap intervals at 95 %: the items are drawn again with replacement, and the
quantiles of the means are taken. Plain quantiles are too narrow for few items (their spread is
that of n, not n - 1, and of a normal, not a t distribution), so the quantiles are moved out as in
Hesterberg 2015, "What teachers should know about the bootstrap", section 5.3 ("expanded
percentile"): alpha/2 becomes Phi(-sqrt(n / (n - 1)) t(1 - alpha/2, n - 1)). Drawn means never
leave the range of the values, which two to four of them miss too often: they get Student's
interval, mean +- t(1 - alpha/2, n - 1) s / sqrt(n), which reports do not print: of two values it
reaches six times their distance to either side. NaN is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mggtalk_cli.evaluation.report import Metric

CONFIDENCE = 0.95
RESAMPLES = 10_000
MIN_DRAWN = 5  # values; four of one sign come up by chance in 1 of 8 cases, not in 1 of 20
SEED = 0
_DRAWS_AT_ONCE = 1 << 20  # indices held in memory


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % interval.

    Attributes:
        mean: NaN of nothing.
        low: lower end; NaN below two values, which say nothing about their spread.
        high: upper end.
        count: values that were there.
    """

    mean: float
    low: float
    high: float
    count: int

    def __neg__(self) -> Interval:
        return Interval(-self.mean, -self.high, -self.low, self.count)


@dataclass(frozen=True)
class Paired:
    """One method against another, item by item.

    Attributes:
        difference: value minus other, in the metric's unit.
        won: items on which the value is better.
        of: items that both have; 0 for a metric without a better side.
        gain: by how much the value is better; positive is better whatever the metric.
    """

    difference: Interval
    won: int
    of: int
    gain: Interval


def mean_interval(values: Sequence[float]) -> Interval:
    """Return the mean of the finite values and its bootstrap interval; the same each time.

    >>> mean_interval([2.0, 2.0, math.nan])
    Interval(mean=2.0, low=2.0, high=2.0, count=2)
    """
    finite = np.array([value for value in values if math.isfinite(value)], np.float64)
    count = len(finite)
    if count == 0:
        return Interval(math.nan, math.nan, math.nan, 0)
    mean = math.fsum(finite) / count
    if count == 1:
        return Interval(mean, math.nan, math.nan, 1)
    if np.ptp(finite) == 0:
        return Interval(mean, mean, mean, count)
    quantile = _student_quantile(count)
    if count < MIN_DRAWN:
        half = quantile * float(finite.std(ddof=1)) / math.sqrt(count)
        return Interval(mean, mean - half, mean + half, count)
    tail = _expanded_tail(quantile, count)
    low, high = np.quantile(_resampled_means(finite), [tail, 1 - tail])
    return Interval(mean, float(low), float(high), count)


def paired(values: Sequence[float], others: Sequence[float], metric: Metric) -> Paired:
    """Return how `values` compare with `others`; items that lack either one are left out.

    Args:
        values: the metric of the method judged, one per item.
        others: the metric of the other method, for the same items.
        metric: how the numbers are to be read.

    Raises:
        ValueError: the two are of different length.
    """
    differences = [a - b for a, b in zip(values, others, strict=True)]
    gains = [metric.gain(a, b) for a, b in zip(values, others, strict=True)]
    finite = [gain for gain in gains if math.isfinite(gain)]
    difference = mean_interval(differences)
    if metric.better == "higher":
        gain = difference
    elif metric.better == "lower":
        gain = -difference
    else:
        gain = mean_interval(gains)
    return Paired(difference, sum(gain > 0 for gain in finite), len(finite), gain)


def _student_quantile(count: int) -> float:
    """Return the upper quantile of Student's t for the mean of so many values."""
    from scipy.stats import t

    return float(t.ppf((1 + CONFIDENCE) / 2, count - 1))


def _expanded_tail(quantile: float, count: int) -> float:
    """Return the share of the drawn means that lies below the interval."""
    from scipy.stats import norm

    return float(norm.cdf(-math.sqrt(count / (count - 1)) * quantile))


def _resampled_means(values: np.ndarray) -> np.ndarray:
    """Return (RESAMPLES,) means of values drawn with replacement."""
    generator = np.random.default_rng(SEED)
    rows = max(1, _DRAWS_AT_ONCE // len(values))
    means = [
        values[generator.integers(len(values), size=(min(rows, RESAMPLES - done), len(values)))]
        for done in range(0, RESAMPLES, rows)
    ]
    return np.concatenate([drawn.mean(axis=1) for drawn in means])
