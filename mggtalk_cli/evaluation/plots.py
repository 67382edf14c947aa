"""Plots of a report as SVG: the main metric item by item, and curves over the frames.

matplotlib is an extra; it is used without its global state, and equal reports give equal bytes.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.report import Item, Metric, Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRUTH = "truth"  # what a curve that is not a method's is called

WIDTH_IN, PANEL_IN = 9.0, 2.1
_ITEM_IN, _MAX_WIDTH_IN = 0.5, 36.0  # room for an item of the bars
_NAME_LENGTH = 24  # letters of an item's name below its bars

# Okabe and Ito 2008, "Color universal design": told apart by colour-blind readers too.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6D1F", "#7F7F7F")
_STYLE = {
    "svg.hashsalt": "mggtalk",
    "text.parse_math": False,  # "$" in a clip's name is a "$"
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def item_bars(report: Report) -> bytes:
    """Return SVG: the main metric of every item by method, and ours minus each other method.

    Raises:
        InputError: matplotlib is not installed.
    """
    colours = method_colours(report)
    metric = report.metrics[report.main]
    width = min(max(WIDTH_IN, _ITEM_IN * len(report.items)), _MAX_WIDTH_IN)
    with _figure(width, 2 * PANEL_IN + 0.6, rows=2) as (figure, (values, gains)):
        places = range(len(report.items))
        share = 0.8 / len(colours)
        for index, (method, colour) in enumerate(colours.items()):
            shifted = [place + (index + 0.5) * share - 0.4 for place in places]
            marker = "D" if method == report.ours else "o"
            column = report.column(method, report.main)
            values.plot(shifted, column, marker, color=colour, markersize=5, label=_short(method))
        values.set_ylabel(_named(report.main, metric))
        values.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        _draw_differences(gains, report, colours)
        gains.set_ylabel(_named(f"{report.ours} minus the other", metric))
        for axes in (values, gains):
            axes.set_xlim(-0.6, len(report.items) - 0.4)
            axes.grid(axis="x", visible=False)
        values.set_xticks(places, [""] * len(report.items))
        names = [_short(item.name) for item in report.items]
        gains.set_xticks(places, names, rotation=40, ha="right", rotation_mode="anchor")
        return _svg(figure)


def item_curves(item: Item, report: Report) -> bytes:
    """Return SVG: one panel per curve of an item, over the frames, by method.

    Raises:
        InputError: matplotlib is not installed.
    """
    colours = {**method_colours(report), TRUTH: "#000000"}
    count = len(item.curves)
    with _figure(WIDTH_IN, PANEL_IN * count + 0.3, rows=count) as (figure, panels):
        for axes, (curve, rows) in zip(panels, item.curves.items(), strict=True):
            for method in sorted(rows, key=_order(report)):
                _draw_curve(axes, rows[method], method, colours.get(method, "#7F7F7F"))
            metric = report.metrics.get(curve, Metric(""))
            axes.set_ylabel(_named(curve, metric))
            axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
            axes.margins(x=0.01)
            axes.xaxis.get_major_locator().set_params(integer=True)
        panels[-1].set_xlabel("frame")
        return _svg(figure)


def method_colours(report: Report) -> dict[str, str]:
    """Return a colour per method; beyond eight methods they come again."""
    return {m: _COLOURS[i % len(_COLOURS)] for i, m in enumerate(report.methods)}


def _draw_differences(axes: Axes, report: Report, colours: Mapping[str, str]) -> None:
    """Draw a bar from 0 to ours minus the other method, for each item and other method."""
    ours = report.column(report.ours, report.main)
    share = 0.8 / max(len(report.others), 1)
    for index, other in enumerate(report.others):
        theirs = report.column(other, report.main)
        gaps = [a - b for a, b in zip(ours, theirs, strict=True)]
        offset = (index + 0.5) * share - 0.4
        places = [place + offset for place in range(len(gaps))]
        axes.bar(places, gaps, width=share, color=colours[other])
    axes.axhline(0, color="black", linewidth=0.8)


def _draw_curve(axes: Axes, values: Sequence[float], method: str, colour: str) -> None:
    dashed = method == TRUTH
    known = [value for value in values if math.isfinite(value)]
    # A single number, or one between two gaps, would not be seen as a line.
    marker = "." if len(known) < max(2, len(values) // 2) else ""
    line = "--" if dashed else "-"
    axes.plot(
        values, linestyle=line, marker=marker, color=colour, linewidth=1.1, label=_short(method)
    )


def _order(report: Report) -> Any:
    """Return a sort key: ours is drawn last, on top of the others."""
    return lambda method: (method == report.ours, method != TRUTH)


def _named(name: str, metric: Metric) -> str:
    return f"{name}, {metric.unit}" if metric.unit else name


def _short(name: str) -> str:
    """Return a name that fits below its bars and may stand in XML."""
    name = "".join(letter if letter.isprintable() else "?" for letter in name)
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH - 3] + "..."


@contextmanager
def _figure(width: float, height: float, *, rows: int) -> Iterator[tuple[Figure, Sequence[Axes]]]:
    """Yield a figure (inches) and its panels, one above the other."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("plots need matplotlib: pip install 'mggtalk-cli[evaluate]'") from None
    with rc_context({**_STYLE}), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # letters that the font lacks
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.subplots(rows, 1, squeeze=False)[:, 0]


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
