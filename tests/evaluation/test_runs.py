"""The runner: what it writes, what it takes up again, and how it fails."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from mggtalk_cli.cli import progress
from mggtalk_cli.cli.progress import Reporter
from mggtalk_cli.cli.results import finish_report, parse_pairs
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.report import Metric, file_hash, read_report, to_json
from mggtalk_cli.evaluation.runs import Measured, Protocol, Source, file_stem, run_protocol

METRICS = {"db": Metric("PSNR", unit="dB", digits=2), "fid": Metric("FID", "lower")}


class Counted:
    """A measurement of made-up sources that remembers what it was asked for."""

    def __init__(self, broken: tuple[str, ...] = (), stop_at: str = "") -> None:
        self.asked: list[str] = []
        self.broken, self.stop_at = broken, stop_at

    def __call__(self, source: Source) -> Measured:
        if source.name == self.stop_at:
            raise KeyboardInterrupt
        self.asked.append(source.name)
        if source.name in self.broken:
            raise InputError(f"{source.files[0]} is cut short")
        level = float(source.files[0].stat().st_size)
        return Measured(
            {"ours": {"db": np.float32(level)}, "repeat": {"db": float("inf")}},
            {"db": {"ours": [level, float("nan")]}},
            np.full((4, 6, 3), 9, np.uint8),
            {"ours": np.full((2, 3), level, np.float32)},
        )


def pooled(features: Mapping[str, np.ndarray]) -> dict[str, dict[str, float]]:
    return {"ours": {"fid": float(features["ours"].sum())}}


def protocol(measure: Callable[[Source], Measured], **settings: object) -> Protocol:
    return Protocol(
        "trial", settings, "db", "ours", ("repeat",), METRICS, measure, {"csim": "none"}, pooled
    )


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    """Ten files of 1 to 10 bytes."""
    folder = tmp_path / "clips"
    folder.mkdir()
    found = []
    for index in range(10):
        path = folder / f"c{index}.mp4"
        path.write_bytes(b"x" * (index + 1))
        found.append(Source(path.stem, (path,)))
    return found


def test_report_holds_the_numbers_and_the_files(sources: list[Source], tmp_path: Path) -> None:
    report = run_protocol(protocol(Counted(), frames=3), sources, directory=tmp_path / "out")
    assert report.column("ours", "db") == [float(n) for n in range(1, 11)]
    assert np.isnan(report.column("repeat", "db")).all(), "infinity is no number in a file"
    assert report.overall == {"ours": {"fid": 55 * 6}}
    assert report.items[0].inputs == {"c0.mp4": file_hash(sources[0].files[0])}
    assert report.items[0].sheet == "c0.png"
    assert to_json(read_report(tmp_path / "out/report.json")) == to_json(report)
    written = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert written == ["items", "report.html", "report.json", "report.md"]
    assert (tmp_path / "out/items/c9.png").is_file()


def test_equal_inputs_give_equal_bytes_wherever_they_lie(
    sources: list[Source], tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    (tmp_path / "clips").rename(tmp_path / "first")
    first = [replace(s, files=(tmp_path / "first" / s.files[0].name,)) for s in sources]
    run_protocol(protocol(Counted(("c3",))), first, directory=tmp_path / "a")
    (tmp_path / "first").rename(moved)
    second = [replace(s, files=(moved / s.files[0].name,)) for s in sources]
    run_protocol(protocol(Counted(("c3",))), second, directory=tmp_path / "b")
    for name in ("report.json", "report.md", "report.html"):
        text = (tmp_path / "a" / name).read_bytes()
        assert text == (tmp_path / "b" / name).read_bytes()
        assert str(tmp_path).encode() not in text


def test_interrupted_run_is_taken_up(sources: list[Source], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_protocol(protocol(Counted(stop_at="c4")), sources, directory=tmp_path / "out")
    rest, whole = Counted(), Counted()
    report = run_protocol(protocol(rest), sources, directory=tmp_path / "out")
    assert rest.asked == [f"c{n}" for n in range(4, 10)]
    assert to_json(report) == to_json(
        run_protocol(protocol(whole), sources, directory=tmp_path / "new")
    )
    assert len(whole.asked) == 10


def test_only_what_changed_is_measured_again(sources: list[Source], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_protocol(protocol(Counted()), sources, directory=out)
    sources[2].files[0].write_bytes(b"other")
    (out / "items/c4.json").write_text('{"key": ')
    (out / "items/c5.png").unlink()
    (out / "items/c6.safetensors").write_bytes(b"\xff" * 40)
    (out / "items/c7.safetensors").unlink()
    again = Counted()
    run_protocol(protocol(again), sources, directory=out)
    assert again.asked == ["c2", "c4", "c5", "c6", "c7"]
    other_settings = Counted()
    with pytest.raises(InputError, match=r"another setting \(frames: .*, now 9\)"):
        run_protocol(protocol(other_settings, frames=9), sources, directory=out)
    (out / "report.json").unlink()  # as if it had been interrupted
    run_protocol(protocol(other_settings, frames=9), sources, directory=out)
    assert len(other_settings.asked) == 10


def test_one_of_ten_fails(sources: list[Source], tmp_path: Path) -> None:
    warned: list[str] = []
    report = run_protocol(
        protocol(Counted(("c3",))), sources, directory=tmp_path / "out", warn=warned.append
    )
    assert len(report.items) == 9
    assert report.failed == {"c3": "c3.mp4 is cut short"}
    assert len(warned) == 1
    assert str(sources[3].files[0]) in warned[0]


def test_finished_report_prints_the_file_and_exits_with_4(
    sources: list[Source], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_protocol(protocol(Counted(("c3",))), sources, directory=tmp_path / "out")
    with pytest.raises(typer.Exit) as stopped:
        finish_report(Reporter("trial"), report, as_json=True, output=str(tmp_path / "out"))
    assert stopped.value.exit_code == 4
    said = capsys.readouterr()
    assert said.out == (tmp_path / "out/report.json").read_text("utf-8")
    assert "report.html" in said.err


def test_table_has_all_metrics_left_out_ones_and_the_way_to_a_report(
    sources: list[Source], capsys: pytest.CaptureFixture[str]
) -> None:
    report = run_protocol(protocol(Counted()), sources, directory=None)
    finish_report(Reporter("trial"), report, as_json=False)
    said = capsys.readouterr()
    assert "Means over 10 items" in said.out
    for shown in ("5.50", "fid", "left out: csim: none", "-o DIR"):
        assert shown in said.out
    assert said.err == ""


def test_table_of_a_written_report_has_the_key_metrics(
    sources: list[Source], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter = Reporter("trial")
    keyed = {**METRICS, "fid": replace(METRICS["fid"], key=True), "hidden": Metric("not key")}
    trial = replace(protocol(Counted()), metrics=keyed)
    out = tmp_path / "out"
    report = run_protocol(trial, sources[:2], directory=out, track=reporter.track)
    values = {"ours": {"db": 1.0, "hidden": 2.0}, "repeat": {"db": 2.0, "hidden": 1.0}}
    report = replace(report, items=tuple(replace(i, values=values) for i in report.items))
    finish_report(reporter, report, as_json=False, output=str(out))
    said = capsys.readouterr()
    assert "hidden" not in said.out
    for shown in ("fid", "2.00*", "-1.00", "n < 5", f"{out / 'report.html'}"):
        assert shown in said.out
    assert re.search(r"report\.html \(2 items in \d+\.\d s\)\n$", said.err)


@pytest.mark.parametrize(("count", "named"), [(1, "1 frame"), (3, "3 frames")])
def test_one_is_no_plural(count: int, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter("trial")
    assert list(reporter.track(range(count))) == list(range(count))
    reporter.wrote("film.mp4")
    said = capsys.readouterr().err
    assert re.fullmatch(rf"mggtalk: wrote film\.mp4 \({named} in \d+\.\d s\)\n", said)


def test_what_was_written_counts_what_was_measured(
    sources: list[Source], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reporter, out = Reporter("trial"), tmp_path / "out"
    report = run_protocol(
        protocol(Counted(("c3",))), sources, directory=out, track=reporter.track_items
    )
    with pytest.raises(typer.Exit):
        finish_report(reporter, report, as_json=True, output=str(out))
    assert re.search(r" \(9 items in \d+\.\d s\)\n$", capsys.readouterr().err)


def test_a_run_that_is_taken_up_says_so(
    sources: list[Source], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "mggtalk")
    with pytest.raises(KeyboardInterrupt):
        run_protocol(protocol(Counted(stop_at="c4")), sources, directory=tmp_path / "out")
    assert not caplog.messages
    tracked: list[int | None] = []

    def track(items: Iterable[Any], total: int | None = None, /) -> Iterator[Any]:
        tracked.append(total)
        return iter(items)

    run_protocol(protocol(Counted()), sources, directory=tmp_path / "out", track=track)
    [said] = caplog.messages
    assert "holds 4 of 10 items of an earlier run" in said
    assert tracked == [6]


def test_progress_is_told_in_what_is_counted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter(range(0, 1000, 30))  # seconds: each item takes a minute or less
    monkeypatch.setattr("mggtalk_cli.cli.progress.time.monotonic", lambda: float(next(now)))
    reporter = Reporter("trial", log_json=True)
    assert len(list(reporter.track_items(range(2), 4))) == 2
    events = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [event["items"] for event in events] == [1, 2]
    assert events[0]["items_per_minute"] == 2
    assert events[0]["seconds_left"] == 90
    assert "fps" not in events[0]
    assert progress.paced(0.05, "item") == "20.0 s/item"
    assert progress.paced(25, "frame") == "25.0 frames/s"


def test_all_failed(sources: list[Source]) -> None:
    broken = Counted(tuple(s.name for s in sources))
    with pytest.raises(InputError, match=r"none of 10 .* c0: c0.mp4 is cut short"):
        run_protocol(protocol(broken), sources, directory=None)


def test_missing_file_fails_alone(sources: list[Source]) -> None:
    sources[1].files[0].unlink()
    report = run_protocol(protocol(Counted()), sources, directory=None)
    assert list(report.failed) == ["c1"]


def test_sources_need_names_of_their_own(sources: list[Source]) -> None:
    with pytest.raises(InputError, match="'c0' is there twice"):
        run_protocol(protocol(Counted()), [sources[0], sources[0]], directory=None)
    with pytest.raises(InputError, match="nothing to measure"):
        run_protocol(protocol(Counted()), [], directory=None)


def test_folders_that_cannot_take_a_report(sources: list[Source], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    full = tmp_path / "full"
    full.mkdir()
    (full / "holiday.jpg").write_text("")
    for folder, reason in (
        (tmp_path / "file", "is a file"),
        (tmp_path / "no/where", "does not exist"),
        (full, "holds other things"),
    ):
        with pytest.raises(InputError, match=reason):
            run_protocol(protocol(Counted()), sources, directory=folder)
    run_protocol(protocol(Counted()), sources[:1], directory=tmp_path / "out")
    other = replace(protocol(Counted()), name="views")
    with pytest.raises(InputError, match="report of `evaluate trial`"):
        run_protocol(other, sources, directory=tmp_path / "out")


def test_undeclared_numbers_are_a_mistake(sources: list[Source]) -> None:
    unread = replace(protocol(Counted()), metrics={"fid": METRICS["fid"]})
    with pytest.raises(ValueError, match="metrics \\['db'\\]"):
        run_protocol(unread, sources, directory=None)
    alone = replace(protocol(Counted()), others=())
    with pytest.raises(ValueError, match="methods \\['repeat'\\]"):
        run_protocol(alone, sources, directory=None)


def test_inputs_of_one_name_are_told_apart_and_folders_hashed(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.mp4").write_text(name)
    files = (tmp_path / "a/1.mp4", tmp_path / "b/1.mp4", tmp_path / "a")
    source = Source("pair", files)
    first = run_protocol(protocol(Counted()), [source], directory=None).items[0].inputs
    assert len(first) == 3
    assert {name.rsplit("/", 2)[-2] for name in first if name.endswith(".mp4")} == {"a", "b"}
    (tmp_path / "a/2.mp4").write_text("more")
    second = run_protocol(protocol(Counted()), [source], directory=None).items[0].inputs
    assert [a == b for a, b in zip(first.values(), second.values(), strict=True)] == [
        True,
        True,
        False,
    ]


def test_names_become_safe_file_names() -> None:
    names = ["../../etc", "a/b", "a b", ".hidden", "x" * 500, "ü", "a_b"]
    stems = [file_stem(name) for name in names]
    assert len(set(stems)) == len(names)
    assert all("/" not in stem and not stem.startswith(".") for stem in stems)
    assert all(len(stem) < 200 for stem in stems)
    assert stems[-1] == "a_b"


def test_note_of_an_item_is_an_item(sources: list[Source], tmp_path: Path) -> None:
    run_protocol(protocol(Counted()), sources[:1], directory=tmp_path / "out")
    note = json.loads((tmp_path / "out/items/c0.json").read_text("utf-8"))
    assert note["values"]["ours"]["db"] == 1.0
    assert note["values"]["repeat"]["db"] is None
    assert len(note["key"]) == 64


def test_pairs_of_options() -> None:
    assert parse_pairs(["a=b", "c=d=e"]) == {"a": Path("b"), "c": Path("d=e")}
    assert parse_pairs(None) == {}
    for wrong in (["a"], ["=b"], ["a="], ["a=b", "a=c"]):
        with pytest.raises(typer.BadParameter, match="--method"):
            parse_pairs(wrong, "--method")


def test_names_of_any_bytes_can_be_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.mp4"
    path.write_bytes(b"x")
    broken = tmp_path / "y.mp4"
    broken.write_bytes(b"y")
    sources = [Source("a\udc80b", (path,)), Source("c\udc80", (broken,))]
    made = protocol(Counted(("c\udc80",)))
    report = run_protocol(made, sources, directory=tmp_path / "out")
    with pytest.raises(typer.Exit):
        finish_report(Reporter("trial"), report, as_json=False)
    assert "failed: c?" in capsys.readouterr().out
    assert read_report(tmp_path / "out/report.json").items[0].name == "a\udc80b"
