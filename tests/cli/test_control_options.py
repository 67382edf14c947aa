"""Every control, through the artifacts: what is asked on the command line is in the points."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from acting import BLINK, BROW, FPS, FRAMES, LID, LIP, UPPER_LID, Deformed, acting, store

from mggtalk_cli import motion, pipeline, tensors
from mggtalk_cli.artifacts import open_artifact
from mggtalk_cli.artifacts.memory import save
from mggtalk_cli.cli import controls
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.driver import Drive, Lens, Moment

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def plain(deformed: Callable[..., Deformed]) -> Deformed:
    return deformed()


def test_the_actor_acts(plain: Deformed) -> None:
    assert len(plain.frames) == FRAMES
    np.testing.assert_allclose(plain.frames[0], plain.rest, atol=1e-4)
    assert plain.angles()[0] == pytest.approx(12, abs=0.1)
    assert plain.moved(plain.near[LIP])[1] < -0.3
    assert plain.moved(plain.near[BROW])[1] > 0.05
    assert plain.moved(np.flatnonzero(plain.iris))[0] > 0.1


def test_still_and_head_scale(deformed: Callable[..., Deformed], plain: Deformed) -> None:
    still = deformed("--still")
    assert np.abs(still.angles()).max() < 1e-3
    half = deformed("--head-scale", 0.5)
    assert half.angles()[0] == pytest.approx(6, abs=0.1)
    for found in (still, half):
        assert found.moved(found.near[LIP])[1] == pytest.approx(
            plain.moved(plain.near[LIP])[1], abs=0.01
        )


def test_mouth_and_expression_scale(deformed: Callable[..., Deformed], plain: Deformed) -> None:
    shut, calm = deformed("--mouth-scale", 0), deformed("--expression-scale", 0.5)
    assert abs(shut.moved(shut.near[LIP])[1]) < 0.02
    for found, mark, share in ((shut, BROW, 1.0), (calm, BROW, 0.5), (calm, LIP, 0.5)):
        expected = share * plain.moved(plain.near[mark])[1]
        assert found.moved(found.near[mark])[1] == pytest.approx(expected, rel=0.1, abs=0.01)


def test_expression(deformed: Callable[..., Deformed], plain: Deformed) -> None:
    smiling = deformed("--expression", "jawOpen=.3,browInnerUp=.2")
    for mark in (LIP, BROW):
        change = smiling.moved(smiling.near[mark], 0)[1] - plain.moved(plain.near[mark], 0)[1]
        assert change == pytest.approx(
            {LIP: 0.3 / 0.5, BROW: 0.2 / 0.6}[mark] * plain.moved(plain.near[mark])[1], rel=0.25
        )


def lid_opening(found: Deformed, frame: int) -> float:
    upper, lower = (found.moved(found.near[mark], frame)[1] for mark in (UPPER_LID, LID))
    return float(upper - lower)


def test_blink(deformed: Callable[..., Deformed], plain: Deformed) -> None:
    shut = lid_opening(plain, -1)
    assert shut < -0.3
    off = deformed("--blink", "off")
    assert max(abs(lid_opening(off, i)) for i in range(FRAMES)) < 0.05


def test_blink_rate(run: Run, source: FaceState, tmp_path: Path) -> None:
    """A face that never blinks does, at the rate asked, and the same for the same seed."""
    still = store(tmp_path / "still.npz", [source] * 1500)

    def lids(*arguments: object) -> np.ndarray:
        result = run("drive", still, "--overwrite", "-o", tmp_path / "b.npz", *arguments)
        assert result.exit_code == 0, result.stderr
        return np.asarray(open_artifact(tmp_path / "b.npz").arrays["beta"][:, BLINK])

    assert np.ptp(lids()) == 0
    found = lids("--blink", 20) > 0.5
    assert 12 <= (found[1:] & ~found[:-1]).sum() <= 28
    np.testing.assert_array_equal(found, lids("--blink", 20) > 0.5)
    assert (found != (lids("--blink", 20, "--seed", 1) > 0.5)).any()


def test_gaze(deformed: Callable[..., Deformed], plain: Deformed) -> None:
    irises = np.flatnonzero(plain.iris)
    camera, right = deformed("--gaze", "camera"), deformed("--gaze", "15,0")
    # The head turns by 12 degrees to image right: eyes on the camera turn back, to image left.
    assert camera.moved(irises)[0] < camera.moved(irises, 0)[0] - 0.1
    assert right.moved(irises)[0] - camera.moved(irises)[0] == pytest.approx(
        1.2 * np.sin(np.deg2rad(15)), abs=0.06
    )
    tracked = deformed("--gaze", "track")
    np.testing.assert_array_equal(tracked.frames[-1], plain.frames[-1])


def test_head_offsets(deformed: Callable[..., Deformed], tmp_path: Path) -> None:
    turned = deformed("--still", "--yaw", -10, "--pitch", 8, "--roll", 4)
    np.testing.assert_allclose(turned.angles(0), [-10, 8, 4], atol=0.2)
    np.testing.assert_allclose(turned.angles(), turned.angles(0), atol=0.01)
    poses = tmp_path / "poses.csv"
    poses.write_text("time,yaw,pitch\n0,0,1\n0.2,10,1\n")  # frame 5 is at .2 s
    turned = deformed("--still", "--yaw", poses, "--pitch", poses)
    for frame in range(FRAMES):
        np.testing.assert_allclose(turned.angles(frame), [2 * frame, 1, 0], atol=0.1)


def test_offsets_leave_the_torso(deformed: Callable[..., Deformed], head: Path) -> None:
    turned = deformed("--still", "--yaw", 20)
    torso = open_artifact(head).arrays["head_weight"] == 0
    shift = np.linalg.norm(turned.frames[0] - turned.rest, axis=1)
    assert shift[torso].max() < 0.5
    assert shift[turned.skull].max() > 2


def test_smooth(deformed: Callable[..., Deformed], source: FaceState, tmp_path: Path) -> None:
    """A head that trembles from frame to frame calms down; the last frames do not get lost."""
    states = [acting(0, source) if i % 2 else acting(1, source) for i in range(16)]
    path = store(tmp_path / "shaking.npz", states)
    rough, calm = deformed(source=path), deformed("--smooth", 0.1, source=path)
    assert len(calm.frames) == 16

    def shake(found: Deformed) -> float:
        return float(np.abs(np.diff([found.angles(i)[0] for i in range(4, 12)])).mean())

    assert shake(calm) < 0.2 * shake(rough)


def test_wild_drivers_stay_in_the_picture(
    deformed: Callable[..., Deformed], head: Path, source: FaceState, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    states = [source]
    for _ in range(9):
        states.append(
            FaceState(
                beta=source.beta,
                rotation=matrix_from_angles(*random.uniform(-60, 60, 3)).astype(np.float32),
                translation=random.uniform((-60, -60, -200), (60, 60, -20)).astype(np.float32),
            )
        )
    built = open_artifact(head)
    own = (built.arrays["head_weight"] > 0.99) & (built.arrays["opacity"] > 0.5)
    own &= built.arrays["rig_gate"] == 0
    found = deformed(source=store(tmp_path / "wild.npz", states))
    camera = tensors.camera_of(built)
    rest = camera.project(found.rest[own])[:, :2]
    low, high = np.minimum(rest.min(0), 0), np.maximum(rest.max(0), 128)
    slack = 0.1 * np.ptp(rest, 0) * ((rest.min(0) < 0) | (rest.max(0) > 128))
    for frame in found.frames:
        places = camera.project(frame[own])[:, :2]
        assert (places >= low - slack - 0.5).all()
        assert (places <= high + slack + 0.5).all()


def test_absolute_says_when_the_framing_differs(
    run: Run, head: Path, source: FaceState, tmp_path: Path
) -> None:
    """The clip's head is far to the side and near: the photo's stays on its neck, and says so."""
    aside = FaceState(
        source.beta, source.rotation, source.translation * 0.7 + np.float32([15, 0, 0])
    )
    moved = FaceState(
        aside.beta, aside.rotation, aside.translation + np.float32([0.3, 0, 0]), aside.gaze
    )
    camera = open_artifact(head).meta["camera"]
    lens = Lens(camera["focal_px"], camera["width"], camera["height"])
    moments = (Moment(state, 1.0) for state in (aside, moved))
    clip = Drive("video", FPS, 2, aside, moments, None, lens)
    save(pipeline.motion_artifact(clip), tmp_path / "clip.npz")
    result = run("deform", head, tmp_path / "clip.npz", "--absolute", "-o", tmp_path / "p.npz")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("framed differently") == 1
    found = Deformed(open_artifact(head), tmp_path / "p.npz")
    np.testing.assert_allclose(found.pose(0)[1], 0, atol=1e-3)
    assert np.linalg.norm(found.pose(1)[1]) == pytest.approx(0.3, abs=0.01)
    result = run("deform", head, tmp_path / "clip.npz", "-o", tmp_path / "q.npz")
    assert "framed" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--expression", "smlie=.4"], "did you mean smile"),
        (["--expression", "smile=4"], "weight in -1..1"),
        (["--gaze", "left"], "neither camera, track nor two numbers"),
        (["--gaze", "40,0"], "within 30 degrees"),
        (["--yaw", "far"], "neither degrees within 180 nor a CSV"),
        (["--pitch", "91"], "neither degrees within 90"),
        (["--smooth", "3"], "2"),
        (["--expression-scale", "4"], "3"),
        (["--motion", "m.npz"], "exactly one driver"),
    ],
    ids=str,
)
def test_wrong_usage(
    run: Run, head: Path, driver: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = run("deform", head, driver, *arguments, "-o", tmp_path / "p.npz")
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "p.npz").exists()


def test_bad_files_are_refused(run: Run, head: Path, driver: Path, tmp_path: Path) -> None:
    poses, take = tmp_path / "poses.csv", tmp_path / "take.csv"
    poses.write_text("jaw\n1\n")
    take.write_text("Timecode,BlendShapeCount\n0:0:0:0,61\n")
    for arguments, message in (
        ([driver, "--yaw", poses], "no column yaw"),
        ([take], "no column"),
        ([poses], "no take of Live Link Face"),
        ([head], "expected motion, got head"),
    ):
        result = run("deform", head, *arguments, "-o", tmp_path / "p.npz")
        assert result.exit_code == 1
        assert message in result.stderr
        assert result.stderr.count("\n") == 1
    result = run("deform", head, "-", "-o", tmp_path / "p.npz")
    assert result.exit_code == 2


def test_limits_are_those_of_the_library() -> None:
    assert motion.controls.MAX_S == controls.MAX_SMOOTH_S
    assert motion.controls.MAX_GAZE_DEG == controls.MAX_GAZE_DEG
    asked = controls.asked(
        "video", seed=0, blink="auto", head_scale=1.0, mouth_scale=1.0, still=False
    )
    assert asked == pipeline.Controls()
