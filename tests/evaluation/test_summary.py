"""What the tables of a report say: which metrics, which methods, who is best, and how sure."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest

from mggtalk_cli.evaluation import summary
from mggtalk_cli.evaluation.grids import MAX_ACROSS, WIDTH, Grid, difference_grid, mean_grids
from mggtalk_cli.evaluation.report import Item, Metric, Report

NAN = math.nan
METRICS = {
    "gap": Metric("mouth gap", "lower"),
    "db": Metric("PSNR over the head", unit="dB", digits=2),
    "fid": Metric("FID", "lower", digits=1),
    "side": Metric("no side", "none"),
    "empty": Metric("never there"),
}

Values = Mapping[str, Mapping[str, list[float]]]


def report(values: Values, metrics: Mapping[str, Metric] = METRICS, **more: object) -> Report:
    """Make a report of method -> metric -> a number per item; the first method is judged."""
    ours, *others = values
    count = max(len(column) for table in values.values() for column in table.values())
    items = tuple(
        Item(f"c{i}", {}, {m: {k: v[i] for k, v in t.items()} for m, t in values.items()})
        for i in range(count)
    )
    whole: dict[str, object] = {
        **{"protocol": "reenact", "version": "0.1.0", "settings": {}, "main": "db", "ours": ours},
        **{"others": tuple(others), "metrics": metrics, "items": items, "failed": {}},
    }
    return Report(**{**whole, **more})  # type: ignore[arg-type]


def texts(grid: Grid) -> list[list[str]]:
    """Return the cells of a table, the best marked with a star."""
    return [[cell.text + "*" * cell.best for cell in row] for row in grid.rows]


PAIR = {
    "ours": {"db": [30.0, 31.0], "gap": [0.1, 0.1], "side": [1.0, 2.0]},
    "repeat": {"db": [28.5, 29.5], "gap": [NAN, 0.05], "side": [1.0, 1.0]},
    "warp": {"db": [29.0, 30.5], "gap": [NAN, NAN], "side": [0.5, 1.0]},
}


def test_a_row_per_metric_with_the_best_method_marked() -> None:
    found = report(PAIR, overall={"ours": {"fid": 12.54}, "warp": {"fid": 11.0}})
    [grid] = mean_grids(found, summary.metric_order(found))
    assert grid.headings == ("metric", "better", "ours", "repeat", "warp", "items")
    assert texts(grid) == [
        ["db dB", "higher", "30.50*", "29.00", "29.75", "2"],
        ["gap", "lower", "0.100", "0.050", "-", "1-2"],
        ["fid", "lower", "12.5", "-", "11.0*", "all"],
        ["side", "", "1.500", "1.000", "0.750", "2"],
    ]
    assert not any(cell.interval for row in grid.rows for cell in row)


def test_means_over_other_items_are_not_compared() -> None:
    found = report({"ours": {"db": [30.0, NAN]}, "repeat": {"db": [NAN, 31.0]}})
    [grid] = mean_grids(found, ["db"])
    assert texts(grid) == [["db dB", "higher", "30.00", "31.00", "1"]]


@pytest.mark.parametrize(
    ("better", "values", "best"),
    [
        ("higher", [1.0, 3.0, 2.0, NAN], {1}),
        ("lower", [1.0, 3.0, 2.0, NAN], {0}),
        ("one", [1.3, 0.8, NAN], {1}),
        ("zero", [-1.0, 0.5, 1.0], {1}),
        ("none", [1.0, 2.0], set()),
        ("higher", [1.001, 1.0012, 1.0], set()),
        ("higher", [1.001, 1.0012, 0.9], {0, 1}),
        ("higher", [1.0], set()),
        ("higher", [NAN, NAN], set()),
    ],
)
def test_best_is_judged_as_it_is_printed(better: str, values: list[float], best: set[int]) -> None:
    assert summary.best(values, Metric("", better, digits=2)) == best  # type: ignore[arg-type]


def test_many_methods_stand_below_each_other_in_tables_that_fit() -> None:
    metrics = {f"some_metric_{n}": Metric("", unit="dB") for n in range(12)} | METRICS
    table = {name: [30.0] for name in metrics if name.startswith("some")}
    values = {f"method_{n}": {**table, "db": [30.0 + n]} for n in range(MAX_ACROSS + 1)}
    found = report(values, metrics)
    grids = mean_grids(found, summary.metric_order(found))
    assert len(grids) > 1
    assert grids[0].headings[:2] == ("method", "db dB")
    assert [row[:2] for row in texts(grids[0])] == [
        ["better", "higher"],
        *([f"method_{n}", f"{30 + n}.00" + "*" * (n == MAX_ACROSS)] for n in range(len(values))),
        ["items", "1"],
    ]
    headings = [name for grid in grids for name in grid.headings[1:]]
    assert headings == ["db dB", *(f"some_metric_{n} dB" for n in range(12))]
    assert max(sum(len(name) + 2 for name in grid.headings) for grid in grids) <= WIDTH


def test_differences_of_few_items_have_no_interval() -> None:
    found = report(PAIR)
    grid = difference_grid(found, ["db", "gap"])
    assert grid.headings == ("metric", "other", "ours minus it", "95 %", "ours won", "ours is")
    assert texts(grid) == [
        ["db dB", "repeat", "+1.50", "n < 5", "2 of 2", ""],
        ["", "warp", "+0.75", "n < 5", "2 of 2", ""],
        ["gap", "repeat", "+0.050", "n < 5", "0 of 1", ""],
    ]
    assert summary.verdict(found)[0] == (
        "db: ours better than repeat on 2 of 2 items, +1.50 dB: fewer than 5 items cannot tell"
    )


def test_differences_of_five_items_say_how_sure_they_are() -> None:
    ours = [30.0, 31.0, 32.0, 33.0, 34.0]
    values = {
        "ours": {"db": ours, "gap": ours, "side": ours},
        "worse": {key: [value - 1 for value in ours] for key in ("db", "gap", "side")},
        "even": {"db": [30.5, 30.5, 32.5, 32.5, 34.0]},
        "near": {"db": [value - 0.001 for value in ours]},
    }
    found = report(values)
    assert texts(difference_grid(found, ["db", "gap", "side"])) == [
        ["db dB", "worse", "+1.00", "[+1.00, +1.00]", "5 of 5", "better beyond noise"],
        ["", "even", "+0.00", "[-0.50, +0.50]", "2 of 5", "within noise"],
        ["", "near", "+0.00", "[+0.00, +0.00]", "5 of 5", "within noise"],
        ["gap", "worse", "+1.000", "[+1.000, +1.000]", "0 of 5", "worse beyond noise"],
        ["side", "worse", "+1.000", "[+1.000, +1.000]", "-", "different beyond noise"],
    ]
    assert summary.verdict(found)[0] == (
        "db: ours better than worse on 5 of 5 items, +1.00 [+1.00, +1.00] dB: better beyond noise"
    )


def test_key_metrics_come_first_and_are_all_where_none_is_declared() -> None:
    known = {**METRICS, "fid": Metric("FID", key=True)}
    found = report(PAIR, known)
    assert summary.metric_order(found) == ["db", "fid", "gap", "side", "empty"]
    assert summary.key_metrics(found) == ["db", "fid"]
    assert summary.key_metrics(report(PAIR)) == ["db", "gap", "fid", "side", "empty"]


def test_short_differences_end_where_a_screen_does() -> None:
    metrics = {"db": Metric("")} | {f"m{n}": Metric("", key=True) for n in range(9)}
    table = {name: [1.0] for name in metrics}
    few = report(dict.fromkeys("abcd", table), metrics)
    assert summary.short_differences(few) == list(metrics)[: summary.MAX_DIFFERENCES // 3]
    many = report({f"m{n}": table for n in range(40)}, metrics)
    assert summary.short_differences(many) == ["db"]


def test_notes_say_what_is_missing() -> None:
    found = report(PAIR, left_out={"csim": "no weights"}, failed={"z": "no face in frame 0"})
    assert summary.notes(found) == [
        "left out: csim: no weights",
        "left out: fid: no item has a number",
        "left out: empty: no item has a number",
        "failed: z: no face in frame 0",
    ]


def test_numbers_have_the_digits_of_their_metric_and_no_minus_before_zero() -> None:
    metric = Metric("", digits=2)
    shown = [summary.number(x, metric) for x in (-0.001, 1.005, NAN)]
    assert shown == ["0.00", "1.00", "-"]
    assert summary.number(-0.001, metric, signed=True) == "+0.00"
    assert summary.number(-7.6, Metric("", digits=0)) == "-8"
