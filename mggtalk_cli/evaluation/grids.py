"""The tables of a report as cells, for the terminal and both pages: means, and who is ahead.

The means have a row per metric and a column per method; with too many methods for a page, a row
per method and the metrics across, in several tables. The differences are paired: ours minus the
other method on every item that both have. No interval stands where fewer than five items
have a number: a few items spread by chance, and what Student's t makes of two of them reaches
beyond any number there can be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mggtalk_cli.evaluation import summary
from mggtalk_cli.evaluation.report import Item, Metric, Report
from mggtalk_cli.evaluation.statistics import Interval

MAX_ACROSS = 7  # methods side by side
WIDTH = 100  # columns of text, where metrics stand side by side
GAP = 2  # columns between two cells


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it says.
        interval: "[low, high]" of a mean; empty without one.
        best: whether no other method's number is better.
    """

    text: str
    interval: str = ""
    best: bool = False


@dataclass(frozen=True)
class Grid:
    """A table.

    Attributes:
        headings: one per column.
        rows: cells below them; a row that goes on with the one above begins with an empty cell.
        numbers: the columns that hold numbers.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: range


@dataclass(frozen=True)
class _Column:
    """A metric's numbers as cells: its better side, the items that have it, one per method."""

    heading: str
    side: Cell
    items: Cell
    methods: tuple[Cell, ...]

    @property
    def width(self) -> int:
        cells = (self.side, self.items, *self.methods)
        return max(len(self.heading), *(len(cell.text) for cell in cells)) + GAP


def mean_grids(report: Report, names: Iterable[str]) -> list[Grid]:
    """Return the means of some metrics over the items; those without numbers are left out."""
    columns = [_column(report, name) for name in names if summary.has_numbers(report, name)]
    if not columns:
        return []
    if len(report.methods) <= MAX_ACROSS:
        rows = tuple((Cell(c.heading), c.side, *c.methods, c.items) for c in columns)
        headings = ("metric", "better", *report.methods, "items")
        return [Grid(headings, rows, range(2, len(headings)))]
    room = WIDTH - max(map(len, report.methods)) - GAP
    return [_methods_down(report.methods, block) for block in _blocks(columns, room)]


def difference_grid(report: Report, names: Iterable[str]) -> Grid:
    """Return what ours has above each other method, for some metrics."""
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        cells = [tuple(map(Cell, found.cells())) for found in summary.differences(report, name)]
        rows += [row if i == 0 else (Cell(""), *row[1:]) for i, row in enumerate(cells)]
    ours = report.ours
    headings = ("metric", "other", f"{ours} minus it", "95 %", f"{ours} won", f"{ours} is")
    return Grid(headings, tuple(rows), range(2, 3))


def item_grid(report: Report, name: str) -> Grid:
    """Return one metric, items down and methods across."""
    rows = [(Cell(item.name), *_item_cells(report, item, name)) for item in report.items]
    headings = ("item", *report.methods)
    return Grid(headings, tuple(rows), range(1, len(headings)))


def metric_grid(report: Report, item: Item) -> Grid:
    """Return all numbers of one item, metrics down and methods across."""
    known = {k for table in item.values.values() for k, v in table.items() if math.isfinite(v)}
    rows = [
        (Cell(summary.named(name, report.metrics[name])), *_item_cells(report, item, name))
        for name in summary.metric_order(report)
        if name in known
    ]
    headings = ("metric", *report.methods)
    return Grid(headings, tuple(rows), range(1, len(headings)))


def _item_cells(report: Report, item: Item, name: str) -> Iterator[Cell]:
    metric = report.metrics[name]
    values = [item.values.get(method, {}).get(name, math.nan) for method in report.methods]
    best = summary.best(values, metric)
    for index, value in enumerate(values):
        yield Cell(summary.number(value, metric), best=index in best)


def _column(report: Report, name: str) -> _Column:
    metric = report.metrics[name]
    means = summary.means(report, name)
    counts = sorted({mean.count for mean in means if math.isfinite(mean.mean)})
    values = [mean.mean for mean in means]
    best = summary.best(values, metric) if _comparable(report, name) else set()
    return _Column(
        summary.named(name, metric),
        Cell(summary.SIDES[metric.better]),
        Cell(_counted(counts)),
        tuple(_mean_cell(mean, metric, best=i in best) for i, mean in enumerate(means)),
    )


def _mean_cell(mean: Interval, metric: Metric, *, best: bool) -> Cell:
    interval = summary.ends_text(mean, metric) if summary.enough(mean) else ""
    return Cell(summary.number(mean.mean, metric), interval, best)


def _comparable(report: Report, name: str) -> bool:
    """Return whether the methods' means are over the same items: others may be harder ones."""
    columns = (report.column(method, name) for method in report.methods)
    there = {tuple(map(math.isfinite, column)) for column in columns}
    return len({items for items in there if any(items)}) < 2


def _counted(counts: Sequence[int]) -> str:
    """Return "9", "7-9" where methods differ, "all" for a number over all items together."""
    if counts[-1] == 0:
        return "all"
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]}-{counts[-1]}"


def _methods_down(methods: Sequence[str], columns: Sequence[_Column]) -> Grid:
    rows = [
        (Cell("better"), *(column.side for column in columns)),
        *(
            (Cell(method), *(column.methods[index] for column in columns))
            for index, method in enumerate(methods)
        ),
        (Cell("items"), *(column.items for column in columns)),
    ]
    headings = ("method", *(column.heading for column in columns))
    return Grid(headings, tuple(rows), range(1, len(headings)))


def _blocks(columns: Sequence[_Column], room: int) -> list[list[_Column]]:
    """Return the columns in blocks that are no wider than the room, if a column can be."""
    blocks: list[list[_Column]] = [[]]
    for column in columns:
        used = sum(other.width for other in blocks[-1])
        if blocks[-1] and used + column.width > room:
            blocks.append([])
        blocks[-1].append(column)
    return blocks
