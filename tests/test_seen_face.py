"""Where the face is, told from stage to stage: in the photo, on posed points, in drawn frames."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli import deform, inpaint, pipeline, tensors
from mggtalk_cli.artifacts import Artifact, open_artifact
from mggtalk_cli.artifacts.memory import in_memory, save
from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.drawing import point_frame, seen_face, view_matrix
from mggtalk_cli.errors import ArtifactError


@pytest.fixture(scope="module")
def lively(example_head: Artifact) -> FaceState:
    """The example face, talking and turning."""
    source = tensors.source_state(example_head)
    beta = source.beta.copy()
    beta[ARKIT_INDEX["jawOpen"]] += 0.4
    turn = matrix_from_angles(12, -6, 3).astype(np.float32)
    return replace(source, beta=beta, rotation=turn @ source.rotation)


def points_of(head: Artifact, state: FaceState, *, drop: tuple[str, ...] = ()) -> Artifact:
    """A points artifact of one frame; `drop` leaves arrays out, as older programs did."""
    posed = deform.deform_analytic(tensors.head_rig(head), tensors.source_state(head), state)
    arrays = {name: head.arrays[name] for name in pipeline.SHARED_ARRAYS}
    arrays |= tensors.photo_landmarks(head)
    meta = {key: head.meta[key] for key in ("camera", "sheets")}
    frame = point_frame(posed, state)

    def frames() -> Iterator[dict[str, np.ndarray]]:
        yield {name: array for name, array in frame.items() if name not in drop}

    kept = {name: array for name, array in arrays.items() if name not in drop}
    return in_memory("points", {**meta, "fps": 25.0, "audio": None}, kept, frames())


OLDER = ("face", "beta", "photo_landmarks")


def test_a_head_at_rest_shows_the_photos_face(example_head: Artifact) -> None:
    frames = pipeline.render(example_head)
    (frame,) = frames.frames()
    seen = frames.arrays["photo_landmarks"]
    np.testing.assert_allclose(frame["landmarks"], seen, atol=1e-3)
    np.testing.assert_array_equal(frame["beta"], tensors.source_state(example_head).beta)
    # In the picture, and the right way up: eyes over mouth, subject's right eye at the left.
    assert ((seen > 0) & (seen < 256)).all()
    assert seen[33, 1] < seen[13, 1]
    assert seen[33, 0] < seen[263, 0]


def test_landmarks_go_with_the_points_that_hang_on_them(
    example_head: Artifact, lively: FaceState
) -> None:
    """Points that hang on almost nothing but one landmark stay as near to it as they were."""
    rig = tensors.head_rig(example_head).rig
    (frame,) = points_of(example_head, lively).frames()
    mostly, which = rig.weight.max(1)
    near = ((mostly > 0.93) & (rig.head_weight > 0.999)).numpy()
    near &= (rig.index < 468).all(1).numpy()
    landmark = rig.index.gather(1, which[:, None])[:, 0].numpy()[near]
    assert len(set(landmark)) > 60
    before = rig.points.numpy()[near] - rig.controls.numpy()[landmark]
    after = frame["points"][near] - frame["face"][landmark]
    assert np.median(np.linalg.norm(before, axis=1)) < 0.3  # they are near to begin with
    change = np.abs(np.linalg.norm(after, axis=1) - np.linalg.norm(before, axis=1))
    assert np.percentile(change, 95) < 0.05


def test_rendered_landmarks_are_seen_by_the_frames_own_camera(
    example_head: Artifact, lively: FaceState
) -> None:
    options = pipeline.RenderOptions(yaw_deg=20, device="cpu")
    (posed,) = points_of(example_head, lively).frames()
    (frame,) = pipeline.render(points_of(example_head, lively), options).frames()
    camera = tensors.camera_of(example_head)
    turned = replace(camera, viewmat=view_matrix(camera, options, 0))
    np.testing.assert_allclose(frame["landmarks"], turned.project(posed["face"])[:, :2], atol=1e-3)
    assert np.abs(frame["landmarks"] - camera.project(posed["face"])[:, :2]).max() > 5
    np.testing.assert_array_equal(frame["beta"], lively.beta)


def test_they_survive_files(example_head: Artifact, lively: FaceState, tmp_path: Path) -> None:
    save(points_of(example_head, lively), tmp_path / "points.npz")
    points = open_artifact(tmp_path / "points.npz", "points")
    save(pipeline.render(points), tmp_path / "frames.npz")
    frames = open_artifact(tmp_path / "frames.npz", "frames")
    (frame,) = frames.frames()
    (direct,) = pipeline.render(points_of(example_head, lively)).frames()
    for name in ("landmarks", "beta", "rgba"):
        np.testing.assert_array_equal(frame[name], direct[name])
    np.testing.assert_array_equal(
        frames.arrays["photo_landmarks"], points.arrays["photo_landmarks"]
    )


def test_older_points_still_render(example_head: Artifact, lively: FaceState) -> None:
    frames = pipeline.render(points_of(example_head, lively, drop=OLDER))
    assert "photo_landmarks" not in frames.arrays
    (frame,) = frames.frames()
    assert not {"landmarks", "beta"} & frame.keys()
    (newer,) = pipeline.render(points_of(example_head, lively)).frames()
    np.testing.assert_array_equal(frame["rgba"], newer["rgba"])
    assert seen_face({"face": np.zeros((468, 3))}, tensors.camera_of(example_head), None) == {}  # type: ignore[arg-type]
    with pytest.raises(ArtifactError, match="without landmarks"):
        inpaint.learned_patches({}, frames.arrays["image"], frames.arrays.get("photo_landmarks"))


def test_patches_see_the_photo_where_the_head_is_at_rest(example_head: Artifact) -> None:
    """The warped photo lies on the rendered face: a shift of a pixel would cost 10 dB."""
    frames = pipeline.render(example_head)
    (frame,) = frames.frames()
    image = inpaint.composite(frame["rgba"], frames.arrays["plate"]).astype(np.float32) / 255
    photo = inpaint.Photo(
        frames.arrays["image"].astype(np.float32) / 255, frames.arrays["photo_landmarks"]
    )
    config = inpaint.PatchConfig.base()
    for regions in inpaint.REGIONS.values():
        for region in regions:
            patch = inpaint.patch_of(region, config, photo, frame["landmarks"], frame["beta"])
            rendered = inpaint.warped_photo(
                inpaint.Photo(image, frame["landmarks"]), patch.placement, frame["landmarks"]
            )[0]
            error = (rendered - patch.warped)[patch.covered]
            assert -10 * np.log10(np.mean(error**2)) > 30
