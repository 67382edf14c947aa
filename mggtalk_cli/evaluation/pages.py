"""A report as one HTML file that needs nothing else: tables, plots and contact sheets inside.

It runs no script and loads nothing; all text in it is escaped. Without matplotlib it has no plots
and says so. `markdown_page` is the same without pictures.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from mggtalk_cli.core.image import read_photo
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import plots, summary
from mggtalk_cli.evaluation.grids import (
    Cell,
    Grid,
    difference_grid,
    item_grid,
    mean_grids,
    metric_grid,
)
from mggtalk_cli.evaluation.markdown import markdown_page
from mggtalk_cli.evaluation.report import Item, Report
from mggtalk_cli.evaluation.settings import flat

__all__ = ["html_page", "markdown_page"]

# Items with pictures on the page; the sheets of the others lie in the folder of the items.
MAX_SHOWN = 60
SHEET_SIDE, SHEET_QUALITY = 1800, 85  # px of the longer side, JPEG quality

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1080px;
  margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; margin-bottom: 0; } h2 { margin-top: 2em; border-bottom: 1px solid #ccc; }
p.about { color: #666; margin-top: .2em; }
table { border-collapse: collapse; font-size: .88em; font-variant-numeric: tabular-nums; }
th, td { padding: .15em 1em .15em 0; text-align: left; vertical-align: top; }
th { border-bottom: 1px solid #888; } tr.first td { border-top: 1px solid #ddd; }
th.number, td.number { text-align: right; padding-left: .6em; white-space: nowrap; }
td.best { font-weight: 700; } td small { display: block; color: #777; font-weight: 400; }
.scroll { overflow-x: auto; margin-bottom: 1em; }
.good { color: #00724d; } .bad { color: #b03a00; }
img { max-width: 100%; display: block; margin: .5em 0; }
code { font-size: .9em; overflow-wrap: anywhere; } summary { cursor: pointer; padding: .3em 0; }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def html_page(report: Report, sheets: Path) -> str:
    """Return the text of `report.html`.

    Args:
        report: what is shown.
        sheets: folder of the contact sheets; one that is missing is left out.
    """
    title = _text(f"evaluate {report.protocol}")
    about = f"{len(report.items)} items, {len(report.failed)} failed, mggtalk {report.version}"
    body = [
        f"<h1>{title}</h1>\n{_about(about)}",
        _verdict(report),
        "<h2>Means</h2>",
        _about(summary.about_means(report, "bold")),
        _about(summary.about_intervals()),
        *map(_grid, mean_grids(report, summary.metric_order(report))),
        _list(summary.notes(report)),
        *_differences(report),
        f"<h2>{_text(report.main)} by item</h2>",
        _plot(lambda: plots.item_bars(report), f"{report.main} by item"),
        _grid(item_grid(report, report.main)),
        "<h2>Items</h2>",
        *_items(report, sheets),
        "<h2>What the numbers are</h2>",
        _table(("metric", "better", "definition"), summary.definitions(report)),
        "<h2>Settings</h2>",
        _table(("setting", "value"), flat(report.settings)),
    ]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f'<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(part for part in body if part)
        + "\n</body>\n</html>\n"
    )


def _verdict(report: Report) -> str:
    lines = []
    for line in summary.verdict(report):
        ending = line.rsplit(": ", 1)[-1]
        kind = {"better beyond noise": "good", "worse beyond noise": "bad"}.get(ending, "even")
        lines.append(f'<li class="{kind}">{_text(line)}</li>')
    return f"<ul>{''.join(lines)}</ul>" if lines else ""


def _differences(report: Report) -> list[str]:
    """Return the differences of the key metrics, and folded up those of the others."""
    keys = summary.key_metrics(report)
    others = [name for name in summary.metric_order(report) if name not in keys]
    first, rest = difference_grid(report, keys), difference_grid(report, others)
    if not first.rows and not rest.rows:
        return []
    parts = [
        f"<h2>{_text(report.ours)} minus each other method, item by item</h2>",
        _grid(first),
    ]
    if rest.rows:
        parts.append(f"<details><summary>Other metrics</summary>\n{_grid(rest)}\n</details>")
    return parts


def _items(report: Report, sheets: Path) -> list[str]:
    parts = [
        _item(item, report, sheets, pictures=index < MAX_SHOWN)
        for index, item in enumerate(report.items)
    ]
    if len(report.items) > MAX_SHOWN:
        parts.insert(0, f"<p>Pictures of the first {MAX_SHOWN}; all sheets lie in items/.</p>")
    return parts


def _item(item: Item, report: Report, sheets: Path, *, pictures: bool) -> str:
    """Return one item: its sheet, its curves, and all its numbers."""
    parts = []
    if pictures and item.sheet:
        parts.append(_sheet(sheets / item.sheet, f"{item.name}: contact sheet"))
    if pictures and item.curves:
        parts.append(_plot(lambda: plots.item_curves(item, report), f"{item.name}: curves"))
    parts.append(_grid(metric_grid(report, item)))
    hashes = "<br>".join(
        f"<code>{_text(name)}: {_text(digest)}</code>" for name, digest in item.inputs.items()
    )
    parts.append(f"<p>SHA-256<br>{hashes}</p>" if hashes else "")
    opened = " open" if item is report.items[0] else ""
    inside = "\n".join(part for part in parts if part)
    return f"<details{opened}><summary>{_text(item.name)}</summary>\n{inside}\n</details>"


def _plot(draw: Callable[[], bytes], title: str) -> str:
    try:
        return _image(draw(), "image/svg+xml", title)
    except InputError as error:
        return f"<p>No plot here: {_text(str(error))}</p>"


def _sheet(path: Path, title: str) -> str:
    """Return a contact sheet as JPEG, reduced to what a page shows."""
    try:
        picture = read_photo(path, max_side=SHEET_SIDE)
    except InputError as error:
        return f"<p>No contact sheet here: {_text(str(error))}</p>"
    swapped = np.ascontiguousarray(picture[..., ::-1])
    _, data = cv2.imencode(".jpg", swapped, [cv2.IMWRITE_JPEG_QUALITY, SHEET_QUALITY])
    return _image(data.tobytes(), "image/jpeg", title)


def _image(data: bytes, kind: str, title: str) -> str:
    encoded = base64.b64encode(data).decode("ascii")
    return f'<img alt="{_text(title)}" src="data:{kind};base64,{encoded}">'


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return _grid(Grid(tuple(headings), tuple(tuple(map(Cell, row)) for row in rows), range(0)))


def _grid(grid: Grid) -> str:
    """Return a table; a line is drawn above every row that does not go on with the one before."""
    kinds = [' class="number"' if i in grid.numbers else "" for i in range(len(grid.headings))]
    head = "".join(
        f"<th{kind}>{_text(text)}</th>" for kind, text in zip(kinds, grid.headings, strict=True)
    )
    rows = "\n".join(_row(cells, grid.numbers) for cells in grid.rows)
    return f'<div class="scroll"><table>\n<tr>{head}</tr>\n{rows}\n</table></div>'


def _row(cells: Sequence[Cell], numbers: range) -> str:
    inside = ""
    for index, cell in enumerate(cells):
        kinds = ["number"] * (index in numbers) + ["best"] * cell.best
        kind = f' class="{" ".join(kinds)}"' if kinds else ""
        interval = f"<small>{_text(cell.interval)}</small>" if cell.interval else ""
        inside += f"<td{kind}>{_text(cell.text)}{interval}</td>"
    tag = '<tr class="first">' if cells and cells[0].text else "<tr>"
    return f"{tag}{inside}</tr>"


def _about(text: str) -> str:
    return f'<p class="about">{_text(text)}</p>'


def _list(lines: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{_text(line)}</li>' for line in lines)}</ul>" if lines else ""


def _text(text: str) -> str:
    return html.escape(text, quote=True)
