"""`mggtalk evaluate compare`: what changed between two reports, and whether it is noise."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mggtalk_cli.cli import options
from mggtalk_cli.cli.results import print_table

if TYPE_CHECKING:
    from mggtalk_cli.evaluation.compare import Change, Comparison
    from mggtalk_cli.evaluation.statistics import Interval

# B is worse than A by more than a margin.
EXIT_WORSE = 3

Before = Annotated[
    str, typer.Argument(metavar="A", help="report.json of `evaluate ... -o DIR`, or its folder.")
]
After = Annotated[str, typer.Argument(metavar="B", help="The one to be judged.")]
Margins = Annotated[
    list[str] | None,
    typer.Option(
        "--margin",
        metavar="METRIC=X",
        help="Accept a loss of X in this metric; 0 in the main metric unless named. Repeatable.",
    ),
]


def compare(
    ctx: typer.Context,
    before: Before,
    after: After,
    margin: Margins = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    log_json: options.LogJson = False,
    debug: options.Debug = False,
) -> None:
    """Compare two reports item by item; exit with 3 where B is worse beyond margin and noise."""
    margins = parse_margins(margin)
    from mggtalk_cli.evaluation.compare import HEADINGS, compare_reports
    from mggtalk_cli.evaluation.report import read_report

    found = compare_reports(read_report(_file(before)), read_report(_file(after)), margins)
    for line in found.warnings:
        ctx.obj.warn(line)
    if as_json:
        typer.echo(json.dumps(_plain(found), indent=1, allow_nan=False))
    else:
        print_table(HEADINGS, [change.cells() for change in found.changes])
        typer.echo(_verdict(found))
    if found.worse:
        raise typer.Exit(EXIT_WORSE)


def parse_margins(values: Sequence[str] | None) -> Mapping[str, float]:
    """Return the margins by metric of the --margin options.

    Raises:
        BadParameter: not METRIC=X, X not a number from 0 on, or a metric that is there twice.
    """
    margins: dict[str, float] = {}
    for value in values or ():
        name, _, text = value.partition("=")
        try:
            margin = float(text)
        except ValueError:
            margin = math.nan
        if not name or not (0 <= margin < math.inf):
            raise typer.BadParameter(f"--margin {value}: METRIC=X is expected, X from 0 on")
        if name in margins:
            raise typer.BadParameter(f"--margin {value}: {name} is there twice")
        margins[name] = margin
    return margins


def _file(path: str) -> Path:
    folder = Path(path)
    return folder / "report.json" if folder.is_dir() else folder


def _verdict(found: Comparison) -> str:
    items = f"{len(found.items)} item{'s' * (len(found.items) != 1)} in common"
    if not found.worse:
        return f"{items}: B is not worse than A"
    lost = ", ".join(f"{change.name} ({change.cells()[4]})" for change in found.worse)
    return f"{items}: B is worse than A in {lost}"


def _plain(found: Comparison) -> dict[str, Any]:
    return {
        "items": list(found.items),
        "changes": [_plain_change(change) for change in found.changes],
        "worse": [change.name for change in found.worse],
        "warnings": list(found.warnings),
    }


def _plain_change(change: Change) -> dict[str, Any]:
    return {
        "method": change.method,
        "metric": change.name,
        "a": change.before,
        "b": change.after,
        "difference": _plain_interval(change.difference),
        "gain": _plain_interval(change.gain) if change.gain.count else None,
        "kind": change.kind,
    }


def _plain_interval(interval: Interval) -> dict[str, float | int | None]:
    ends = {"mean": interval.mean, "low": interval.low, "high": interval.high}
    known = {name: value if math.isfinite(value) else None for name, value in ends.items()}
    return {**known, "count": interval.count}
