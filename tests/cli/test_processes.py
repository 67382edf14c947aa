"""Real processes: shell pipes, Ctrl-C, a reader that leaves, no traceback anywhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MGGTALK = [sys.executable, "-m", "mggtalk_cli"]
ROOT = Path(__file__).parents[2]


def start(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [*MGGTALK, *map(str, arguments)], env=environment, stderr=subprocess.PIPE, **options
    )  # type: ignore[call-overload]


def test_pipe_of_four_programs_gives_the_frames_of_animate(
    portrait_path: Path, short_speech: Path, frames: Path, tmp_path: Path
) -> None:
    out = subprocess.PIPE
    build = start("build-head", portrait_path, "--size", 128, "-o", "-", stdout=out)
    deform = start(
        "deform", "-", "--audio", short_speech, "-o", "-", stdin=build.stdout, stdout=out
    )
    render = start("render", "-", "-o", "-", stdin=deform.stdout, stdout=out)
    inpaint = start("inpaint", "-", "-o", tmp_path / "%02d.png", stdin=render.stdout)
    programs = (build, deform, render, inpaint)
    for program in programs[:3]:
        program.stdout.close()  # type: ignore[union-attr]
    said = [program.stderr.read() for program in programs]  # type: ignore[union-attr]
    assert [program.wait() for program in programs] == [0] * 4, said
    done = start("inpaint", frames, "-o", tmp_path / "steps%02d.png")
    assert done.wait() == 0
    for i in range(10):
        piped = np.asarray(Image.open(tmp_path / f"{i:02d}.png")).astype(int)
        steps = np.asarray(Image.open(tmp_path / f"steps{i:02d}.png")).astype(int)
        assert np.abs(piped - steps).max() <= 1
    close(*programs, done)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["talk.mp4", "%05d.png"])
def test_interrupted_run_leaves_nothing(
    head: Path, speech_path: Path, tmp_path: Path, ending: signal.Signals, name: str
) -> None:
    process = start("animate", head, "--audio", speech_path, "-o", tmp_path / name)
    deadline = time.monotonic() + 120
    while not any(tmp_path.iterdir()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(ending)
    said = process.stderr.read().decode()  # type: ignore[union-attr]
    assert process.wait(60) == {signal.SIGINT: 130, signal.SIGTERM: 143}[ending], said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir())
    close(process)


def test_interrupt_while_loading_is_quiet(head: Path, tmp_path: Path, speech_path: Path) -> None:
    process = start("animate", head, "--audio", speech_path, "-o", tmp_path / "a.mp4")
    time.sleep(0.9)
    process.send_signal(signal.SIGINT)
    said = process.stderr.read().decode()  # type: ignore[union-attr]
    assert process.wait(60) == 130, said
    assert "Traceback" not in said
    close(process)


@pytest.mark.parametrize("command", ["render", "inpaint"])
def test_reader_that_leaves_is_no_failure_to_talk_about(
    points: Path, frames: Path, command: str
) -> None:
    source = points if command == "render" else frames
    process = start(command, source, "-o", "-", stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.read(1)
    process.stdout.close()
    said = process.stderr.read().decode()  # type: ignore[union-attr]
    assert process.wait(60) in (0, 141)
    assert said == ""
    close(process)


def test_failing_stage_is_one_line_at_each_following_stage(
    faceless: Path, short_speech: Path, tmp_path: Path
) -> None:
    build = start("build-head", faceless, "-o", "-", stdout=subprocess.PIPE)
    deform = start(
        "deform", "-", "--audio", short_speech, "-o", tmp_path / "p.npz", stdin=build.stdout
    )
    build.stdout.close()  # type: ignore[union-attr]
    for process in (build, deform):
        said = process.stderr.read().decode()  # type: ignore[union-attr]
        assert process.wait(60) == 1
        assert len(said.splitlines()) == 1, said
    assert not list(tmp_path.iterdir())
    close(build, deform)


def test_stdin_carries_photo_and_sound(
    portrait_path: Path, short_speech: Path, tmp_path: Path
) -> None:
    with portrait_path.open("rb") as photo:
        process = start(
            "animate", "-", "--audio", short_speech, "--size", 64, "-o", tmp_path / "a.mp4",
            stdin=photo,
        )  # fmt: skip
        assert process.wait(120) == 0
    with short_speech.open("rb") as speech:
        second = start("drive", "-", "-o", tmp_path / "m.npz", stdin=speech)
        assert second.wait(120) == 0
    close(process, second)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full to stand for a full disk")
@pytest.mark.parametrize("command", ["render", "inpaint"])
def test_full_disk_is_one_line(points: Path, frames: Path, command: str) -> None:
    source = points if command == "render" else frames
    with open("/dev/full", "wb") as full:
        process = start(command, source, "-o", "-", stdout=full)
        said = process.stderr.read().decode()  # type: ignore[union-attr]
        assert process.wait(60) == 1
    assert len(said.splitlines()) == 1, said
    assert "no space" in said.lower()
    close(process)


def on_terminal(*arguments: object) -> tuple[int, str]:
    """Run with stdout and stderr on a pseudo-terminal; return exit code and what it shows."""
    pty = pytest.importorskip("pty")
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [*MGGTALK, *map(str, arguments)], env=environment, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    while True:
        try:
            block = os.read(ours, 4096)
        except OSError:  # The other end is closed.
            break
        if not block:
            break
        shown += block
    os.close(ours)
    return process.wait(60), shown.decode()


def test_binary_is_not_written_to_a_terminal(points: Path) -> None:
    code, shown = on_terminal("render", points, "-o", "-")
    assert code == 1
    assert "stdout is a terminal" in shown
    assert "PK" not in shown


def test_terminal_shows_frames_per_second(points: Path, tmp_path: Path) -> None:
    code, shown = on_terminal("render", points, "-o", tmp_path / "f.npz")
    assert code == 0
    assert "frames/s" in shown
    assert "wrote" in shown


def close(*processes: subprocess.Popen[bytes]) -> None:
    for process in processes:
        for stream in (process.stderr, process.stdout):
            if stream is not None:
                stream.close()
