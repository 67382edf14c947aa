"""Bad input: exit code 1, one line that names it and says what to do, nothing half-written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mggtalk_cli import pipeline
from mggtalk_cli.core.encode import VideoWriter

Run = Callable[..., Any]


def one_line(result: Any, *words: str) -> str:
    """Check that the command failed with one line that holds the words; return the line."""
    assert result.exit_code == 1, result.output
    lines = [line for line in result.stderr.splitlines() if line]
    errors = [line for line in lines if line.startswith("mggtalk: error: ")]
    assert len(errors) == 1, result.stderr
    assert lines[-1] == errors[0]
    assert "unexpected" not in errors[0]
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in errors[0]
    return errors[0]


def nothing_left(folder: Path, *expected: str) -> None:
    assert sorted(p.name for p in folder.iterdir()) == sorted(expected)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_photo_without_a_face(run: Run, faceless: Path, out: Path) -> None:
    one_line(run("build-head", faceless, "-o", out / "head.npz"), "face")
    nothing_left(out)


def test_tiny_face(run: Run, portrait_path: Path, out: Path, tmp_path: Path) -> None:
    ground = Image.new("RGB", (640, 480), (90, 110, 130))
    ground.paste(Image.open(portrait_path).convert("RGB").resize((120, 120)), (260, 180))
    ground.save(tmp_path / "tiny.png")
    one_line(run("build-head", tmp_path / "tiny.png", "-o", out / "head.npz"), "face", "64")
    nothing_left(out)


def test_several_faces_warn_and_can_be_chosen(
    run: Run, portrait_path: Path, out: Path, tmp_path: Path
) -> None:
    portrait = Image.open(portrait_path).convert("RGB")
    both = Image.new("RGB", (912, 512), (90, 110, 130))
    both.paste(portrait, (0, 0))
    both.paste(portrait.resize((400, 400)), (512, 100))
    both.save(tmp_path / "two.png")
    result = run("build-head", tmp_path / "two.png", "-o", out / "a.npz", "--size", 128)
    assert result.exit_code == 0, result.stderr
    assert "warning" in result.stderr
    for face in (0, 1):
        target = out / f"face{face}.npz"
        result = run(
            "build-head", tmp_path / "two.png", "-o", target, "--size", 128, "--face", face
        )
        assert result.exit_code == 0, result.stderr
        assert "warning" not in result.stderr
    boxes = [box_of(run, out / f"face{face}.npz") for face in (0, 1)]
    centres = [(x0 + x1) / 2 for x0, _, x1, _ in boxes]
    assert centres[0] < 400 < centres[1]
    one_line(run("build-head", tmp_path / "two.png", "-o", out / "x.npz", "--face", 2), "face", "2")


def test_a_profile_is_warned_of(
    run: Run, portrait_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for yaw, warned in ((-55.0, True), (20.0, False)):
        monkeypatch.setattr(pipeline, "yaw_of", lambda head, yaw=yaw: yaw)
        arguments = (portrait_path, "-o", out / "turned.npz", "--size", 128, "--overwrite")
        result = run("build-head", *arguments)
        assert result.exit_code == 0, result.stderr
        assert ("warning: the face is turned by 55 degrees" in result.stderr) == warned


def box_of(run: Run, head: Path) -> list[float]:
    result = run("inspect", head, "--json")
    assert result.exit_code == 0, result.stderr
    return list(json.loads(result.stdout)["meta"]["crop_box"])


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("text.jpg", b"this is no picture\n" * 20, "not a picture"),
        ("empty.jpg", b"", "empty"),
        ("photo.heic", b"\0\0\0\x18ftypheic" + b"\0" * 64, "HEIC"),
    ],
)
def test_no_photo(
    run: Run, out: Path, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    one_line(run("build-head", tmp_path / name, "-o", out / "head.npz"), name, says)
    nothing_left(out)


def test_truncated_jpeg(run: Run, portrait_path: Path, out: Path, tmp_path: Path) -> None:
    Image.open(portrait_path).convert("RGB").save(tmp_path / "cut.jpg")
    data = (tmp_path / "cut.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(data[: len(data) // 2])
    one_line(run("build-head", tmp_path / "cut.jpg", "-o", out / "head.npz"), "cut.jpg", "damaged")
    nothing_left(out)


@pytest.mark.parametrize("kind", ["grey", "cmyk", "rgba", "16 bit", "turned"])
def test_unusual_photos_work(
    run: Run, portrait_path: Path, out: Path, tmp_path: Path, kind: str
) -> None:
    photo = Image.open(portrait_path).convert("RGB")
    exif = Image.Exif()
    path = tmp_path / "photo.png"
    if kind == "grey":
        photo.convert("L").save(path)
    elif kind == "cmyk":
        path = tmp_path / "photo.jpg"
        photo.convert("CMYK").save(path)
    elif kind == "rgba":
        photo.convert("RGBA").save(path)
    elif kind == "16 bit":
        Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(path)
    else:
        exif[0x0112] = 6
        photo.transpose(Image.Transpose.ROTATE_90).save(path, exif=exif)
    result = run("build-head", path, "-o", out / "head.npz", "--size", 64)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("command", "fixture"),
    [("deform", "points"), ("render", "frames"), ("inpaint", "head"), ("inpaint", "points")],
)
def test_wrong_artifact_kind(
    run: Run, out: Path, short_speech: Path, command: str, fixture: str,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    path = request.getfixturevalue(fixture)
    extra = ["--audio", short_speech] if command == "deform" else []
    target = out / ("a.mp4" if command == "inpaint" else "a.npz")
    line = one_line(run(command, path, *extra, "-o", target), "expected", fixture)
    assert "mggtalk" in line.removeprefix("mggtalk: error: ")
    nothing_left(out)


def test_text_as_artifact(run: Run, out: Path, tmp_path: Path) -> None:
    (tmp_path / "head.npz").write_text("no artifact")
    one_line(run("render", tmp_path / "head.npz", "-o", out / "a.npz"), "head.npz")
    nothing_left(out)


def test_truncated_artifact(run: Run, out: Path, points: Path, tmp_path: Path) -> None:
    data = points.read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[: len(data) * 2 // 3])
    one_line(run("render", tmp_path / "cut.npz", "-o", out / "a.npz"), "cut.npz")
    one_line(run("render", "-", "-o", out / "a.npz", stdin=data[: len(data) * 2 // 3]))
    nothing_left(out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["build-head", "-", "-o", "a.npz"],
        ["drive", "-", "-o", "a.npz"],
        ["render", "-", "-o", "a.npz"],
        ["inpaint", "-", "-o", "a.mp4"],
        ["inspect", "-"],
    ],
    ids=lambda a: a[0],
)
def test_empty_stdin(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(out)
    one_line(run(*arguments, stdin=b""), "stdin" if arguments[0] != "build-head" else "standard")
    nothing_left(out)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [("empty.wav", b"", "empty"), ("text.wav", b"no sound\n" * 50, "text.wav")],
)
def test_bad_speech(
    run: Run, head: Path, out: Path, tmp_path: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    one_line(run("deform", head, "--audio", tmp_path / name, "-o", out / "p.npz"), says)
    one_line(run("drive", tmp_path / name, "-o", out / "m.npz"), says)
    nothing_left(out)


def test_clip_without_a_face(run: Run, head: Path, out: Path, tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "nobody.mp4", 320, 240, 25) as writer:
        for _ in range(5):
            writer.write(np.full((240, 320, 3), 90, np.uint8))
    one_line(run("drive", tmp_path / "nobody.mp4", "-o", out / "m.npz"), "face")
    nothing_left(out)


def test_missing_files_and_folders(
    run: Run, head: Path, out: Path, tmp_path: Path, short_speech: Path
) -> None:
    one_line(run("build-head", tmp_path / "none.jpg", "-o", out / "h.npz"), "none.jpg")
    one_line(run("drive", tmp_path / "none.wav", "-o", out / "m.npz"), "none.wav")
    one_line(run("render", tmp_path / "none.npz", "-o", out / "f.npz"), "none.npz")
    one_line(run("drive", short_speech, "-o", out / "no" / "m.npz"), "folder", "does not exist")
    one_line(run("render", head, "-o", out), "folder")
    nothing_left(out)


def test_existing_output_needs_overwrite(run: Run, short_speech: Path, out: Path) -> None:
    (out / "m.npz").write_text("mine")
    one_line(run("drive", short_speech, "-o", out / "m.npz"), "m.npz", "--overwrite")
    assert (out / "m.npz").read_text() == "mine"
    result = run("drive", short_speech, "-o", out / "m.npz", "--overwrite")
    assert result.exit_code == 0, result.stderr
    nothing_left(out, "m.npz")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(run: Run, short_speech: Path, out: Path) -> None:
    out.chmod(0o500)
    one_line(run("drive", short_speech, "-o", out / "m.npz"), "writ")


@pytest.mark.parametrize(
    ("command", "name", "says"),
    [
        ("render", "film.mp4", "inpaint"),
        ("inpaint", "film.avi", ".avi"),
        ("inpaint", "film", ".mp4"),
        ("inpaint", "%s.png", "%05d.png"),
        ("render", "a%d_%d.png", "exactly one"),
    ],
)
def test_outputs_of_the_wrong_type(
    run: Run, frames: Path, points: Path, out: Path, command: str, name: str, says: str
) -> None:
    source = frames if command == "inpaint" else points
    one_line(run(command, source, "-o", out / name), says)
    nothing_left(out)


def test_transparent_mp4_is_refused_early(run: Run, frames: Path, out: Path) -> None:
    one_line(
        run("inpaint", frames, "--background", "transparent", "-o", out / "a.mp4"), "transparency"
    )
    nothing_left(out)


def test_errors_as_json(run: Run, tmp_path: Path, out: Path) -> None:
    result = run("render", tmp_path / "none.npz", "-o", out / "f.npz", "--log-json")
    assert result.exit_code == 1
    events = [json.loads(line) for line in result.stderr.splitlines()]
    assert [event["event"] for event in events] == ["start", "error"]
    assert "none.npz" in events[1]["message"]


def test_debug_shows_the_traceback(run: Run, tmp_path: Path, out: Path) -> None:
    for arguments in (["--debug", "render"], ["render", "--debug"]):
        result = run(*arguments, tmp_path / "none.npz", "-o", out / "f.npz")
        assert result.exit_code == 1
        assert "Traceback" in result.stderr
