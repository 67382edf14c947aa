"""What changed from one report to another, and whether it is more than noise.

Numbers are paired over the items that both reports have: the gain of B over A on each item, its
mean, and the 95 % bootstrap interval of that mean (see `statistics`). A change is beyond noise
where the interval does not hold 0. The judged method of B is *worse* where its mean loss in a
metric is larger than the margin and beyond noise; with one item in common there is no interval,
and the margin alone decides. A change of less than half the last decimal worth printing is none.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import summary
from mggtalk_cli.evaluation.report import Metric, Report
from mggtalk_cli.evaluation.settings import flat
from mggtalk_cli.evaluation.statistics import Interval, mean_interval, paired

SAME, BETTER, WORSE, NOISE, CHANGED = "same", "better", "worse", "within noise", "changed"

_SHOWN = 5  # names in a warning


@dataclass(frozen=True)
class Change:
    """One metric of one method in two reports.

    Attributes:
        method: whose number it is.
        name: the metric.
        metric: how it is read.
        before: mean of A over the items that both have.
        after: mean of B over the same items.
        difference: B minus A.
        gain: by how much B is better; NaN for a metric without a better side.
        kind: "same", "better", "worse", "within noise", or "changed" (beyond noise, with no better
            side; or a single item, which has no noise to compare with).
    """

    method: str
    name: str
    metric: Metric
    before: float
    after: float
    difference: Interval
    gain: Interval
    kind: str

    def cells(self) -> tuple[str, ...]:
        """Return the change as text, below `HEADINGS`."""
        before, after = (summary.number(value, self.metric) for value in (self.before, self.after))
        difference = summary.interval_text(self.difference, self.metric, signed=True)
        name = f"{self.name}{summary.unit(self.metric)}"
        items = str(self.difference.count)
        return self.method, name, before, after, difference, items, self.kind


HEADINGS = ("method", "metric", "A", "B", "B minus A [95 %]", "items", "B is")


@dataclass(frozen=True)
class Comparison:
    """Two reports of one protocol.

    Attributes:
        items: names of the items that both have.
        changes: by method and metric, in the order of B.
        worse: the changes of the judged method that are beyond their margin and beyond noise.
        warnings: what makes the two harder to compare.
    """

    items: tuple[str, ...]
    changes: tuple[Change, ...]
    worse: tuple[Change, ...]
    warnings: tuple[str, ...]


def compare_reports(
    before: Report, after: Report, margins: Mapping[str, float] | None = None
) -> Comparison:
    """Return what changed from report A (`before`) to report B (`after`).

    Args:
        before: report A.
        after: report B.
        margins: metric -> loss of the judged method that is still accepted, in the metric's unit.
            The main metric of B is judged even if it is not named here, with a margin of 0.

    Raises:
        InputError: two protocols, no item in common, or a margin for a metric that has no numbers
            or no better side.
    """
    if before.protocol != after.protocol:
        raise InputError(
            f"A is a report of `evaluate {before.protocol}`, B of `evaluate {after.protocol}`: "
            "only reports of one protocol can be compared"
        )
    there = {item.name for item in before.items}
    common = tuple(item.name for item in after.items if item.name in there)
    if not common:
        raise InputError("A and B have no item in common: evaluate the same files")
    changes = _changes(before, after, common)
    margins = {after.main: 0.0, **(margins or {})}
    judged = {change.name: change for change in changes if change.method == after.ours}
    _check_margins(margins, judged, after)
    worse = tuple(
        change
        for name, change in judged.items()
        if name in margins and _lost(change, margins[name])
    )
    return Comparison(common, changes, worse, tuple(_warnings(before, after, common)))


def _changes(before: Report, after: Report, common: tuple[str, ...]) -> tuple[Change, ...]:
    a = {item.name: item.values for item in before.items}
    b = {item.name: item.values for item in after.items}
    changes = []
    for method in after.methods:
        if method not in before.methods:
            continue
        for name in summary.metric_order(after):
            old = [a[item].get(method, {}).get(name, math.nan) for item in common]
            new = [b[item].get(method, {}).get(name, math.nan) for item in common]
            change = _change(method, name, after.metrics[name], old, new)
            if change.difference.count:
                changes.append(change)
    return tuple(changes)


def _change(method: str, name: str, metric: Metric, old: list[float], new: list[float]) -> Change:
    both = [(a, b) for a, b in zip(old, new, strict=True) if math.isfinite(a - b)]
    before = mean_interval([a for a, _ in both]).mean
    after = mean_interval([b for _, b in both]).mean
    found = paired(new, old, metric)
    kind = _kind(found.difference, found.gain, metric)
    return Change(method, name, metric, before, after, found.difference, found.gain, kind)


def _kind(difference: Interval, gain: Interval, metric: Metric) -> str:
    """Return in a word what a change is; where there is no better side, by the difference."""
    visible = 0.5 * 10.0**-metric.digits
    spread = (difference.mean, difference.low, difference.high)
    if all(abs(value) < visible for value in spread if math.isfinite(value)):
        return SAME
    judged = gain if gain.count else difference
    if math.isnan(judged.low):
        return CHANGED
    if judged.low <= 0 <= judged.high:
        return NOISE
    if not gain.count:
        return CHANGED
    return BETTER if gain.low > 0 else WORSE


def _lost(change: Change, margin: float) -> bool:
    """Return whether a change is a loss beyond the margin and beyond noise."""
    alone = change.gain.count == 1 and change.kind == CHANGED
    return (change.kind == WORSE or alone) and change.gain.mean < -margin


def _check_margins(
    margins: Mapping[str, float], judged: Mapping[str, Change], after: Report
) -> None:
    for name in margins:
        if name not in judged:
            near = get_close_matches(name, judged, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(judged)}"
            raise InputError(f"{after.ours} has no {name} in both reports: {hint}")
        if not judged[name].gain.count:
            raise InputError(f"{name} has no better side: it cannot have a margin")


def _warnings(before: Report, after: Report, common: tuple[str, ...]) -> list[str]:
    """Return what makes two reports harder to compare, a line each."""
    a, b = dict(flat(before.settings)), dict(flat(after.settings))
    lines = [
        f"setting {name} differs: A has {a.get(name, 'none')}, B has {b.get(name, 'none')}"
        for name in {**a, **b}
        if a.get(name) != b.get(name)
    ]
    old = {item.name: item.inputs for item in before.items}
    new = {item.name: item.inputs for item in after.items}
    other = [name for name in common if old[name] != new[name]]
    lines += [
        f"{text}: {_named(names)}"
        for text, names in (
            ("only in A", [name for name in old if name not in new]),
            ("only in B", [name for name in new if name not in old]),
            ("not the same files in A and B", other),
            ("methods only in A", [m for m in before.methods if m not in after.methods]),
            ("methods only in B", [m for m in after.methods if m not in before.methods]),
        )
        if names
    ]
    return lines


def _named(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
