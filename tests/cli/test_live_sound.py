"""--audio -: sound on stdin drives frames as it comes in."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mggtalk_cli.artifacts import open_artifact

Run = Callable[..., Any]
ROOT = Path(__file__).parents[2]
WAIT_S = 120.0


@pytest.fixture(scope="module")
def pcm(speech_path: Path) -> bytes:
    """Two seconds of 16-bit samples at 16 kHz."""
    return speech_path.read_bytes()[44 : 44 + 2 * 32_000]


def header(like: Path, *, size: bytes) -> bytes:
    """Return a WAV header that does not know its length."""
    found = bytearray(like.read_bytes()[:44])
    found[4:8] = found[40:44] = size
    return bytes(found)


def test_frames_leave_while_the_sound_comes_in(head: Path, pcm: bytes, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = ["animate", str(head), "--audio", "-", "-o", str(tmp_path / "%05d.png")]
    process = subprocess.Popen(
        [sys.executable, "-m", "mggtalk_cli", *command],
        env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(pcm[:32_000])
    process.stdin.flush()
    # the first 1 - 0.24 - 0.16 s of frames need no more than that
    deadline = time.monotonic() + WAIT_S
    while not (tmp_path / "00014.png").exists():
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert not (tmp_path / "00025.png").exists()
    process.stdin.write(pcm[32_000:])
    process.stdin.close()
    assert process.wait(WAIT_S) == 0
    assert len(list(tmp_path.iterdir())) == 50
    process.stderr.close()


@pytest.mark.parametrize("size", [b"\0\0\0\0", b"\xff\xff\xff\xff", None])
def test_wav_and_raw_samples_give_the_same(
    run: Run, head: Path, pcm: bytes, speech_path: Path, tmp_path: Path, size: bytes | None
) -> None:
    start = b"" if size is None else header(speech_path, size=size)
    short = pcm[:16_000]
    result = run("deform", head, "--audio", "-", "-o", tmp_path / "p.npz", stdin=start + short)
    assert result.exit_code == 0, result.stderr
    points = open_artifact(tmp_path / "p.npz", "points")
    frames = list(points.frames())
    assert len(frames) == 13
    sound = np.concatenate([frame["audio"] for frame in frames])[:8_000]
    np.testing.assert_array_equal(sound[:, 0], np.frombuffer(short, "<i2"))


def test_other_formats_are_read_whole(run: Run, head: Path, pcm: bytes, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.flac"), "w") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        samples = np.frombuffer(pcm[:16_000], "<i2")[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    flac = (tmp_path / "a.flac").read_bytes()
    result = run("deform", head, "--audio", "-", "-o", tmp_path / "p.npz", stdin=flac)
    assert result.exit_code == 0, result.stderr
    assert open_artifact(tmp_path / "p.npz", "points").meta["frame_count"] == 13


def test_picture_and_sound_end_together(run: Run, head: Path, pcm: bytes, tmp_path: Path) -> None:
    odd = pcm[: 2 * 20_333]  # no whole number of frames
    result = run("animate", head, "--audio", "-", "-o", tmp_path / "a.mp4", stdin=odd)
    assert result.exit_code == 0, result.stderr
    with av.open(str(tmp_path / "a.mp4")) as film:
        ends = []
        for stream in (film.streams.video[0], film.streams.audio[0]):
            assert stream.duration is not None
            assert stream.time_base is not None
            ends.append(float(((stream.start_time or 0) + stream.duration) * stream.time_base))
    assert abs(ends[0] - ends[1]) <= 1 / 25
    assert ends[0] == pytest.approx(32 / 25, abs=1e-3)


@pytest.mark.parametrize(
    ("data", "says"),
    [(b"", "empty"), (b"no sound\n" * 50, "text"), (b"RIFF\0\0\0\0WAVEdata\0\0", "damaged")],
)
@pytest.mark.parametrize("command", ["animate", "deform"])
def test_what_is_no_sound_is_one_line(
    run: Run, head: Path, tmp_path: Path, command: str, data: bytes, says: str
) -> None:
    output = tmp_path / ("a.mp4" if command == "animate" else "a.npz")
    result = run(command, head, "--audio", "-", "-o", output, stdin=data)
    assert result.exit_code == 1
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(tmp_path.iterdir())
