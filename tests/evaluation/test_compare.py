"""Two reports against each other, with differences that are known."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from mggtalk_cli.cli.app import app
from mggtalk_cli.cli.evaluate_compare import parse_margins
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.compare import Change, compare_reports
from mggtalk_cli.evaluation.report import Item, Metric, Report, to_json

METRICS = {
    "db": Metric("PSNR", unit="dB", digits=2),
    "lmd": Metric("landmark distance", "lower", "px"),
    "ratio": Metric("sharpness", "one"),
    "tone": Metric("a number", "none"),
}
CLIPS = tuple(f"c{n}" for n in range(8))
LEVELS = np.random.default_rng(0).normal(28, 3, len(CLIPS))
SPREAD = np.random.default_rng(1).normal(0, 0.2, len(CLIPS))


def report(
    values: Sequence[float] = tuple(LEVELS), *, lmd: float = 1.0, clips: Sequence[str] = CLIPS
) -> Report:
    items = tuple(
        Item(
            name,
            {f"{name}.mp4": "0"},
            {
                "ours": {"db": value, "lmd": lmd, "ratio": 0.8, "tone": value},
                "repeat": {"db": value - 2},
            },
        )
        for name, value in zip(clips, values, strict=False)
    )
    return Report("reenact", "0.1.0", {"frames": 50}, "db", "ours", ("repeat",), METRICS, items, {})


def change(before: Report, after: Report, name: str = "db", method: str = "ours") -> Change:
    found = compare_reports(before, after).changes
    return next(c for c in found if (c.name, c.method) == (name, method))


def test_a_report_and_itself() -> None:
    found = compare_reports(report(), report())
    assert {c.kind for c in found.changes} == {"same"}
    assert (found.worse, found.warnings, found.items) == ((), (), CLIPS)


def test_a_steady_gain_is_beyond_noise_though_the_clips_differ_more() -> None:
    found = change(report(), report(LEVELS + 0.5 + SPREAD))
    assert found.kind == "better"
    assert found.difference.mean == pytest.approx(0.5 + SPREAD.mean())
    assert found.difference.low < 0.5 + SPREAD.mean() < found.difference.high
    assert found.after - found.before == pytest.approx(found.difference.mean)


def test_a_loss_is_worse_only_beyond_margin_and_noise() -> None:
    noise = SPREAD - SPREAD.mean()
    loss, blurry = report(LEVELS - 0.5 + noise), report(LEVELS - 0.05 + noise)
    assert [c.name for c in compare_reports(report(), loss).worse] == ["db"]
    assert [c.name for c in compare_reports(report(), loss, {"db": 0.49}).worse] == ["db"]
    assert compare_reports(report(), loss, {"db": 0.51}).worse == ()
    assert change(report(), blurry).kind == "within noise"
    assert compare_reports(report(), blurry).worse == ()


def test_sides_of_the_metrics() -> None:
    more = compare_reports(report(), report(lmd=1.2), {"lmd": 0.1})
    assert [c.name for c in more.worse] == ["lmd"]
    assert change(report(), report(lmd=0.8), "lmd").kind == "better"
    assert change(report(), report(LEVELS + 1), "tone").kind == "changed"
    assert compare_reports(report(), report(lmd=1.2)).worse == (), "only what has a margin"


def test_only_the_judged_method_can_be_worse() -> None:
    better = report()
    items = tuple(
        replace(item, values={**item.values, "repeat": {"db": 0.0}}) for item in better.items
    )
    found = compare_reports(better, replace(better, items=items))
    assert found.worse == ()
    assert change(better, replace(better, items=items), method="repeat").kind == "worse"


def test_changes_that_no_table_shows_are_none() -> None:
    assert change(report(), report(LEVELS - 0.004)).kind == "same"
    assert compare_reports(report(), report(LEVELS - 0.004)).worse == ()


def test_one_item_is_judged_by_the_margin_alone() -> None:
    one, other = report(clips=["c0"]), report(LEVELS - 0.3, clips=["c0"])
    assert change(one, other).kind == "changed"
    assert [c.name for c in compare_reports(one, other).worse] == ["db"]
    assert compare_reports(one, other, {"db": 0.4}).worse == ()


def test_items_are_paired_by_name_and_the_rest_is_named() -> None:
    before = report(clips=["c0", "c1", "c2"])
    after = report(values=[LEVELS[2], LEVELS[1], 9.0], clips=["c2", "c1", "x"])
    found = compare_reports(before, after)
    assert found.items == ("c2", "c1")
    assert {c.kind for c in found.changes} == {"same"}
    assert found.warnings == ("only in A: c0", "only in B: x")


def test_numbers_that_one_lacks_are_left_out() -> None:
    before = report()
    items = tuple(
        replace(item, values={"ours": {"db": np.nan if item.name == "c0" else 1.0}})
        for item in before.items
    )
    assert change(before, replace(before, items=items)).difference.count == len(CLIPS) - 1


def test_settings_files_and_methods_that_differ_are_warned_about() -> None:
    before = report()
    other = replace(before.items[0], inputs={"c0.mp4": "1"})
    after = replace(
        before,
        settings={"frames": 20, "build": {"size": 256}},
        others=("repeat", "warp"),
        items=(other, *before.items[1:]),
    )
    assert compare_reports(before, after).warnings == (
        "setting frames differs: A has 50, B has 20",
        "setting build.size differs: A has none, B has 256",
        "not the same files in A and B: c0",
        "methods only in B: warp",
    )


def test_what_cannot_be_compared() -> None:
    for before, after, margins, reason in (
        (report(), replace(report(), protocol="views"), {}, "`evaluate views`"),
        (report(), report(clips=["x", "y"]), {}, "no item in common"),
        (report(), report(), {"ssim": 0.1}, "no ssim in both .* has db, lmd"),
        (report(), report(), {"lmb": 0.1}, "did you mean lmd\\?"),
        (report(), report(), {"tone": 0.1}, "no better side"),
    ):
        with pytest.raises(InputError, match=reason):
            compare_reports(before, after, margins)


def test_margins_of_options() -> None:
    assert parse_margins(["db=0.1", "lmd=0"]) == {"db": 0.1, "lmd": 0.0}
    for wrong in (["db"], ["db=x"], ["db=-1"], ["db=nan"], ["db=inf"], ["=1"], ["a=1", "a=2"]):
        with pytest.raises(typer.BadParameter, match="--margin"):
            parse_margins(wrong)


@pytest.fixture
def compare(tmp_path: Path) -> Callable[..., Any]:
    """Call the command on two reports."""

    def call(before: Report, after: Report, *arguments: str) -> Any:
        for name, made in (("a", before), ("b", after)):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / "report.json").write_text(to_json(made))
        paths = [str(tmp_path / "a"), str(tmp_path / "b/report.json")]
        return CliRunner().invoke(app, ["evaluate", "compare", *paths, *arguments])

    return call


def test_command_prints_changes_and_exits_with_3(compare: Callable[..., Any]) -> None:
    found = compare(report(), report(LEVELS - 0.5 + SPREAD / 9))
    assert found.exit_code == 3
    assert "8 items in common: B is worse than A in db" in found.stdout
    assert compare(report(), report(LEVELS - 0.5), "--margin", "db=1").exit_code == 0
    assert compare(report(), report(), "--margin", "db").exit_code == 2


def test_command_prints_json(compare: Callable[..., Any]) -> None:
    found = json.loads(compare(report(), report(LEVELS + 0.5), "--json", "-q").stdout)
    first = found["changes"][0]
    assert (first["method"], first["metric"], first["kind"]) == ("ours", "db", "better")
    assert first["difference"]["mean"] == pytest.approx(0.5)
    assert found["worse"] == []


def test_command_and_files_that_are_no_reports(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    for path in (tmp_path / "x.json", tmp_path / "none.json", tmp_path):
        found = CliRunner().invoke(app, ["evaluate", "compare", str(path), str(path)])
        assert found.exit_code == 1
        assert str(path) in found.stderr
