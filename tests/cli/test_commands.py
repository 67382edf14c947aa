"""The commands do their work through artifacts, and say what they did."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mggtalk_cli.core.expression import ARKIT_INDEX
from mggtalk_cli.core.video import VideoReader

Run = Callable[..., Any]
FRAMES = 10  # 0.4 s of speech at 25 fps


def test_head_opens_with_numpy(head: Path) -> None:
    with np.load(head, allow_pickle=False) as arrays:
        assert json.loads(str(arrays["meta"]))["kind"] == "head"


def test_film_has_one_frame_per_driving_frame(run: Run, frames: Path, tmp_path: Path) -> None:
    result = run("inpaint", frames, "-o", tmp_path / "a.mp4")
    assert result.exit_code == 0, result.stderr
    reader = VideoReader(tmp_path / "a.mp4")
    assert reader.size == (128, 128)
    assert reader.has_audio
    assert len(list(reader)) == FRAMES


def test_animate_is_the_four_stages(
    run: Run, portrait_path: Path, short_speech: Path, frames: Path, tmp_path: Path
) -> None:
    arguments = [portrait_path, "--audio", short_speech, "--size", 128]
    result = run("animate", *arguments, "-o", tmp_path / "whole%02d.png")
    assert result.exit_code == 0, result.stderr
    result = run("inpaint", frames, "-o", tmp_path / "steps%02d.png")
    assert result.exit_code == 0, result.stderr
    for i in range(FRAMES):
        whole = np.asarray(Image.open(tmp_path / f"whole{i:02d}.png")).astype(int)
        steps = np.asarray(Image.open(tmp_path / f"steps{i:02d}.png")).astype(int)
        assert np.abs(whole - steps).max() <= 1


def test_animate_takes_a_head_and_a_motion(
    run: Run, head: Path, short_speech: Path, tmp_path: Path
) -> None:
    result = run("drive", short_speech, "-o", tmp_path / "m.npz", "--seed", 3)
    assert result.exit_code == 0, result.stderr
    result = run("animate", head, "--motion", tmp_path / "m.npz", "-o", tmp_path / "a.webm")
    assert result.exit_code == 0, result.stderr
    assert len(list(VideoReader(tmp_path / "a.webm"))) == FRAMES


def test_a_film_drives(run: Run, head: Path, frames: Path, tmp_path: Path) -> None:
    run("inpaint", frames, "-o", tmp_path / "drive.mp4")
    for mode in ("--relative", "--absolute"):
        result = run(
            "deform", head, "--video", tmp_path / "drive.mp4", mode, "-o", tmp_path / f"p{mode}.npz"
        )
        assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("view", [["--yaw", 30], ["--pitch", -15, "--roll", 5], ["--densify"]])
def test_views(run: Run, head: Path, tmp_path: Path, view: list[object]) -> None:
    result = run("render", head, *view, "-o", tmp_path / "v%d.png", "--device", "cpu")
    assert result.exit_code == 0, result.stderr
    rgba = np.asarray(Image.open(tmp_path / "v0.png"))
    assert rgba.shape == (128, 128, 4)
    assert 0.2 < (rgba[..., 3] > 128).mean() < 0.95


@pytest.mark.parametrize(
    ("background", "name"),
    [("steelblue", "a.mp4"), ("#102030", "a.mkv"), ("transparent", "a.webm"), ("photo", "a.mov")],
)
def test_backgrounds(
    run: Run, frames: Path, portrait_path: Path, tmp_path: Path, background: str, name: str
) -> None:
    behind = portrait_path if background == "photo" else background
    result = run("inpaint", frames, "--background", behind, "-o", tmp_path / name)
    assert result.exit_code == 0, result.stderr
    assert len(list(VideoReader(tmp_path / name))) == FRAMES


def test_ply_of_a_head_and_of_points(run: Run, head: Path, points: Path, tmp_path: Path) -> None:
    for source, name in ((head, "h.ply"), (points, "p.ply")):
        result = run("render", source, "-o", tmp_path / f"{name}.npz", "--ply", tmp_path / name)
        assert result.exit_code == 0, result.stderr
        assert (tmp_path / name).read_bytes().startswith(b"ply")
        assert run("inspect", tmp_path / name).exit_code == 0


def test_seed_repeats_and_changes_the_motion(run: Run, short_speech: Path, tmp_path: Path) -> None:
    def motion(name: str, *arguments: object) -> np.ndarray:
        run("drive", short_speech, "-o", tmp_path / name, *arguments)
        with np.load(tmp_path / name) as arrays:
            return np.asarray(arrays["rotation"])

    first = motion("a.npz", "--seed", 1)
    assert np.array_equal(first, motion("b.npz", "--seed", 1))
    assert not np.array_equal(first, motion("c.npz", "--seed", 2))
    still = motion("d.npz", "--seed", 1, "--still")
    assert np.abs(np.diff(still, axis=0)).max() < 1e-6
    np.testing.assert_array_equal(still, motion("e.npz", "--seed", 1, "--head-scale", 0))


def test_scales_of_speech(run: Run, speech_path: Path, tmp_path: Path) -> None:
    def beta(name: str, *arguments: object) -> np.ndarray:
        run("drive", speech_path, "-o", tmp_path / name, *arguments)
        with np.load(tmp_path / name) as arrays:
            return np.asarray(arrays["beta"])

    jaw, eye = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["eyeBlinkLeft"]
    whole, half = beta("a.npz"), beta("b.npz", "--mouth-scale", 0.5, "--blink", "off")
    np.testing.assert_allclose(half[:, jaw], 0.5 * whole[:, jaw], atol=1e-6)
    assert whole[:, eye].max() > 0.9
    assert not half[:, eye].any()
    often = beta("c.npz", "--blink", 60)[:, eye] > 0.5
    assert np.sum(np.diff(often.astype(int)) > 0) > np.sum(np.diff((whole[:, eye] > 0.5) * 1) > 0)


def test_json_events(run: Run, points: Path, tmp_path: Path) -> None:
    result = run("render", points, "-o", tmp_path / "f.npz", "--log-json")
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert [e["event"] for e in events if e["event"] != "progress"] == ["start", "wrote", "done"]
    assert events[-1]["frames"] == FRAMES
    assert events[-1]["seconds"] > 0


def test_a_clip_tells_how_many_frames_will_come(
    run: Run, frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("inpaint", frames, "-o", tmp_path / "drive.mp4")
    monkeypatch.setattr("mggtalk_cli.cli.progress.PROGRESS_EVERY_S", 0.0)
    result = run("drive", tmp_path / "drive.mp4", "-o", tmp_path / "m.npz", "--log-json")
    assert result.exit_code == 0, result.stderr
    events = [json.loads(line) for line in result.stderr.splitlines()]
    told = [event["total"] for event in events if event["event"] == "progress"]
    assert told == [FRAMES] * FRAMES


def test_quiet_says_nothing(run: Run, points: Path, tmp_path: Path) -> None:
    result = run("render", points, "-o", tmp_path / "f.npz", "--quiet")
    assert result.exit_code == 0
    assert result.output == ""


def test_doctor(run: Run) -> None:
    result = run("doctor", "--json")
    report = json.loads(result.stdout)
    broken = [c for c in report["checks"] if c["ok"] is False and c["essential"]]
    assert result.exit_code == 0, broken
    assert report["ok"]
    names = {check["name"] for check in report["checks"]}
    assert {"python", "torch", "codec libx264", "cuda renderer (gsplat)"} <= names
    assert any(name.endswith(".tflite") for name in names)
    assert all(check["fix"] for check in report["checks"] if check["ok"] is False)
    assert run("doctor").stdout.rstrip().endswith("ready")


def test_doctor_finds_a_damaged_model(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from mggtalk_cli.cli import doctor

    monkeypatch.setattr(doctor, "_recorded_sums", lambda folder: {"face_landmark.tflite": "0" * 64})
    result = run("doctor")
    assert result.exit_code == 1
    assert "FAIL" in result.stdout
    assert "reinstall" in result.stdout
