"""`evaluate identity` and `evaluate views`: the example photo, and known answers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mggtalk_cli.cli.evaluate import COMMANDS
from mggtalk_cli.core.camera import Camera, pixel_grid
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.drawing import RenderOptions, view_matrix
from mggtalk_cli.evaluation import identity, labels, views
from mggtalk_cli.evaluation.networks import Networks
from mggtalk_cli.evaluation.report import read_report
from mggtalk_cli.evaluation.runs import Source
from mggtalk_cli.pipeline import BuildOptions

Run = Callable[..., Any]


@pytest.mark.parametrize(("name", "example"), [(name, example) for name, _, example in COMMANDS])
def test_help_ends_with_an_example(run: Run, name: str, example: str) -> None:
    text = " ".join(run("evaluate", name, "--help").stdout.split())
    assert text.endswith(f"Example: {example}")


def test_nothing_to_measure(run: Run, tmp_path: Path) -> None:
    empty = run("evaluate", "identity", tmp_path)
    assert empty.exit_code == 1
    assert "in this folder" in empty.stderr
    missing = run("evaluate", "audio", tmp_path / "no.mp4")
    assert missing.exit_code == 1
    assert "does not exist" in missing.stderr


# ---------------------------------------------------------------- identity


def test_the_example_photo_is_given_back(portrait_path: Path) -> None:
    protocol = identity.identity_protocol(BuildOptions(size=256))
    measured = protocol.measure(Source("photo", (portrait_path,)))
    ours, unmoved = measured.values["ours"], measured.values["repeat"]
    assert ours["frame_db"] > 30
    assert ours["person_db"] > 32
    assert ours["warp_db"] > max(26, unmoved["warp_db"] + 5)
    assert ours["sharpness"] == pytest.approx(1, abs=0.1)
    assert set(ours) == set(protocol.metrics)
    assert measured.sheet is not None


def test_the_warp_is_inverted() -> None:
    source = identity.warp_sources(80, 120)
    moved = source + identity.displacement(source, 120)
    assert np.abs(moved - pixel_grid(80, 120)).max() < 1e-3


def test_one_bad_photo_of_two_is_reported(run: Run, portrait_path: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no picture")
    folder = tmp_path / "report"
    command = ("evaluate", "identity", portrait_path, bad, "--size", "128", "-o", folder)
    result = run(*command, "--json")
    assert result.exit_code == 4, result.stderr
    report = json.loads(result.stdout)
    assert [item["name"] for item in report["items"]] == ["portrait"]
    assert "bad" in report["failed"]
    assert result.stdout == (folder / "report.json").read_text("utf-8")


def test_a_run_is_taken_up_and_gives_the_same_bytes(
    run: Run, portrait_path: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "report"
    command = ("evaluate", "identity", portrait_path, "--size", "128", "-o", folder)
    assert run(*command).exit_code == 0
    first = (folder / "report.json").read_bytes()
    item = folder / "items" / "portrait.json"
    os.utime(item, (0, 0))
    assert run(*command).exit_code == 0
    assert item.stat().st_mtime == 0
    assert (folder / "report.json").read_bytes() == first


# ---------------------------------------------------------------- views


def test_holes_are_counted() -> None:
    head = np.zeros((200, 200), np.float32)
    head[50:150, 50:150] = 1
    assert views.silhouette(head, head) == (1.0, 0)
    holed = head.copy()
    holed[80:90, 80:90] = 0
    holed[120:125, 120:122] = 0.9
    opaque, holes = views.silhouette(holed, holed)
    assert holes == 2
    assert opaque == pytest.approx(1 - 110 / 96**2, abs=1e-4)
    assert views.silhouette(np.zeros_like(head), head) == (0.0, 0)


def test_views_write_a_report_with_a_sheet(run: Run, portrait_path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "views"
    result = run("evaluate", "views", portrait_path, "-o", folder, "--size", "128")
    assert result.exit_code == 0, result.stderr
    report = read_report(folder / "report.json")
    [item] = report.items
    assert item.values["ours"]["opaque"] > 0.95
    # The card keeps the photo's looks and has no shape.
    assert item.values["ours"]["pose_error"] < item.values["card"]["pose_error"] - 10
    assert item.values["ours"]["landmarks"] < item.values["card"]["landmarks"]
    with Image.open(folder / "items" / item.sheet) as picture:
        assert picture.size == (labels.NAME_PX + 5 * views.CELL_PX, 2 * views.CELL_PX)
    for name in ("report.md", "report.html"):
        assert "card" in (folder / name).read_text("utf-8")


def test_a_card_turned_by_nothing_is_the_photo() -> None:
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 255, (64, 64, 3), np.uint8)
    camera = Camera(np.eye(4, dtype=np.float32), 100.0, 64, 64)
    landmarks = np.array([[0, 0, 50.0], [1, 1, 60]])
    np.testing.assert_array_equal(
        views.turned_card(photo, camera, camera.viewmat, landmarks), photo
    )
    turned = view_matrix(camera, RenderOptions(yaw_deg=30), 0, pivot=(0.0, 0.0, 55.0))
    narrow = views.turned_card(np.full_like(photo, 255), camera, turned, landmarks)
    width = (narrow[32, :, 0] > 127).sum()
    assert width == pytest.approx(64 * math.cos(math.radians(30)), abs=4)


def test_angles_between_poses() -> None:
    first = matrix_from_angles(10.0, 5.0, -3.0)
    assert views.angle_between_deg(first, first) == pytest.approx(0, abs=1e-5)
    turned = matrix_from_angles(30.0, 0.0, 0.0) @ first
    assert views.angle_between_deg(turned, first) == pytest.approx(30, abs=1e-4)


def test_likeness_is_between_photo_and_views() -> None:
    looks = {0: np.array([1.0, 0]), 1: np.array([0.6, 0.8]), 2: np.array([0.8, -0.6])}

    def embed(image: np.ndarray) -> np.ndarray | None:
        return looks.get(round(float(image[0, 0, 0]) * 255))

    pictures = [np.full((64, 64, 3), level, np.uint8) for level in (1, 3, 2)]
    seen = tuple(
        views.View(yaw, picture, np.zeros((468, 3)))
        for yaw, picture in zip(views.YAWS_DEG, pictures, strict=True)
    )
    photo = np.zeros((64, 64, 3), np.uint8)
    scores = views.view_scores(seen, photo, Networks(identity=embed))
    assert scores["csim_left"] == pytest.approx(0.6)
    assert math.isnan(scores["csim_front"])
    assert scores["csim_between"] == pytest.approx(0, abs=1e-6)
    assert scores["csim"] == pytest.approx(0.7)
    assert scores["found"] == 0


def test_without_an_embedder_likeness_is_left_out_with_a_reason() -> None:
    protocol = views.views_protocol(BuildOptions(), Networks(left_out={"csim": "no weights"}))
    assert protocol.left_out["csim_between"] == "no weights"
    assert not any(name.startswith("csim") for name in protocol.metrics)
