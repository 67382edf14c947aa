from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import bootstrap

from mggtalk_cli.evaluation.report import Better, Metric
from mggtalk_cli.evaluation.statistics import mean_interval, paired

NAN = math.nan


def test_mean_of_nothing_of_one_and_of_equal_values() -> None:
    nothing, one, equal = mean_interval([NAN, math.inf]), mean_interval([3, NAN]), [5.0] * 4
    assert nothing.count == 0
    assert math.isnan(nothing.mean)
    assert (one.mean, one.count) == (3, 1)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    found = mean_interval(equal)
    assert (found.mean, found.low, found.high, found.count) == (5, 5, 5, 4)


def test_interval_moves_and_scales_with_the_values_and_is_the_same_each_time() -> None:
    values = np.random.default_rng(1).normal(size=12)
    first, moved = mean_interval(values), mean_interval(10 + 2 * values)
    assert first == mean_interval(values)
    assert first.low < first.mean < first.high
    assert moved.low == pytest.approx(10 + 2 * first.low)
    assert moved.high == pytest.approx(10 + 2 * first.high)


def test_interval_of_many_values_is_that_of_scipy() -> None:
    values = np.random.default_rng(2).exponential(size=400)
    found = mean_interval(values)
    drawn = bootstrap(
        (values,), np.mean, n_resamples=9999, method="percentile", rng=np.random.default_rng(3)
    ).confidence_interval
    width = drawn.high - drawn.low
    assert found.low == pytest.approx(drawn.low, abs=0.05 * width)
    assert found.high == pytest.approx(drawn.high, abs=0.05 * width)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 9])
def test_interval_of_few_values_holds_the_truth_as_often_as_it_says(count: int) -> None:
    rng = np.random.default_rng(4)
    found = [mean_interval(rng.normal(1.0, 2.0, size=count)) for _ in range(300)]
    held = np.mean([interval.low <= 1.0 <= interval.high for interval in found])
    assert 0.91 <= held <= 0.985  # 0.95 and four standard errors; plain quantiles of 5: 0.84


@pytest.mark.parametrize(
    ("better", "gain", "won"),
    [("higher", 1.5, 2), ("lower", -1.5, 1), ("one", -1.5, 1), ("zero", -1.5, 1)],
)
def test_paired_differences_and_who_won(better: Better, gain: float, won: int) -> None:
    values, others = [3, 4, 5, 6, NAN], [1, 2, 5.5, 5.0, 9]
    values[3] = NAN
    others[:3] = [1, 1.5, 5.0 + 1.0]
    found = paired(values, others, Metric("", better))
    assert found.difference.mean == pytest.approx((2 + 2.5 - 1) / 3)
    assert found.of == 3
    assert found.won == won
    assert np.sign(found.gain.mean) == np.sign(gain)


def test_interval_of_two_values_is_students() -> None:
    found = mean_interval([1.0, 3.0])
    assert found.high == pytest.approx(2 + 12.7062, abs=1e-3)
    assert found.low == pytest.approx(2 - 12.7062, abs=1e-3)


def test_paired_of_ties_and_of_metrics_without_a_better_side() -> None:
    tie = paired([1, 1], [1, 1], Metric(""))
    assert (tie.won, tie.of, tie.difference.mean) == (0, 2, 0)
    none = paired([1, 2], [3, 5], Metric("", "none"))
    assert (none.won, none.of, none.difference.mean) == (0, 0, -2.5)
    assert none.gain.count == 0


def test_gain_of_a_lower_metric_mirrors_the_difference() -> None:
    found = paired([1, 2, 4], [3, 3, 3], Metric("", "lower"))
    assert found.gain.low == -found.difference.high
    assert found.gain.high == -found.difference.low


def test_paired_needs_as_many_of_each() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired([1, 2], [1], Metric(""))
