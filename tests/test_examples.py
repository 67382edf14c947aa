"""Every example runs, stays short, and makes what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mggtalk_cli.core.video import VideoReader

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
MAX_LINES = 50


def beginning(speech: Path, seconds: float, path: Path) -> Path:
    """Write the beginning of a sentence, and return where it lies."""
    import soundfile

    rate = soundfile.info(speech).samplerate
    soundfile.write(path, soundfile.read(speech, frames=round(seconds * rate))[0], rate)
    return path


@pytest.fixture(scope="module")
def short_speech(tmp_path_factory: pytest.TempPathFactory, speech_path: Path) -> Path:
    """The example sentence's first 0.2 s: five frames."""
    return beginning(speech_path, 0.2, tmp_path_factory.mktemp("speech") / "short.wav")


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a shell in which `mggtalk` and `python` are this interpreter's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, module in (("mggtalk", "-m mggtalk_cli"), ("python", "")):
        (folder / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (folder / name).chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "SIZE": "128"}


def finished(folder: Path, environment: dict[str, str], *command: object) -> None:
    done = subprocess.run(
        [str(c) for c in command], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["01_talk.sh", "02_pipe.sh", "04_python.py"])
def test_talk(
    tmp_path: Path, environment: dict[str, str], portrait_path: Path, short_speech: Path, name: str
) -> None:
    program = "bash" if name.endswith(".sh") else "python"
    finished(tmp_path, environment, program, EXAMPLES / name, portrait_path, short_speech)
    assert len(list(VideoReader(tmp_path / "talk.mp4"))) == 5
    finished(
        tmp_path, environment, "python", EXAMPLES / "contact_sheet.py", "talk.mp4", "s.png", 2, 1
    )
    assert (tmp_path / "s.png").stat().st_size > 1000


def test_views(tmp_path: Path, environment: dict[str, str]) -> None:
    finished(tmp_path, environment, "bash", EXAMPLES / "03_views.sh")
    assert len(list(tmp_path.glob("view_*.png"))) == 3
    assert (tmp_path / "head.ply").exists()
    assert len(list(VideoReader(tmp_path / "turntable.mp4"))) == 100


def test_makefile(tmp_path: Path, environment: dict[str, str], short_speech: Path) -> None:
    make = ("make", "-f", EXAMPLES / "05_make" / "Makefile", f"SPEECH={short_speech}")
    finished(tmp_path, environment, *make)
    assert len(list(VideoReader(tmp_path / "talk.mp4"))) == 5
    head_made = (tmp_path / "head.npz").stat().st_mtime
    finished(tmp_path, environment, *make, "YAW=10", "-W", "points.npz")
    assert (tmp_path / "head.npz").stat().st_mtime == head_made


def test_evaluate(
    tmp_path: Path, environment: dict[str, str], portrait_path: Path, short_speech: Path
) -> None:
    short = {**environment, "FRAMES": "4"}
    finished(tmp_path, short, "bash", EXAMPLES / "06_evaluate.sh", portrait_path, short_speech)
    for folder in ("before", "after", "peers"):
        assert (tmp_path / folder / "report.html").stat().st_size > 1000
    assert (tmp_path / "before/report.json").read_bytes() == (
        tmp_path / "after/report.json"
    ).read_bytes()


def test_train_a_stage(
    tmp_path: Path, environment: dict[str, str], portrait_path: Path, speech_path: Path
) -> None:
    speech = beginning(speech_path, 0.4, tmp_path / "speech.wav")
    quick = {**environment, "FRAMES": "10", "STEPS": "2"}
    finished(tmp_path, quick, "bash", EXAMPLES / "07_train_a_stage.sh", portrait_path, speech)
    assert "2 steps" in (tmp_path / "mouth.md").read_text("utf-8")
    assert (tmp_path / "mouth.train/log.csv").exists()
    assert len(list(VideoReader(tmp_path / "talk.mp4"))) == 10


@pytest.mark.parametrize(
    "path",
    sorted(p for p in EXAMPLES.rglob("*") if p.suffix in (".py", ".sh")),
    ids=lambda p: p.name,
)
def test_examples_are_short(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < MAX_LINES
    assert "Usage: " in path.read_text("utf-8")
