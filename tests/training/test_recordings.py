"""Clips are looked at once, whatever happens to the run; what cannot be used is reported."""

from __future__ import annotations

import json
import wave
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest
from typer.testing import CliRunner

from mggtalk_cli.cli.app import app
from mggtalk_cli.evaluation.synthetic_portrait import draw_portrait, write_voice
from mggtalk_cli.motion.network import COEFFICIENTS, read_mouth_network
from mggtalk_cli.training import mouth, recordings, tracking
from mggtalk_cli.training.clips import Clip
from mggtalk_cli.training.recordings import Recording, Refused

FRAMES = 30


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two talking clips of a made-up person and one file that is no clip."""
    folder = tmp_path_factory.mktemp("clips")
    picture = draw_portrait(256)
    for index in range(2):
        write_clip(folder / f"ann_{index:02d}.mp4", picture, seed=index)
    (folder / "broken_01.mp4").write_text("this is no film", encoding="utf-8")
    return folder


def write_clip(path: Path, picture: np.ndarray, *, seed: int) -> None:
    sound = path.with_suffix(".wav")
    write_voice(sound, FRAMES / 25, seed=seed)
    with wave.open(str(sound)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    sound.unlink()
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "18"})
        video.width, video.height, video.pix_fmt = picture.shape[1], picture.shape[0], "yuv420p"
        audio = container.add_stream("aac", rate=16_000, layout="mono")
        for _ in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(video.encode(frame))
        heard = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
        heard.sample_rate = 16_000
        container.mux(audio.encode(heard))
        container.mux([*video.encode(), *audio.encode()])


def test_a_clip_is_looked_at_once(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = [Clip(clips / name, "ann") for name in ("ann_00.mp4", "broken_01.mp4")]
    first, broken = recordings.recordings(named, tmp_path / "cache")
    assert isinstance(first, Recording)
    assert first.mouth.opening.shape == (FRAMES,)
    assert first.mouth.coefficients.shape == (FRAMES, len(COEFFICIENTS))
    assert np.isfinite(first.mouth.width).all()
    assert [len(copy) > 0 for copy in first.voice.features] == [True, True, True]
    assert isinstance(broken, Refused)
    assert "broken_01.mp4" in broken.reason
    monkeypatch.setattr(recordings, "track_mouth", None)
    monkeypatch.setattr(recordings, "hear", None)
    (again,) = recordings.recordings(named[:1], tmp_path / "cache")
    assert isinstance(again, Recording)
    np.testing.assert_array_equal(again.mouth.opening, first.mouth.opening)
    np.testing.assert_array_equal(again.voice.features[1], first.voice.features[1])


def test_the_command_writes_weights_and_card(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mouth, "Recipe", partial(mouth.Recipe, steps=2, batch=2))
    output = tmp_path / "mouth.safetensors"
    command = ["train", "audio", str(clips), "-o", str(output), "--jobs", "1", "--json"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["learned_from"] == 2
    assert list(report["refused"]) == [str(clips / "broken_01.mp4")]
    assert read_mouth_network(output).size.outputs > 0
    assert "| ann | 2 |" in output.with_suffix(".md").read_text("utf-8")
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr


def test_lip_distances_do_not_depend_on_scale() -> None:
    points = np.random.default_rng(0).normal(size=(478, 3))
    beta = np.linspace(0, 1, 52)
    row = tracking.mouth_row(points, beta)
    np.testing.assert_allclose(tracking.mouth_row(7 * points, beta), row, rtol=1e-5)
