"""The pages of a report: whole, safe to open, and the same each time."""

from __future__ import annotations

import base64
import io
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from mggtalk_cli.core.image import write_png
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
    for shown in ("30.50", "+1.50", "n < 5", "failed: z: no face in the first frame", '"none"'):
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
    assert "30.50" in page.texts
    assert not any("each other method" in text for text in page.texts)
    assert "each other method" not in markdown_page(alone)


def test_letters_that_the_font_or_xml_lack(tmp_path: Path) -> None:
    page = Page(html_page(report(("\u674e\u98db", "\x07\udc80")), tmp_path))
    for kind, data in page.pictures:
        assert kind == "image/svg+xml"
        ElementTree.fromstring(data)


def test_best_is_bold_in_means_and_items(tmp_path: Path) -> None:
    text = html_page(report(), tmp_path)
    for best, other in (("30.50", "29.00"), ("30.00", "28.50")):
        assert f'<td class="number best">{best}</td><td class="number">{other}</td>' in text
        assert f"| **{best}** | {other} |" in markdown_page(report())


def test_intervals_stand_below_the_means_of_five_items(tmp_path: Path) -> None:
    whole = report(tuple("abcde"))
    assert "32.00<small>[" in html_page(whole, tmp_path)
    assert "| **32.00** [" in markdown_page(whole)
    assert "<small>" not in html_page(report(tuple("abcd")), tmp_path)


def test_other_metrics_are_folded_up_below_the_key_ones(tmp_path: Path) -> None:
    whole = report()
    keys = {name: replace(metric, key=name == "gap") for name, metric in whole.metrics.items()}
    paired = replace(whole, metrics={**keys, "more": Metric("more")}, items=tuple(
        replace(item, values={m: {**table, "more": 1.0} for m, table in item.values.items()})
        for item in whole.items
    ))  # fmt: skip
    page = html_page(paired, tmp_path)
    assert page.index("+1.50") < page.index("Other metrics") < page.index("+0.000")
    assert "Other metrics" not in html_page(whole, tmp_path)
