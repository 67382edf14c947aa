"""A report in words and cells: what the table on the terminal and both pages have in common.

Every metric gets one row per method: its mean over the items with the 95 % interval, and what the
judged method has above it, paired over the items that both have, with the number of items won.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from mggtalk_cli.evaluation.report import Metric, Report
from mggtalk_cli.evaluation.statistics import Interval, Paired, mean_interval, paired

NOTHING = "-"

SIDES = {"higher": "higher", "lower": "lower", "one": "near 1", "zero": "near 0", "none": ""}


@dataclass(frozen=True)
class Row:
    """One method's mean of one metric.

    Attributes:
        name: the metric.
        metric: how it is read.
        method: whose number it is.
        mean: over the items; without an interval where it is one number over all of them.
        against: what the judged method has above it; None in its own row.
        first: whether it is the metric's first row.
    """

    name: str
    metric: Metric
    method: str
    mean: Interval
    against: Paired | None
    first: bool

    def cells(self) -> tuple[str, str, str, str, str, str]:
        """Return the row as text, below `headings`."""
        named = f"{self.name} {self.metric.unit}".strip() if self.first else ""
        side = SIDES[self.metric.better] if self.first else ""
        mean = interval_text(self.mean, self.metric)
        if self.against is None:
            return named, side, self.method, mean, "", ""
        difference = interval_text(self.against.difference, self.metric, signed=True)
        return named, side, self.method, mean, difference, won_text(self.against)


def headings(report: Report) -> tuple[str, str, str, str, str, str]:
    """Return what stands above the cells of a row."""
    above = f"{report.ours} minus it [95 %]"
    return "metric", "better", "method", "mean [95 %]", above, f"{report.ours} won"


def rows(report: Report) -> list[Row]:
    """Return the rows of all metrics that have numbers, the main one first."""
    found: list[Row] = []
    for name in metric_order(report):
        metric = report.metrics[name]
        ours = report.column(report.ours, name)
        for method, mean in _means(report, name):
            against = None
            if method != report.ours and mean.count:
                against = paired(ours, report.column(method, name), metric)
            first = not found or found[-1].name != name
            found.append(Row(name, metric, method, mean, against, first))
    return found


def metric_order(report: Report) -> list[str]:
    """Return the names of the metrics, the main one first."""
    return sorted(report.metrics, key=lambda name: name != report.main)


def _means(report: Report, name: str) -> Iterator[tuple[str, Interval]]:
    for method in report.methods:
        mean = mean_interval(report.column(method, name))
        whole = report.overall.get(method, {}).get(name, math.nan)
        if not mean.count and math.isfinite(whole):
            mean = Interval(whole, math.nan, math.nan, 0)
        if math.isfinite(mean.mean):
            yield method, mean


def notes(report: Report) -> list[str]:
    """Return a line for everything that has no number, with the reason."""
    shown = {row.name for row in rows(report)}
    lines = [f"left out: {name}: {reason}" for name, reason in report.left_out.items()]
    lines += [
        f"left out: {name}: no item has a number"
        for name in report.metrics
        if name not in shown and name not in report.left_out
    ]
    return lines + [f"failed: {name}: {reason}" for name, reason in report.failed.items()]


def verdict(report: Report) -> list[str]:
    """Return a line per other method: how often and by how much ours is better in `main`."""
    metric = report.metrics[report.main]
    ours = report.column(report.ours, report.main)
    lines = []
    for other in report.others:
        found = paired(ours, report.column(other, report.main), metric)
        if found.of == 0:
            continue
        difference = interval_text(found.difference, metric, signed=True)
        lines.append(
            f"{report.main}: {report.ours} better than {other} on {won_text(found)} items, "
            f"{difference}{unit(metric)}: {certainty(found.gain)}"
        )
    return lines


def certainty(gain: Interval) -> str:
    """Return in words whether a gain is one."""
    if math.isnan(gain.low):
        return "one item cannot tell"
    if gain.low > 0:
        return "better beyond noise"
    return "worse beyond noise" if gain.high < 0 else "within noise"


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
    low, high = (number(end, metric, signed=signed) for end in (interval.low, interval.high))
    return f"{mean} [{low}, {high}]"


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


def item_table(report: Report, name: str) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Return headings and rows: one metric, items down, methods across."""
    metric = report.metrics[name]
    table = [
        (
            item.name,
            *(
                number(item.values.get(method, {}).get(name, math.nan), metric)
                for method in report.methods
            ),
        )
        for item in report.items
    ]
    return ("item", *report.methods), table


def definitions(report: Report) -> list[tuple[str, str, str]]:
    """Return name and unit, better side, and definition of every metric, the main one first."""
    return [
        (f"{name}{unit(metric)}", SIDES[metric.better], metric.definition)
        for name, metric in ((name, report.metrics[name]) for name in metric_order(report))
    ]
