"""Flow-corrected tracking: motions that are known because the clip was drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli import face, pipeline
from mggtalk_cli.artifacts.memory import in_memory
from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.core.image import read_photo
from mggtalk_cli.core.rotation import rotation_exp, rotation_log
from mggtalk_cli.core.video import VideoReader, VideoWriter
from mggtalk_cli.driver import Drive, Moment, drive_video
from mggtalk_cli.tensors import source_state
from mggtalk_cli.tracking import FlowTracker


class Scene:
    """The example photo, its tracked first state, and pictures of it in other states."""

    def __init__(self, path: Path) -> None:
        self.frame = read_photo(str(path))
        height, width = self.frame.shape[:2]
        seen = face.FaceTracker((width, height)).update(self.frame)
        assert seen is not None
        self.reference, self.points = seen.state, seen.points
        self.head = pipeline.build_head(
            self.frame, pipeline.BuildOptions(size=max(height, width), crop="none")
        )

    def tracker(self) -> FlowTracker:
        return FlowTracker(self.frame, self.reference, self.points)

    def picture(self, state: FaceState) -> np.ndarray:
        head = in_memory("head", self.head.meta, self.head.arrays)
        driver = Drive("video", 25, 1, self.reference, iter([Moment(state, 1.0)]), None, None)
        [frame] = pipeline.animate(head, driver).frames
        return frame.image


@pytest.fixture(scope="module")
def scene(portrait_path: Path) -> Scene:
    return Scene(portrait_path)


def angle_deg(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.rad2deg(np.linalg.norm(rotation_log(a.astype(np.float64) @ b.T))))


def test_a_motion_that_landmarks_missed_is_found(scene: Scene) -> None:
    turn = rotation_exp(np.deg2rad([1.0, 2.5, -0.5]))
    shift = np.array([0.3, -0.2, 0.0])
    true = replace(
        scene.reference,
        rotation=(turn @ scene.reference.rotation).astype(np.float32),
        translation=(scene.reference.translation + shift).astype(np.float32),
    )
    frame, tracker = scene.picture(true), scene.tracker()
    for _ in range(3):  # each frame starts from the last correction
        found, trust = tracker.update(frame, scene.reference)
    assert trust > 0.8
    assert angle_deg(found.rotation, true.rotation) < 0.6
    np.testing.assert_allclose(found.translation[:2], true.translation[:2], atol=0.08)


def test_a_still_picture_stays_still(scene: Scene) -> None:
    tracker = scene.tracker()
    for _ in range(8):
        found, _ = tracker.update(scene.frame, scene.reference)
    assert angle_deg(found.rotation, scene.reference.rotation) < 0.2
    moved = np.linalg.norm(found.residual - scene.reference.residual, axis=1)
    assert np.percentile(moved, 95) < 0.03  # cm
    photo, drawn = scene.picture(scene.reference), scene.picture(found)
    assert np.abs(photo.astype(int) - drawn).mean() < 0.5


def test_a_picture_of_something_else_changes_nothing(scene: Scene) -> None:
    noise = np.random.default_rng(0).integers(0, 255, scene.frame.shape, np.uint8)
    tracker = scene.tracker()
    tracker.update(scene.frame, scene.reference)
    state = replace(scene.reference, gaze=np.array([5, 0], np.float32))
    found, trust = tracker.update(noise, state)
    assert trust == 0
    assert angle_deg(found.rotation, state.rotation) < 0.2
    assert np.abs(found.translation - state.translation).max() < 0.05


@pytest.fixture(scope="module")
def grimacing_clips(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A clip that starts on a grimace and relaxes, and the same one started later."""
    height, width = scene.frame.shape[:2]
    beta = scene.reference.beta.copy()
    for name in ("jawOpen", "mouthSmileLeft", "mouthSmileRight"):
        beta[ARKIT_INDEX[name]] = 0.6
    grimace, relaxed = (
        scene.picture(state) for state in (replace(scene.reference, beta=beta), scene.reference)
    )
    shown = [np.roll(grimace if i < 3 else relaxed, i, axis=1) for i in range(12)]
    paths = [tmp_path_factory.mktemp("clips") / f"from_{start}.mp4" for start in (0, 3)]
    for path, start in zip(paths, (0, 3), strict=True):
        with VideoWriter(path, width, height, 25.0) as writer:
            for image in shown[start:]:
                writer.write(np.ascontiguousarray(image), None)
    return paths


def last_beta_by_first_frame(path: Path) -> np.ndarray:
    """The expression at a clip's end by a tracker that learns the person from the first frame."""
    reader = VideoReader(path)
    tracker = face.FaceTracker(reader.size)
    *_, last = [tracker.update(frame) for frame in reader]
    assert last is not None
    return last.state.beta


def test_a_grimace_in_the_first_frame_is_no_trait_of_the_face(grimacing_clips: list[Path]) -> None:
    alone = [last_beta_by_first_frame(path) for path in grimacing_clips]
    drives = [drive_video(str(path), track="fast") for path in grimacing_clips]
    states = [[moment.state for moment in drive.moments] for drive in drives]
    assert [len(each) for each in states] == [12, 9]
    assert states[0][0] is drives[0].reference
    jaw = ARKIT_INDEX["jawOpen"]
    assert states[0][0].beta[jaw] > states[0][-1].beta[jaw] + 0.1
    before = np.abs(alone[0] - alone[1]).sum()
    assert np.abs(states[0][-1].beta - states[1][-1].beta).sum() < 0.6 * before


def test_a_clip_that_drives_its_own_first_frame_does_not_move_it(
    grimacing_clips: list[Path],
) -> None:
    path = grimacing_clips[0]
    [photo] = islice(VideoReader(path), 1)
    options = pipeline.BuildOptions(size=max(photo.shape[:2]), crop="none")
    head = pipeline.build_head(photo, options)
    driver = drive_video(str(path), track="fast")
    source = source_state(head)
    still = Drive("video", 25, 1, source, iter([Moment(source, 1.0)]), None, None)
    [rest] = pipeline.animate(in_memory("head", head.meta, head.arrays), still).frames
    [driven] = islice(pipeline.animate(head, driver).frames, 1)
    assert np.abs(driven.image.astype(int) - rest.image).max() <= 2


def test_a_face_that_does_not_move_is_the_same_face(scene: Scene) -> None:
    random = np.random.default_rng(5)
    height, width = scene.frame.shape[:2]
    tracker = face.FaceTracker((width, height))
    first = tracker.update(scene.frame)
    for _ in range(3):
        noise = random.normal(scale=1.5, size=scene.frame.shape)
        again = tracker.update(np.clip(scene.frame + noise, 0, 255).round().astype(np.uint8))
        assert again is first
    moved = tracker.update(np.roll(scene.frame, 2, axis=1))
    assert moved is not first
