"""What every `evaluate` command shares: NAME=PATH options, the printed report, the exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mggtalk_cli.cli.progress import Reporter
    from mggtalk_cli.evaluation.grids import Grid
    from mggtalk_cli.evaluation.report import Report

# Some files failed, the others were finished and printed.
EXIT_PARTLY = 4

_FILE_WIDTH = 140  # columns where no terminal sets them


def parse_pairs(values: Sequence[str] | None, option: str = "--weights") -> dict[str, Path]:
    """Return the paths by name of a repeatable NAME=PATH option.

    Raises:
        BadParameter: no name, no path, or a name that is there twice.
    """
    pairs: dict[str, Path] = {}
    for value in values or ():
        name, equals, path = value.partition("=")
        name = name.strip()
        if not (name and equals and path):
            raise typer.BadParameter(f"{option} {value}: NAME=PATH is expected")
        if name in pairs:
            raise typer.BadParameter(f"{option} {value}: {name} is there twice")
        pairs[name] = Path(path)
    return pairs


def finish_report(
    reporter: Reporter, report: Report, *, as_json: bool, output: str | None = None
) -> None:
    """Print a report, as report.json or as a table, and exit with `EXIT_PARTLY` on failures.

    Args:
        reporter: told where the report was written.
        report: what `run_protocol` returned.
        as_json: print the text of report.json and nothing else.
        output: the folder it was written to.
    """
    if output is not None:
        reporter.wrote(str(Path(output) / "report.html"), counted="item", count=len(report.items))
    if as_json:
        from mggtalk_cli.evaluation.report import to_json

        typer.echo(to_json(report), nl=False)
    else:
        _print_report(report, output)
    if report.failed:
        raise typer.Exit(EXIT_PARTLY)


def _print_report(report: Report, output: str | None) -> None:
    """Print means, differences and what is missing; of a report in a folder the key metrics."""
    from mggtalk_cli.evaluation import summary
    from mggtalk_cli.evaluation.grids import difference_grid, mean_grids

    names = summary.metric_order(report) if output is None else summary.key_metrics(report)
    typer.echo(summary.about_means(report, "*"))
    for grid in mean_grids(report, names):
        _print_grid(grid)
    differences = difference_grid(report, summary.short_differences(report))
    if differences.rows:
        typer.echo(f"\n{summary.about_intervals()}")
        _print_grid(differences)
    for line in summary.notes(report):
        typer.echo(_printable(line))
    place = "the report that -o DIR writes" if output is None else Path(output) / "report.html"
    typer.echo(_printable(f"all metrics, differences and items: {place}"))


def _print_grid(grid: Grid) -> None:
    rows = []
    for row in grid.rows:
        cells = ((cell.text, "*" if cell.best else " ") for cell in row)
        rows.append([text + mark * (i in grid.numbers) for i, (text, mark) in enumerate(cells)])
    print_table(grid.headings, rows, right=grid.numbers)


def print_table(
    columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: range = range(0)
) -> None:
    """Print rows under their columns; where a terminal is too narrow, cells take several lines.

    Args:
        columns: headings.
        rows: cells.
        right: the columns whose cells end where the others begin.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    table = Table(box=None)
    for index, column in enumerate(columns):
        table.add_column(escape(column), justify="right" if index in right else "left")
    for row in rows:
        table.add_row(*(escape(_printable(cell)) for cell in row))
    console.print(table)


def _printable(text: str) -> str:
    """Return text with "?" for what stdout cannot take, such as odd bytes of a file name."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding)
