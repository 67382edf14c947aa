"""Protocols end to end on the example photo, and their numbers on made-up pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mggtalk_cli.core.camera import pixel_grid
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import clips, identity, reenact, views

Run = Callable[..., Any]


def test_a_sliding_head_beats_the_repeated_frame(run: Run, sliding_clip: Path) -> None:
    result = run("evaluate", "reenact", sliding_clip, "--frames", "6", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["summary"]["won_against"]["repeat"] == 1
    [clip] = report["results"]
    assert clip["frames"] == 6
    assert set(clip["scores"]) == {"ours", "repeat", "warp"}


def test_true_frames_score_perfectly() -> None:
    rng = np.random.default_rng(0)
    frames = list(rng.integers(0, 255, (3, 64, 64, 3), np.uint8))
    points = [np.c_[rng.uniform(5, 60, (478, 2)), np.zeros(478)]] * 3
    heads = [np.ones((64, 64), bool)] * 3
    scores = reenact.score(frames, frames, points, heads)
    assert scores.head_db == scores.frame_db == scores.mouth_db == math.inf
    assert scores.ssim == pytest.approx(1)
    assert scores.sharpness == pytest.approx(1)


def test_the_head_ends_at_the_chin() -> None:
    face = np.array([[40.0, 30, 0], [60, 60, 0]])
    mask = clips.head_mask(np.ones((100, 100)), face)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert (rows[0], rows[-1]) == (18, 61)
    assert (columns[0], columns[-1]) == (34, 65)
    assert not clips.head_mask(np.zeros((100, 100)), face).any()


def test_one_bad_clip_of_two_is_reported(run: Run, sliding_clip: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    result = run("evaluate", "reenact", sliding_clip, bad, "--frames", "3", "--json")
    assert result.exit_code == 4
    report = json.loads(result.stdout)
    assert len(report["results"]) == 1
    assert "bad.mp4" in next(iter(report["failed"]))


def test_a_short_clip_says_how_many_frames_it_has(sliding_clip: Path) -> None:
    with pytest.raises(InputError, match="has 6 frames"):
        clips.read_frames(sliding_clip, 7, max_side=512, fps=25)


def test_nothing_to_measure(run: Run, tmp_path: Path) -> None:
    empty = run("evaluate", "identity", tmp_path)
    assert empty.exit_code == 1
    assert "in this folder" in empty.stderr
    missing = run("evaluate", "audio", tmp_path / "no.mp4")
    assert missing.exit_code == 1
    assert "does not exist" in missing.stderr


def test_the_example_photo_is_given_back(portrait_path: Path) -> None:
    from mggtalk_cli.pipeline import BuildOptions

    result = identity.identity_result(portrait_path, BuildOptions(size=256))
    assert result.frame_db > 30
    assert result.person_db > 32
    assert result.warp_db > 26


def test_the_warp_is_inverted() -> None:
    source = identity.warp_sources(80, 120)
    moved = source + identity.displacement(source, 120)
    assert np.abs(moved - pixel_grid(80, 120)).max() < 1e-3


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


def test_views_write_a_sheet(run: Run, portrait_path: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    result = run("evaluate", "views", portrait_path, "-o", sheet, "--size", "128", "--json")
    assert result.exit_code == 0, result.stderr
    assert len(json.loads(result.stdout)["results"]) == 3
    with Image.open(sheet) as picture:
        assert picture.size == (5 * views.CELL_PX, views.CELL_PX)


@pytest.mark.parametrize("name", ["reenact", "audio", "identity", "views"])
def test_help_ends_with_an_example(run: Run, name: str) -> None:
    text = " ".join(run("evaluate", name, "--help").stdout.split())
    assert f"Example: mggtalk evaluate {name} " in text
