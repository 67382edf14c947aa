"""A report as Markdown: the tables of the page, without its pictures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mggtalk_cli.evaluation import summary
from mggtalk_cli.evaluation.report import Report
from mggtalk_cli.evaluation.settings import flat

_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*<>|"})


def markdown_page(report: Report) -> str:
    """Return the text of `report.md`."""
    parts = [
        f"# evaluate {report.protocol}: {len(report.items)} items, mggtalk {report.version}",
        _bullets(summary.verdict(report)),
        "## Means",
        _table(summary.headings(report), [row.cells() for row in summary.rows(report)]),
        _bullets(summary.notes(report)),
        f"## {_plain(report.main)} by item",
        _table(*summary.item_table(report, report.main)),
        "## What the numbers are",
        _table(("metric", "better", "definition"), summary.definitions(report)),
        "## Settings",
        _table(("setting", "value"), flat(report.settings)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings)]
    text = ["| " + " | ".join(map(_plain, line)) + " |" for line in [headings, *rows]]
    rule = "|" + " --- |" * len(lines[0])
    return "\n".join([text[0], rule, *text[1:]])


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_plain(line)}" for line in lines)


def _plain(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return " ".join(text.split()).translate(_SPECIAL).replace("](", "]\\(")
