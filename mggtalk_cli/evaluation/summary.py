"""A report in words: what the tables on the terminal and on both pages say, cell by cell.

Which metrics a short table holds is declared with them (`Metric.key`); the main one always is
among them, and comes first.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mggtalk_cli.evaluation.report import Metric, Report
from mggtalk_cli.evaluation.statistics import MIN_DRAWN, Interval, Paired, mean_interval, paired

NOTHING = "-"
FEW = f"n < {MIN_DRAWN}"  # stands where an interval would

SIDES = {"higher": "higher", "lower": "lower", "one": "near 1", "zero": "near 0", "none": ""}

MAX_DIFFERENCES = 24  # rows of a short table


@dataclass(frozen=True)
class Difference:
    """What ours has above another method in one metric.

    Attributes:
        name: the metric.
        metric: how it is read.
        other: the other method.
        found: paired over the items that both have.
    """

    name: str
    metric: Metric
    other: str
    found: Paired

    def cells(self) -> tuple[str, ...]:
        """Return metric, other method, difference, its interval, items won, and what ours is."""
        # Of what should be near a target, the difference says nothing: how much nearer does.
        near = self.metric.better in ("one", "zero")
        difference = self.found.gain if near else self.found.difference
        return (
            named(self.name, self.metric),
            self.other,
            number(difference.mean, self.metric, signed=True),
            ends_text(difference, self.metric, signed=True) if enough(difference) else FEW,
            won_text(self.found),
            certainty(self.found, self.metric) if enough(difference) else "",
        )


def differences(report: Report, name: str) -> list[Difference]:
    """Return ours minus every other method that has the metric on an item that ours has it on."""
    metric = report.metrics[name]
    ours = report.column(report.ours, name)
    found = (
        Difference(name, metric, other, paired(ours, report.column(other, name), metric))
        for other in report.others
    )
    return [difference for difference in found if difference.found.difference.count]


def means(report: Report, name: str) -> list[Interval]:
    """Return the mean over the items of every method, ours first.

    A number over all items together has no items of its own: its count is 0.
    """
    found = []
    for method in report.methods:
        mean = mean_interval(report.column(method, name))
        whole = report.overall.get(method, {}).get(name, math.nan)
        if not mean.count and math.isfinite(whole):
            mean = Interval(whole, math.nan, math.nan, 0)
        found.append(mean)
    return found


def has_numbers(report: Report, name: str) -> bool:
    """Return whether any method has a number of the metric."""
    tables = (*report.overall.values(), *(t for i in report.items for t in i.values.values()))
    return any(math.isfinite(table.get(name, math.nan)) for table in tables)


def metric_order(report: Report) -> list[str]:
    """Return the names of the metrics: the main one, the other key ones, the rest."""
    known = report.metrics
    return sorted(known, key=lambda name: (name != report.main, not known[name].key))


def key_metrics(report: Report) -> list[str]:
    """Return the names of the key metrics, the main one first; all where none is declared."""
    keys = [n for n in metric_order(report) if n == report.main or report.metrics[n].key]
    return keys if len(keys) > 1 else metric_order(report)


def short_differences(report: Report) -> list[str]:
    """Return the key metrics whose differences fit a short table; the main one always does."""
    names = [report.main]
    rows = len(differences(report, report.main))
    for name in key_metrics(report)[1:]:
        rows += len(differences(report, name))
        if rows > MAX_DIFFERENCES:
            break
        names.append(name)
    return names


def best(values: Sequence[float], metric: Metric) -> set[int]:
    """Return the indices of the best numbers as printed; none where all print the same.

    >>> best([30.1, 30.104, 28.0, math.nan], Metric("PSNR", digits=2))
    {0, 1}
    """
    there = {index: value for index, value in enumerate(values) if math.isfinite(value)}
    losses = {i: round(metric.gain(0.0, value), metric.digits) for i, value in there.items()}
    if metric.better == "none" or len(set(losses.values())) < 2:
        return set()
    least = min(losses.values())
    return {index for index, loss in losses.items() if loss == least}


def notes(report: Report) -> list[str]:
    """Return a line for everything that has no number, with the reason."""
    lines = [f"left out: {name}: {reason}" for name, reason in report.left_out.items()]
    lines += [
        f"left out: {name}: no item has a number"
        for name in report.metrics
        if name not in report.left_out and not has_numbers(report, name)
    ]
    return lines + [f"failed: {name}: {reason}" for name, reason in report.failed.items()]


def verdict(report: Report) -> list[str]:
    """Return a line per other method: how often and by how much ours is better in `main`."""
    lines = []
    for difference in differences(report, report.main):
        found, metric = difference.found, difference.metric
        if not found.of:
            continue
        gap = number(found.difference.mean, metric, signed=True)
        if enough(found.difference):
            gap = interval_text(found.difference, metric, signed=True)
        lines.append(
            f"{report.main}: {report.ours} better than {difference.other} on {won_text(found)} "
            f"items, {gap}{unit(metric)}: {certainty(found, metric)}"
        )
    return lines


def certainty(found: Paired, metric: Metric) -> str:
    """Return in words whether a difference is one, judged by the ends as they are printed."""
    if not enough(found.difference):
        return f"fewer than {MIN_DRAWN} items cannot tell"
    judged = found.gain if found.of else found.difference
    low, high = (round(end, metric.digits) for end in (judged.low, judged.high))
    if low <= 0 <= high:
        return "within noise"
    if not found.of:
        return "different beyond noise"
    return "better beyond noise" if low > 0 else "worse beyond noise"


def enough(interval: Interval) -> bool:
    """Return whether there are items enough for an interval to mean something."""
    return interval.count >= MIN_DRAWN


def won_text(found: Paired) -> str:
    """Return "7 of 9", a dash where the metric has no better side or no items in common."""
    return f"{found.won} of {found.of}" if found.of else NOTHING


def interval_text(interval: Interval, metric: Metric, *, signed: bool = False) -> str:
    """Return "27.50 [26.10, 28.90]" with the decimals of the metric.

    >>> interval_text(Interval(1.0, 0.5, 1.5, 9), Metric("", digits=1), signed=True)
    '+1.0 [+0.5, +1.5]'
    """
    mean = number(interval.mean, metric, signed=signed)
    if math.isnan(interval.low):
        return mean
    return f"{mean} {ends_text(interval, metric, signed=signed)}"


def ends_text(interval: Interval, metric: Metric, *, signed: bool = False) -> str:
    """Return "[26.10, 28.90]" with the decimals of the metric."""
    low, high = (number(end, metric, signed=signed) for end in (interval.low, interval.high))
    return f"[{low}, {high}]"


def number(value: float, metric: Metric, *, signed: bool = False) -> str:
    """Return a number with the decimals of its metric, a dash for none."""
    if not math.isfinite(value):
        return NOTHING
    sign = "+" if signed else ""
    rounded = round(value, metric.digits) + 0.0  # no minus before zero
    return f"{rounded:{sign}.{metric.digits}f}"


def unit(metric: Metric) -> str:
    """Return the unit with a space before it."""
    return f" {metric.unit}" if metric.unit else ""


def named(name: str, metric: Metric) -> str:
    """Return "head_db dB"."""
    return f"{name}{unit(metric)}"


def about_means(report: Report, mark: str) -> str:
    """Return a line on the table of means, whose best numbers are marked in the way named."""
    items = f"{len(report.items)} item{'s' * (len(report.items) != 1)}"
    return f"Means over {items}; {mark}: best, among methods measured on the same ones."


def about_intervals() -> str:
    """Return a line on the intervals."""
    return (
        f"Intervals are at 95 %, bootstrapped over the items; {FEW}: too few, there is none. "
        "Differences of what is best near 1 or 0: by how much nearer ours is."
    )


def definitions(report: Report) -> list[tuple[str, str, str]]:
    """Return name and unit, better side, and definition of every metric, the main one first."""
    return [
        (named(name, metric), SIDES[metric.better], metric.definition)
        for name, metric in ((name, report.metrics[name]) for name in metric_order(report))
    ]
