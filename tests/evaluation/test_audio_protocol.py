"""`evaluate audio` through the command line: a sound, a speaker, films."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from mggtalk_cli import motion
from mggtalk_cli.cli import evaluate_audio
from mggtalk_cli.evaluation import audio, audio_metrics, speech, speech_strips, speech_video
from mggtalk_cli.evaluation.audio_sources import AudioOptions, audio_sources
from mggtalk_cli.evaluation.metrics import SyncScore
from mggtalk_cli.evaluation.networks import Networks

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def short_speech(tmp_path_factory: pytest.TempPathFactory, speech_path: Path) -> Path:
    """The example sentence's first second."""
    samples, rate = soundfile.read(speech_path, frames=16000)
    path = tmp_path_factory.mktemp("speech") / "short.wav"
    soundfile.write(path, samples, rate)
    return path


@pytest.fixture(scope="module")
def talking_clip(run: Run, portrait_path: Path, short_speech: Path) -> Path:
    """The example photo saying that second: a clip with sound whose mouth is known."""
    path = short_speech.with_name("eileen_01.mp4")
    command = ("animate", portrait_path, "--audio", short_speech, "--size", "192", "-o", path)
    result = run(*command, "--seed", "3", "-q")
    assert result.exit_code == 0, result.stderr
    return path


def test_defaults_are_those_of_the_library() -> None:
    assert evaluate_audio.SECONDS == speech.SECONDS == AudioOptions().seconds
    assert [pose.value for pose in evaluate_audio.Pose] == list(speech_video.HEAD_SCALE)


def test_a_sound_without_picture(run: Run, short_speech: Path) -> None:
    result = run("evaluate", "audio", short_speech, "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert [report["ours"], *report["others"]] == speech.variants()
    assert set(speech.variants()) == set(motion.VARIANTS)
    assert report["main"] == "sound_open_in_silence"
    [item] = report["items"]
    assert item["name"] == "short-alone"
    for values in item["values"].values():
        assert set(values) == set(audio_metrics.sound_metrics())
        assert values["sound_seconds"] == 1
        assert 0 < values["sound_longest_still"] <= 1


def test_frame_0_says_its_own_sound(run: Run, talking_clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "audio"
    command = ("evaluate", "audio", talking_clip, "--self", "--pose", "fixed", "-o", folder)
    result = run(*command, "--size", "192", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["main"] == "r"
    assert report["settings"]["pose"] == "fixed"
    speaker, film = report["items"]
    assert (speaker["name"], film["name"]) == ("eileen", "eileen_01-itself")
    assert speaker["values"]["neural"]["r"] > 0.9
    assert speaker["values"]["energy"]["frames"] == 25
    assert len(speaker["curves"]["opening"]["truth"]) == 25
    assert report["overall"]["neural"]["median_r"] == pytest.approx(
        speaker["values"]["neural"]["r"], abs=1e-5
    )
    ours, unmoved = film["values"]["neural"], film["values"]["repeat"]
    assert ours["film_kept"] > 0.8
    assert ours["mouth_db"] > 20
    assert ours["mouth_ssim"] > unmoved["mouth_ssim"] + 0.02
    assert ours["mouth_sharpness"] == pytest.approx(1, abs=0.1)
    with Image.open(folder / "items" / film["sheet"]) as picture:
        assert picture.height == speech_strips.LINE_PX + 2 * speech_strips.CELL_PX
    assert "lse_d" in report["left_out"]


def test_a_portrait_speaks(run: Run, short_speech: Path, portrait_path: Path) -> None:
    command = ("evaluate", "audio", short_speech, "--portrait", portrait_path, "--size", "128")
    result = run(*command, "--json")
    assert result.exit_code == 0, result.stderr
    item = json.loads(result.stdout)["items"][-1]
    assert item["name"] == "portrait-says-short"
    values = item["values"]["neural"]
    assert values["film_frames"] == 25
    assert values["film_kept"] > 0.8
    assert values["film_lost"] is None
    assert item["sheet"] == ""


def test_lip_sync_of_film_and_truth(talking_clip: Path) -> None:
    heard = []

    def sync(frames: list[np.ndarray], samples: np.ndarray) -> SyncScore:
        heard.append((len(frames), len(samples)))
        return SyncScore(7.0, 5.0, -1)

    networks = Networks(sync=sync)
    options = AudioOptions(own_face=True, size=192, sheets=False)
    sources = audio_sources([talking_clip], options)
    protocol = audio.audio_protocol(options, sources, networks)
    assert protocol.others[-2:] == ("repeat", "truth")
    values = protocol.measure(sources[-1]).values
    assert heard == [(25, 16000)] * 2
    assert values["truth"] == {"lse_d": 7, "lse_c": 5, "sync_offset": -1}
    assert values["neural"]["lse_c"] == 5


def test_sources_are_speakers_sounds_and_films(
    talking_clip: Path, short_speech: Path, sliding_clip: Path, tmp_path: Path
) -> None:
    second = tmp_path / "eileen_02.mp4"
    shutil.copy(talking_clip, second)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    options = AudioOptions(own_face=True, portraits=(Path("ann.png"),))
    files = [talking_clip, second, short_speech, sliding_clip, bad]
    names = [source.name for source in audio_sources(files, options)]
    assert names == [
        *("short-alone", "sliding", "bad", "eileen", "eileen_01-itself", "eileen_02-itself"),
        *("ann-says-eileen_01", "ann-says-eileen_02", "ann-says-short"),
    ]


def test_audio_needs_sound(run: Run, sliding_clip: Path) -> None:
    result = run("evaluate", "audio", sliding_clip)
    assert result.exit_code == 1
    assert "has no sound" in result.stderr


def test_offsets_must_be_json(run: Run, sliding_clip: Path, tmp_path: Path) -> None:
    table = tmp_path / "offsets.json"
    table.write_text("[1, 2]")
    result = run("evaluate", "audio", sliding_clip, "--offsets", table)
    assert result.exit_code == 1
    assert "a JSON object" in result.stderr


def test_medians_leave_out_what_is_not_there() -> None:
    numbers = np.full((3, len(audio_metrics.MEDIANS)), np.nan)
    numbers[:, 0] = 0.1, np.nan, 0.5
    found = audio.medians({"neural": numbers})["neural"]
    assert found["median_r"] == pytest.approx(0.3)
    assert np.isnan(found["median_width_r"])
