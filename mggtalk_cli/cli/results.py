"""What `evaluate` prints: one row per result, medians or means, as a table or as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from mggtalk_cli.errors import InputError, MggTalkError

if TYPE_CHECKING:
    from mggtalk_cli.cli.progress import Reporter

# Some files failed, the others were finished and printed.
EXIT_PARTLY = 4

_FILE_WIDTH = 140  # columns where no terminal sets them

Result = TypeVar("Result")
Row = Sequence[object]


def measure_each(
    report: Reporter, files: list[Path], measure: Callable[[Path], Result]
) -> tuple[list[Result], dict[str, str]]:
    """Return the results of the files, and the reason for each file that has none.

    Raises:
        InputError: not one file could be measured.
    """
    results, failed = [], {}
    for path in report.track(files, len(files)):
        try:
            results.append(measure(path))
        except MggTalkError as error:
            failed[str(path)] = str(error)
            report.warn(f"{path.name} left out: {error}")
    if not results:
        reason = next(iter(failed.values()))
        raise InputError(f"none of {len(files)} files can be measured; the first one: {reason}")
    return results, failed


def finish(failed: dict[str, str]) -> None:
    """Exit with `EXIT_PARTLY` where files failed."""
    if failed:
        raise typer.Exit(EXIT_PARTLY)


def _finite(values: Iterable[float]) -> list[float]:
    return [value for value in values if value == value]


def mean_of(values: Iterable[float]) -> float:
    """Return the mean without the NaN; NaN of nothing."""
    finite = _finite(values)
    return statistics.fmean(finite) if finite else float("nan")


def median_of(values: Iterable[float]) -> float:
    """Return the median without the NaN; NaN of nothing."""
    finite = _finite(values)
    return statistics.median(finite) if finite else float("nan")


def print_json(results: object, summary: object, failed: dict[str, str]) -> None:
    """Print results (dataclasses, lists, dicts) as JSON, in which NaN and infinity are null."""

    def plain(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            value = asdict(value)
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        odd = isinstance(value, float) and (value != value or abs(value) == float("inf"))
        return None if odd else value

    report = {"results": results, "summary": summary, "failed": failed}
    typer.echo(json.dumps(plain(report), indent=2, allow_nan=False))


def print_table(columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Print rows under their columns; floats with three decimals."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    table = Table(box=None)
    for column in columns:
        table.add_column(column.replace("_", " "), no_wrap=True)
    for row in rows:
        table.add_row(*(escape(_text(value)) for value in row))
    console.print(table)


def _text(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)
