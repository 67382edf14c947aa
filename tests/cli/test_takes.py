"""A phone's take drives a head, and parts of several motions make one: through the artifacts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acting import BLINK, FPS, FRAMES, LIP, Deformed, acting, store

from mggtalk_cli import motion
from mggtalk_cli.artifacts import open_artifact
from mggtalk_cli.artifacts.memory import save
from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.core.rotation import angles_from_matrix, matrix_from_quaternion
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import ArtifactError

Run = Callable[..., Any]


def test_a_take_drives_a_head(
    run: Run, head: Path, driver: Path, deformed: Callable[..., Deformed], tmp_path: Path
) -> None:
    take = tmp_path / "take.csv"
    result = run("drive", driver, "--csv", take, "-o", tmp_path / "m.npz")
    assert result.exit_code == 0, result.stderr
    result = run("drive", take, "-o", tmp_path / "back.npz")
    assert result.exit_code == 0, result.stderr
    back, first = open_artifact(tmp_path / "back.npz"), open_artifact(driver)
    assert back.meta["source"] == "csv"
    np.testing.assert_allclose(
        matrix_from_quaternion(back.arrays["rotation"]),
        matrix_from_quaternion(first.arrays["rotation"]),
        atol=1e-4,
    )
    np.testing.assert_allclose(back.arrays["beta"], first.arrays["beta"].clip(0, 1), atol=1e-5)
    found = deformed(source=take)
    assert len(found.frames) == FRAMES
    assert found.angles()[0] == pytest.approx(12, abs=0.1)
    result = run("animate", head, take, "-o", tmp_path / "talk.mp4")
    assert result.exit_code == 0, result.stderr
    assert len(list(VideoReader(tmp_path / "talk.mp4"))) == FRAMES


def test_parts_come_from_elsewhere(
    run: Run, driver: Path, source: FaceState, short_speech: Path, tmp_path: Path
) -> None:
    """Main: ten frames that stand still. Head, gaze and blinks of six frames hold from there."""
    still = store(tmp_path / "still.npz", [source] * 10)
    out = tmp_path / "m.npz"
    result = run(
        *("drive", still, "-o", out, "--mouth-from", short_speech, "--head-from", driver),
        *("--blink-from", driver, "--gaze-from", driver),
    )
    assert result.exit_code == 0, result.stderr
    assert all(f"motion of the {part} ends at 0.2 s" in result.stderr for part in ("head", "gaze"))
    assert "motion of the mouth" not in result.stderr
    merged, actor = open_artifact(out), open_artifact(driver).arrays
    run("drive", short_speech, "-o", tmp_path / "speech.npz")
    speech = open_artifact(tmp_path / "speech.npz")
    for name in ("rotation", "translation", "gaze"):
        expected = np.concatenate([actor[name], np.repeat(actor[name][-1:], 4, 0)])
        np.testing.assert_allclose(merged.arrays[name], expected, atol=1e-6)
    assert merged.arrays["beta"][-1, BLINK] == actor["beta"][-1, BLINK]
    mouth = motion.merge.SHAPES["mouth"]
    np.testing.assert_allclose(
        merged.arrays["beta"][:, mouth], speech.arrays["beta"][:10, mouth], atol=1e-6
    )
    brow = ARKIT_INDEX["browInnerUp"]
    assert (merged.arrays["beta"][:, brow] == source.beta[brow]).all()
    assert merged.meta["parts"] == dict.fromkeys(("head", "blink", "gaze"), "video") | {
        "mouth": "audio"
    }
    assert merged.meta["audio"] == speech.meta["audio"]
    assert (merged.arrays["reference_beta"][mouth] == 0).all()


def test_a_mixed_motion_moves_each_part_its_way(
    run: Run, source: FaceState, short_speech: Path, deformed: Callable[..., Deformed],
    tmp_path: Path,
) -> None:  # fmt: skip
    """A spoken mouth on a still clip is the mouth that speech alone makes."""
    still = store(tmp_path / "still.npz", [source] * 10)
    mixed = tmp_path / "mixed.npz"
    result = run("drive", still, "-o", mixed, "--mouth-from", short_speech)
    assert result.exit_code == 0, result.stderr
    one = deformed(source=mixed)
    other = deformed("--still", "--blink", "off", source=short_speech)
    lips = one.near[LIP]
    np.testing.assert_allclose(one.frames[9][lips], other.frames[9][lips], atol=2e-3)


def test_motions_of_other_rates_are_resampled(run: Run, source: FaceState, tmp_path: Path) -> None:
    main = store(tmp_path / "main.npz", [source] * 10)
    fast = [acting(min(i, 3), source) for i in range(24)]
    quick = store(tmp_path / "quick.npz", fast, fps=60.0)
    result = run("drive", main, "--head-from", quick, "-o", tmp_path / "m.npz")
    assert result.exit_code == 0, result.stderr
    assert "ends" not in result.stderr
    merged = open_artifact(tmp_path / "m.npz")
    assert merged.meta["fps"] == FPS
    turns = angles_from_matrix(
        matrix_from_quaternion(merged.arrays["rotation"]) @ source.rotation.T
    )
    np.testing.assert_allclose(turns[:3, 0], [0, 4 * 2.4, 12], atol=0.05)


def test_drive_reads_a_take_from_a_pipe(run: Run, driver: Path, tmp_path: Path) -> None:
    take = tmp_path / "take.csv"
    assert run("drive", driver, "--csv", take, "-o", tmp_path / "m.npz").exit_code == 0
    result = run("drive", "-", "-o", tmp_path / "n.npz", stdin=take.read_bytes())
    assert result.exit_code == 0, result.stderr
    assert len(open_artifact(tmp_path / "n.npz").arrays["beta"]) == FRAMES
    again = run("drive", driver, "--csv", take, "-o", tmp_path / "m2.npz")
    assert again.exit_code == 1
    assert "--overwrite" in again.stderr


@pytest.fixture(scope="module")
def take(run: Run, driver: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The actor as a phone's take."""
    path = tmp_path_factory.mktemp("take") / "take.csv"
    result = run("drive", driver, "--csv", path, "-o", path.with_suffix(".npz"))
    assert result.exit_code == 0, result.stderr
    return path


def test_a_take_comes_from_a_pipe(run: Run, head: Path, take: Path, tmp_path: Path) -> None:
    """--motion - is a take as well as an artifact: help says so."""
    named, piped = tmp_path / "named.npz", tmp_path / "piped.npz"
    assert run("deform", head, "--motion", take, "-o", named).exit_code == 0
    for sent in (take, take.with_suffix(".npz")):
        result = run(
            "deform", head, "--motion", "-", "-o", piped, "--overwrite", stdin=sent.read_bytes()
        )
        assert result.exit_code == 0, result.stderr
        if sent == take:
            one, other = (list(open_artifact(path).frames()) for path in (named, piped))
            assert len(one) == FRAMES
            np.testing.assert_array_equal(one[-1]["points"], other[-1]["points"])


def test_what_is_no_motion_on_stdin_is_called_stdin(
    run: Run, head: Path, short_speech: Path, tmp_path: Path
) -> None:
    out = ("-o", tmp_path / "p.npz")
    result = run("deform", head, "--motion", "-", *out, stdin=short_speech.read_bytes())
    assert result.exit_code == 1
    assert "stdin is no motion: name it by --audio" in result.stderr
    result = run("deform", head, "--motion", "-", *out, stdin=b"no motion")
    assert result.exit_code == 1
    assert "stdin" in result.stderr
    assert "/tmp" not in result.stderr.replace(str(tmp_path), "")


def test_a_take_goes_to_stdout(run: Run, driver: Path, take: Path, tmp_path: Path) -> None:
    result = run("drive", driver, "-o", tmp_path / "m.npz", "--csv", "-")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == take.read_text("utf-8")
    result = run("drive", driver, "-o", "-", "--csv", "-")
    assert result.exit_code == 2
    assert "only one of -o and --csv" in result.stderr


def test_one_part_may_come_from_stdin(
    run: Run, source: FaceState, driver: Path, take: Path, tmp_path: Path
) -> None:
    still = store(tmp_path / "still.npz", [source] * 3)
    named, piped = tmp_path / "named.npz", tmp_path / "piped.npz"
    assert run("drive", still, "--mouth-from", take, "-o", named).exit_code == 0
    result = run("drive", still, "--mouth-from", "-", "-o", piped, stdin=take.read_bytes())
    assert result.exit_code == 0, result.stderr
    one, other = (open_artifact(path) for path in (named, piped))
    np.testing.assert_array_equal(one.arrays["beta"], other.arrays["beta"])
    assert other.meta["parts"] == {"mouth": "csv"}
    result = run("drive", "-", "--mouth-from", "-", "-o", tmp_path / "x.npz", stdin=b"")
    assert result.exit_code == 2
    assert "only one input can come from stdin" in result.stderr


def test_inspect_tells_what_is_in_a_take(run: Run, take: Path, tmp_path: Path) -> None:
    found = json.loads(run("inspect", take, "--json").stdout)
    assert found["kind"] == "csv"
    assert found["meta"]["rows"] == FRAMES
    assert found["meta"]["rows_per_second"] == pytest.approx(FPS, abs=0.01)
    assert found["meta"]["seconds"] == pytest.approx((FRAMES - 1) / FPS, abs=1e-3)
    assert "browInnerUp" in found["meta"]["strongest"]
    yaw = next(array for array in found["arrays"] if array["name"] == "head_yaw")
    assert yaw["max"] - yaw["min"] == pytest.approx(12, abs=0.5)
    shown = run("inspect", take, "--sheet", tmp_path / "take.png")
    assert shown.exit_code == 0, shown.stderr
    assert "browInnerUp" in shown.stdout
    assert (tmp_path / "take.png").stat().st_size > 1000
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    for path in (tmp_path / "bad.csv", tmp_path / "none.csv"):
        result = run("inspect", path)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1


def test_a_way_to_track_without_a_clip_is_warned_about(
    run: Run, short_speech: Path, tmp_path: Path
) -> None:
    for asked, said in (("fast", True), ("flow", False)):
        result = run("drive", short_speech, "--track", asked, "-o", tmp_path / f"{asked}.npz")
        assert result.exit_code == 0, result.stderr
        assert ("only clips are tracked" in result.stderr) == said


def test_unknown_parts_are_refused(driver: Path, tmp_path: Path) -> None:
    artifact = open_artifact(driver)
    artifact.meta["parts"] = {"mouth": 3}
    with pytest.raises(ArtifactError, match="'parts'"):
        save(artifact, tmp_path / "m.npz")
