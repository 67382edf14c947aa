"""A report as Markdown: the tables of the page, without its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mggtalk_cli.evaluation import summary
from mggtalk_cli.evaluation.grids import Cell, Grid, difference_grid, item_grid, mean_grids
from mggtalk_cli.evaluation.report import Report
from mggtalk_cli.evaluation.settings import flat

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*<>|"})


def markdown_page(report: Report) -> str:
    """Return the text of `report.md`."""
    names = summary.metric_order(report)
    differences = difference_grid(report, names)
    parts = [
        f"# evaluate {report.protocol}: {len(report.items)} items, mggtalk {report.version}",
        _bullets(summary.verdict(report)),
        "## Means",
        _plain(f"{summary.about_means(report, 'bold')} {summary.about_intervals()}"),
        *map(_grid, mean_grids(report, names)),
        _bullets(summary.notes(report)),
        *([_differences(report, differences)] if differences.rows else []),
        f"## {_plain(report.main)} by item",
        _grid(item_grid(report, report.main)),
        "## What the numbers are",
        _table(("metric", "better", "definition"), summary.definitions(report)),
        "## Settings",
        _table(("setting", "value"), flat(report.settings)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _differences(report: Report, grid: Grid) -> str:
    heading = f"## {_plain(report.ours)} minus each other method, item by item"
    return f"{heading}\n\n{_grid(grid)}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return _grid(Grid(tuple(headings), tuple(tuple(map(Cell, row)) for row in rows), range(0)))


def _grid(grid: Grid) -> str:
    lines = [map(_plain, grid.headings), *(map(_cell, row) for row in grid.rows)]
    text = ["| " + " | ".join(line) + " |" for line in lines]
    rules = ("---:" if i in grid.numbers else "---" for i in range(len(grid.headings)))
    return "\n".join([text[0], "| " + " | ".join(rules) + " |", *text[1:]])


def _cell(cell: Cell) -> str:
    text = f"**{_plain(cell.text)}**" if cell.best else _plain(cell.text)
    return f"{text} {_plain(cell.interval)}" if cell.interval else text


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return " ".join(text.split()).translate(_SPECIAL).replace("](", "]\\(")
