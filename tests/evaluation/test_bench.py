"""The benchmark runs, accounts for its time, and leaves the stages as they were."""

from __future__ import annotations

import json
import time
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mggtalk_cli import face, render
from mggtalk_cli.cli.app import app
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.bench import BUILD_STAGES, FRAME_STAGES, REST, bench, watched
from mggtalk_cli.evaluation.stopwatch import Stopwatch
from mggtalk_cli.evaluation.synthetic_portrait import draw_portrait, write_voice
from mggtalk_cli.variants import Variants


def test_made_up_face_is_one_face_with_landmarks_in_place() -> None:
    picture = draw_portrait(320)
    assert picture.shape == (320, 320, 3)
    faces = face.detect_faces(picture)
    assert len(faces.boxes) == 1
    assert faces.scores[0] > 0.8
    found = face.find_landmarks(picture, faces.boxes[0])
    assert found.score > 0.9
    assert np.array_equal(draw_portrait(320), picture)


def test_made_up_voice_is_a_sound(tmp_path: Path) -> None:
    write_voice(tmp_path / "voice.wav", 0.5)
    with wave.open(str(tmp_path / "voice.wav")) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(samples) == 8000
    assert 1000 < np.abs(samples.astype(int)).max() < 32767


def test_stopwatch_counts_nested_stages_once() -> None:
    watch = Stopwatch()
    inner = watch.timed("inner", lambda: time.sleep(0.01))
    outer = watch.timed("outer", lambda: (inner(), inner()))
    outer()
    inner()
    assert watch.seconds["outer"] >= 0.02
    assert 0.01 <= watch.seconds["inner"] < watch.seconds["outer"]


def test_stopwatch_times_what_is_pulled() -> None:
    watch = Stopwatch()
    assert list(watch.pulled("pull", iter([1, 2, 3]))) == [1, 2, 3]
    assert watch.seconds["pull"] > 0


def test_a_stage_on_cuda_ends_when_its_kernels_have(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA returns at once and works on; a stage waits for it, once, however its calls nest."""
    waits: list[float] = []

    def wait() -> None:
        time.sleep(0.01)
        waits.append(time.perf_counter())

    monkeypatch.setattr(torch.cuda, "synchronize", wait)
    watch = Stopwatch("cuda")
    inner = watch.timed("inner", lambda: None)
    watch.timed("outer", inner)()
    assert len(waits) == 1
    assert watch.seconds["outer"] >= 0.01
    watch.rendering(lambda: ("colors", "alphas", {"backend": "cuda"}))()
    assert watch.seconds["rasterise"] >= 0.01
    Stopwatch().timed("quick", lambda: None)()
    assert len(waits) == 2


def test_scenes_drawn_one_by_one_are_all_booked() -> None:
    watch = Stopwatch()
    scenes = [{"milliseconds": {"sort": 2.0, "blend": 5.0}}, {"milliseconds": {"sort": 3.0}}]
    watch.rendering(lambda: (None, None, {"backend": "cpu", "scenes": scenes}))()
    watch.rendering(lambda: (None, None, {"backend": "cpu", **scenes[0]}))()
    assert watch.seconds == {"sort": pytest.approx(0.007), "blend": pytest.approx(0.010)}


def test_stages_are_put_back_even_after_a_failure() -> None:
    before = (face.find_landmarks, Variants.finisher, render.rasterization)

    def fail() -> None:
        with watched(Stopwatch(), {**BUILD_STAGES, **FRAME_STAGES}):
            assert face.find_landmarks is not before[0]
            assert Variants.finisher is not before[1]
            assert render.rasterization is not before[2]
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (face.find_landmarks, Variants.finisher, render.rasterization) == before


def test_command_prints_every_stage_as_json() -> None:
    arguments = ["bench", "pipeline", "--json", "--rounds", "1", "--size", "96", "-q"]
    arguments += ["--device", "cpu"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["machine"]["processors"] >= 1
    assert found["points"] > 1000
    assert found["device"] == "cpu"
    build, animate = found["runs"]
    assert set(BUILD_STAGES) <= set(build["stages"])
    wanted = {"start", "speech", "deform", "decode", "project", "sort", "bin", "blend", "encode"}
    assert wanted <= set(animate["stages"])
    for run in (build, animate):
        assert run["first_ms"] > 0
        assert run["per_second"] == pytest.approx(1e3 / run["total"]["median"])
        stages = run["stages"]
        aside = sum(stages[name]["median"] for name in ("start", "encode") if name in stages)
        finished = 1e3 / (run["total"]["median"] - aside)
        assert run["finished_per_second"] == pytest.approx(finished)
        parts = {name: timing["median"] for name, timing in run["stages"].items()}
        assert sum(parts.values()) == pytest.approx(run["total"]["median"])
        idle = [name for name, spent in parts.items() if spent <= 0]
        assert not idle
        # What no stage accounts for is the smaller part.
        assert parts[REST] < 0.5 * run["total"]["median"]


def test_a_device_that_is_not_there_is_refused_first() -> None:
    works, _ = render.cuda_status()
    if works:
        pytest.skip("CUDA works here")
    result = CliRunner().invoke(app, ["bench", "pipeline", "--device", "cuda"])
    assert result.exit_code == 1
    assert "use --device cpu" in result.stderr


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(InputError, match="at least one"):
        bench(rounds=0)
