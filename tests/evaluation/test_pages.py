"""The pages of a report: whole, safe to open, and the same each time."""

from __future__ import annotations

import base64
import io
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mggtalk_cli.core.image import write_png
from mggtalk_cli.evaluation import summary
from mggtalk_cli.evaluation.pages import MAX_SHOWN, html_page, markdown_page
from mggtalk_cli.evaluation.report import Item, Metric, Report

VOID = {"meta", "img", "br"}
EVIL = '<script src="https://example.org/x.js">$a$ & "b" | [c](d)'


class Page(HTMLParser):
    """Checks that tags close, and keeps pictures, texts and tags."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.pictures: list[tuple[str, bytes]] = []
        self.texts: list[str] = []
        self.links: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attributes)
        self.links += [str(found[name]) for name in ("src", "href") if name in found]
        if tag == "img":
            kind, data = str(found["src"]).removeprefix("data:").split(";base64,")
            self.pictures.append((kind, base64.b64decode(data, validate=True)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def report(names: tuple[str, ...] = ("a", "b"), sheet: str = "") -> Report:
    items = tuple(
        Item(
            name,
            {f"{name}.mp4": "0" * 64},
            {"ours": {"db": 30.0 + i, "gap": 0.1}, "repeat": {"db": 28.5 + i, "gap": float("nan")}},
            {"db": {"ours": [30.0, float("nan"), 31.0], "repeat": [28.0, 28.5, 29.0]}},
            sheet,
        )
        for i, name in enumerate(names)
    )
    return Report(
        "reenact",
        "0.1.0",
        {"frames": 3, "build": {"crop": "none"}},
        "db",
        "ours",
        ("repeat",),
        {
            "gap": Metric("mouth gap", "lower"),
            "db": Metric("PSNR over the head", unit="dB", digits=2),
            "fid": Metric("FID", "lower"),
            "empty": Metric("never there"),
        },
        items,
        {"z": "no face in the first frame"},
        {"csim": "no weights"},
        {"ours": {"fid": 12.5}},
    )


def test_rows_pair_each_method_and_say_what_is_missing() -> None:
    cells = [row.cells() for row in summary.rows(report())]
    assert cells == [
        ("db dB", "higher", "ours", "30.50 [24.15, 36.85]", "", ""),
        ("", "", "repeat", "29.00 [22.65, 35.35]", "+1.50 [+1.50, +1.50]", "2 of 2"),
        ("gap", "lower", "ours", "0.100 [0.100, 0.100]", "", ""),
        ("fid", "lower", "ours", "12.500", "", ""),
    ]
    assert summary.notes(report()) == [
        "left out: csim: no weights",
        "left out: empty: no item has a number",
        "failed: z: no face in the first frame",
    ]
    assert summary.verdict(report()) == [
        "db: ours better than repeat on 2 of 2 items, +1.50 [+1.50, +1.50] dB: better beyond noise"
    ]


def test_numbers_have_the_digits_of_their_metric_and_no_minus_before_zero() -> None:
    metric = Metric("", digits=2)
    assert [summary.number(x, metric) for x in (-0.001, 1.005, float("nan"))] == [
        "0.00",
        "1.00",
        "-",
    ]
    assert summary.number(-0.001, metric, signed=True) == "+0.00"
    assert summary.number(-7.6, Metric("", digits=0)) == "-8"


def test_page_is_whole_and_has_everything_inside(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with (tmp_path / "s.png").open("wb") as file:
        write_png(file, np.full((2400, 3600, 3), (200, 60, 20), np.uint8))
    text = html_page(report(sheet="s.png"), tmp_path)
    page = Page(text)
    assert all(link.startswith("data:") for link in page.links)
    kinds = [kind for kind, _ in page.pictures]
    assert kinds == ["image/svg+xml", *["image/jpeg", "image/svg+xml"] * 2]
    for kind, data in page.pictures:
        if kind == "image/svg+xml":
            assert ElementTree.fromstring(data).tag.endswith("svg")
        else:
            picture = Image.open(io.BytesIO(data)).convert("RGB")
            assert picture.size == (1800, 1200)
            assert np.abs(np.array(picture.getpixel((9, 9))) - (200, 60, 20)).max() < 8
    for shown in ("30.50 [24.15, 36.85]", "failed: z: no face in the first frame", '"none"'):
        assert shown in page.texts
    assert text == html_page(report(sheet="s.png"), tmp_path)


def test_names_are_text_whatever_they_are(tmp_path: Path) -> None:
    text = html_page(report((EVIL, "b")), tmp_path)
    page = Page(text)
    assert "script" not in page.tags
    assert EVIL in page.texts
    lines = markdown_page(report((EVIL, "b"))).splitlines()
    row = next(line for line in lines if "example.org" in line)
    assert "\\<script" in row
    assert row.replace("\\|", "").count("|") == 4
    assert "](" not in row


def test_page_without_matplotlib_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    page = Page(html_page(report(), tmp_path))
    assert page.pictures == []
    assert any("pip install 'mggtalk-cli[evaluate]'" in text for text in page.texts)


def test_page_of_a_sheet_that_is_gone(tmp_path: Path) -> None:
    page = Page(html_page(report(sheet="gone.png"), tmp_path))
    assert any("No contact sheet here" in text for text in page.texts)


def test_pictures_of_many_items_are_limited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mggtalk_cli.evaluation.plots.item_curves", lambda item, report: b"<svg/>")
    monkeypatch.setattr("mggtalk_cli.evaluation.plots.item_bars", lambda report: b"<svg/>")
    page = Page(html_page(report(tuple(f"c{n}" for n in range(MAX_SHOWN + 5))), tmp_path))
    assert len(page.pictures) == MAX_SHOWN + 1
    assert f"c{MAX_SHOWN + 4}" in page.texts


def test_page_of_a_report_without_other_methods_or_curves(tmp_path: Path) -> None:
    whole = report()
    items = tuple(
        Item(item.name, {}, {"ours": item.values["ours"]}, {}, "") for item in whole.items
    )
    alone = Report(
        **{**{name: getattr(whole, name) for name in whole.__dict__}, "items": items, "others": ()}
    )
    page = Page(html_page(alone, tmp_path))
    assert "30.50 [24.15, 36.85]" in page.texts


def test_letters_that_the_font_or_xml_lack(tmp_path: Path) -> None:
    page = Page(html_page(report(("\u674e\u98db", "\x07\udc80")), tmp_path))
    for kind, data in page.pictures:
        assert kind == "image/svg+xml"
        ElementTree.fromstring(data)


def test_best_of_each_item_is_bold(tmp_path: Path) -> None:
    assert '<td class="best">30.00</td><td>28.50</td>' in html_page(report(), tmp_path)
