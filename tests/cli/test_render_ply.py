"""`mggtalk render` of 3DGS plys, and the plys it writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mggtalk_cli.artifacts.ply import GaussianCloud, read_ply, write_ply

Run = Callable[..., Any]
ROOT = Path(__file__).parents[2]
FRAMES = 10  # of the points fixture


@pytest.fixture(scope="session")
def foreign(small: Path) -> Path:
    """Gaussians of SH degree 3 without a note on the view, as other programs write them."""
    rng = np.random.default_rng(4)
    n = 300
    quats = rng.standard_normal((n, 4))
    cloud = GaussianCloud(
        means=rng.standard_normal((n, 3)) * 0.3 + (5, 0, 0),
        quats=quats / np.linalg.norm(quats, axis=1, keepdims=True),
        scales=np.exp(rng.standard_normal((n, 3)) * 0.3 - 3),
        opacities=rng.uniform(0.5, 1, n),
        sh=rng.standard_normal((n, 16, 3)) * 0.3,
    )
    write_ply(small / "foreign.ply", cloud)
    return small / "foreign.ply"


@pytest.fixture(scope="session")
def head_ply(run: Run, small: Path, head: Path) -> Path:
    path = small / "own.ply"
    result = run("render", head, "-o", small / "own.png", "--ply", path)
    assert result.exit_code == 0, result.stderr
    return path


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


def one_line(result: Any, *words: str) -> None:
    assert result.exit_code == 1, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("mggtalk: error: ")
    assert "unexpected" not in line
    for word in words:
        assert word in line


# ---------------------------------------------------------------- pictures of plys


def test_a_process_draws_a_foreign_ply(foreign: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mggtalk_cli", "render", foreign, "-o", tmp_path / "view.png"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rgba = pixels(tmp_path / "view.png")
    assert rgba.shape == (512, 512, 4)
    assert 0.1 < (rgba[..., 3] > 128).mean() < 0.9
    assert (rgba[[0, -1], :, 3] == 0).all()


@pytest.mark.parametrize("view", [[], ["--yaw", 30], ["--pitch", -20, "--roll", 10]])
def test_our_ply_is_our_picture(
    run: Run, head: Path, head_ply: Path, tmp_path: Path, view: list[object]
) -> None:
    for source, name in ((head, "direct.png"), (head_ply, "ply.png")):
        result = run("render", source, *view, "-o", tmp_path / name, "--device", "cpu")
        assert result.exit_code == 0, result.stderr
        assert not result.stderr.count("warning")
    direct, ply = pixels(tmp_path / "direct.png"), pixels(tmp_path / "ply.png")
    assert (np.abs(direct - ply) * (direct[..., 3:] > 8)).max() <= 1


def test_size_and_up(run: Run, head_ply: Path, tmp_path: Path) -> None:
    small = tmp_path / "a.png"
    assert run("render", head_ply, "-o", small, "--size", 64).exit_code == 0
    expected = Image.open(head_ply.with_suffix(".png")).resize((64, 64), Image.Resampling.BOX)
    assert np.abs(pixels(small)[..., 3] - np.asarray(expected)[..., 3]).mean() < 6
    upright, upside_down = tmp_path / "y.png", tmp_path / "-y.png"
    for path in (upright, upside_down):
        result = run("render", head_ply, "-o", path, "--up", path.stem, "--size", 128)
        assert result.exit_code == 0, result.stderr
    rows = [np.flatnonzero(pixels(p)[..., 3].max(1) > 128) for p in (upright, upside_down)]
    assert abs(rows[0].min() - (127 - rows[1].max())) <= 2  # framed and turned over


def test_turntable_of_a_ply_becomes_a_film(run: Run, foreign: Path, tmp_path: Path) -> None:
    frames = tmp_path / "f.npz"
    result = run("render", foreign, "--turntable", "--size", 64, "-o", frames)
    assert result.exit_code == 0, result.stderr
    assert run("inpaint", frames, "-o", tmp_path / "%02d.png").exit_code == 0
    assert len(list(tmp_path.glob("*.png"))) == 100
    first = pixels(tmp_path / "00.png")
    assert first.shape == (64, 64, 3)
    assert not first[0].any()  # black behind it
    assert (first != pixels(tmp_path / "25.png")).any()


def test_a_ply_is_turned_up_and_written(run: Run, foreign: Path, tmp_path: Path) -> None:
    upright = tmp_path / "y.ply"
    result = run("render", foreign, "--up", "z", "--ply", upright, "-o", tmp_path / "a.png")
    assert result.exit_code == 0, result.stderr
    assert run("render", upright, "-o", tmp_path / "b.png").exit_code == 0
    assert np.abs(pixels(tmp_path / "a.png") - pixels(tmp_path / "b.png")).max() <= 1


def test_a_lying_note_is_not_followed(run: Run, head_ply: Path, tmp_path: Path) -> None:
    lying = tmp_path / "lying.ply"
    lying.write_bytes(head_ply.read_bytes().replace(b'"width": 128', b'"width": 999999999'))
    result = run("render", lying, "-o", tmp_path / "a.png")
    assert result.exit_code == 0, result.stderr
    assert "warning" in result.stderr
    assert "999999999" in result.stderr
    assert pixels(tmp_path / "a.png").shape == (512, 512, 4)


def test_a_name_without_suffix_is_known_by_its_content(
    run: Run, foreign: Path, tmp_path: Path
) -> None:
    (tmp_path / "cloud").symlink_to(foreign)
    result = run("render", tmp_path / "cloud", "-o", tmp_path / "a.png", "--size", 64)
    assert result.exit_code == 0, result.stderr


MESH = b"""ply
format ascii 1.0
element vertex 3
property float x
property float y
property float z
element face 1
property list uchar int vertex_indices
end_header
0 0 0
1 0 0
0 1 0
3 0 1 2
"""
POINTS = MESH.replace(b"element face 1\nproperty list uchar int vertex_indices\n", b"")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (MESH, "is a mesh"),
        (POINTS, "no .ply of Gaussians"),
        (b"PK\x03\x04 an artifact with the wrong name", "no .ply file"),
        (b"", "empty"),
    ],
)
def test_plys_of_something_else(run: Run, tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.ply").write_bytes(content)
    one_line(run("render", tmp_path / "a.ply", "-o", tmp_path / "a.png"), "a.ply", words)
    assert [p.name for p in tmp_path.iterdir()] == ["a.ply"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--densify", "-o", "a.png"], "--densify is for heads"),
        (["--ply", "%d.ply", "-o", "a.png"], "one frame"),
        (["--turntable", "-o", "a.png"], "100 frames"),
        (["-o", "a.ply"], "-o writes no .ply"),
        (["-o", "a.jpg"], "a.jpg"),
    ],
)
def test_what_a_ply_cannot(
    run: Run, foreign: Path, tmp_path: Path, options: list[str], words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    one_line(run("render", foreign, *options), words)
    assert not list(tmp_path.iterdir())


def test_size_and_up_are_for_plys(run: Run, head: Path, tmp_path: Path) -> None:
    for option in (("--size", 128), ("--up", "z")):
        one_line(run("render", head, *option, "-o", tmp_path / "a.png"), "--size and --up")


# ---------------------------------------------------------------- one picture, and many plys


def test_one_picture_of_a_sequence_is_refused(run: Run, points: Path, tmp_path: Path) -> None:
    one_line(run("render", points, "-o", tmp_path / "a.png"), "10 frames", "%05d.png")
    assert not list(tmp_path.iterdir())


def test_every_frame_as_a_ply(run: Run, points: Path, tmp_path: Path) -> None:
    arguments = ["render", points, "-o", tmp_path / "f%d.png", "--ply", tmp_path / "p%d.ply"]
    result = run(*arguments)
    assert result.exit_code == 0, result.stderr
    assert len(list(tmp_path.glob("p*.ply"))) == len(list(tmp_path.glob("f*.png"))) == FRAMES
    for index in (0, FRAMES - 1):
        assert run("render", tmp_path / f"p{index}.ply", "-o", tmp_path / "b.png").exit_code == 0
        drawn, frame = pixels(tmp_path / "b.png"), pixels(tmp_path / f"f{index}.png")
        assert (np.abs(drawn - frame) * (frame[..., 3:] > 8)).max() <= 1
        (tmp_path / "b.png").unlink()
    first, last = (read_ply(tmp_path / f"p{index}.ply") for index in (0, FRAMES - 1))
    assert not np.array_equal(first.means, last.means)
    one_line(run(*arguments), "exists", "--overwrite")
    assert run(*arguments, "--overwrite").exit_code == 0


def test_a_head_at_rest_is_one_ply(run: Run, head: Path, tmp_path: Path) -> None:
    out = tmp_path / "f.npz"
    result = run("render", head, "--turntable", "-o", out, "--ply", tmp_path / "p%d.ply")
    assert result.exit_code == 0, result.stderr
    assert [p.name for p in tmp_path.glob("*.ply")] == ["p0.ply"]


def test_a_run_that_fails_leaves_no_plys(run: Run, points: Path, tmp_path: Path) -> None:
    cut = points.read_bytes()[: int(0.7 * points.stat().st_size)]
    result = run(
        "render", "-", "-o", tmp_path / "%d.png", "--ply", tmp_path / "%d.ply", stdin=cut
    )  # fmt: skip
    assert result.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_one_head_is_one_ply(run: Run, portrait_path: Path, tmp_path: Path) -> None:
    result = run("build-head", portrait_path, "-o", tmp_path / "h.npz", "--ply", "p%d.ply")
    one_line(result, "p%d.ply", "without %")
