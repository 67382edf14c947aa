"""Made-up heads as examples: readable, true, the same for the same seed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from mggtalk_cli.cli import synth as command
from mggtalk_cli.cli.app import app
from mggtalk_cli.core.landmark_groups import FACE_OVAL
from mggtalk_cli.core.rotation import matrix_from_quaternion
from mggtalk_cli.errors import InputError
from mggtalk_cli.tensors import camera_of
from mggtalk_cli.training import synth
from mggtalk_cli.training.dataset import Example
from mggtalk_cli.training.synth import write

VIEWS = 2
NAME = "synth-5-00000"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("synth") / "examples"
    arguments = ["synth", "1", "-o", str(place), "--seed", "5", "--views", "2", "--jobs", "1"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return place


@pytest.fixture(scope="module")
def example(folder: Path) -> Example:
    return Example.open(folder / NAME)


def test_the_example_says_what_it_is(example: Example, folder: Path) -> None:
    note = example.note
    assert (note.kind, note.frames, note.size, note.seed) == ("synthetic", VIEWS, 256, 5)
    assert note.ship
    assert note.licence == "CC0-1.0"
    report = json.loads((folder / "report.json").read_text())
    assert [one["name"] for one in report["examples"]] == [NAME]
    assert "1 heads of 2 views" in (folder / "report.md").read_text()


def test_the_true_depth_of_the_face_is_the_fitted_one(example: Example) -> None:
    head, true = example.head(), example.truth("depth", 0, 1)[0]
    camera, arrays = camera_of(head), head.arrays
    rows, columns = arrays["grid_shape"][0]
    valid = arrays["valid"][: rows * columns].reshape(rows, columns)
    fitted = np.full(valid.shape, np.nan)
    fitted[valid] = camera.to_camera(arrays["positions"][: valid.sum()])[:, 2]
    oval = np.zeros(true.shape, np.uint8)
    outline = np.round(example.truth("face", 0, 1)[0][list(FACE_OVAL)]).astype(int)
    inside = cv2.erode(cv2.fillPoly(oval, [outline], 1), np.ones((9, 9))) > 0
    matrix = np.array(example.note.settings["fitted_from_scene"]).reshape(4, 4)
    found = synth.comparable_depth(true, fitted, inside, matrix)
    assert np.nanmedian(np.abs(found - fitted)[inside]) < 0.6
    assert 0.85 < np.cbrt(np.linalg.det(matrix[:3, :3])) < 1.15
    # The whole person is known, not only the face.
    assert (np.isfinite(found) & valid).sum() > 0.9 * valid.sum()


def test_depth_normals_and_mask_belong_together(example: Example) -> None:
    depth, mask = example.truth("depth"), example.truth("mask")
    np.testing.assert_array_equal(depth > 0, mask > 0)
    focal, view = example.note.settings["focal_px"][0], example.truth("viewmats")[0]
    normals = example.truth("normals")[0] / 127
    length = np.linalg.norm(normals, axis=-1)
    assert np.abs(length[mask[0] > 0] - 1).max() < 0.02
    # Where the surface is smooth, neighbours' points span the plane a normal stands on.
    x, y = np.meshgrid(np.arange(256) + 0.5 - 128, np.arange(256) + 0.5 - 128)
    points = np.stack([x, y, np.full_like(x, focal)], -1) * (depth[0] / focal)[..., None]
    points = (points - view[:3, 3]) @ view[:3, :3]
    across, down = np.gradient(points, axis=1), np.gradient(points, axis=0)
    plane = np.cross(across, down)
    plane /= -np.maximum(np.linalg.norm(plane, axis=-1, keepdims=True), 1e-9)
    cheek = np.round(example.truth("face", 0, 1)[0][[50, 280, 151, 199]]).astype(int)
    cosine = [(plane[j, i] * normals[j, i]).sum() for i, j in cheek]
    assert np.median(cosine) > 0.95


def test_views_see_one_head(example: Example) -> None:
    depth, views = example.truth("depth"), example.truth("viewmats")
    marks, beta = example.truth("face"), example.truth("beta")
    np.testing.assert_array_equal(beta[0], beta[1])  # odd views: the same face
    focal = example.note.settings["focal_px"]
    nose = []
    for view in range(VIEWS):
        x, y = marks[view, 1]
        z = depth[view, int(y), int(x)]
        camera = np.array([(x - 128) / focal[view] * z, (y - 128) / focal[view] * z, z])
        nose.append((camera - views[view, :3, 3]) @ views[view, :3, :3])
    assert np.abs(views[0] - views[1]).max() > 0.02
    np.testing.assert_allclose(nose[0], nose[1], atol=0.5)


def test_the_motion_poses_the_fitted_head_onto_the_truth(example: Example) -> None:
    head, motion = example.head(), example.motion()
    camera, arrays = camera_of(head), motion.arrays
    landmarks = head.arrays["rig_controls"][:468]
    for view in range(VIEWS):
        turn = matrix_from_quaternion(arrays["rotation"][view])
        seen = (landmarks @ turn.T + arrays["translation"][view]) * (1, -1, -1)
        xy = seen[:, :2] / seen[:, 2:] * camera.focal_px + 128
        apart = np.linalg.norm(xy - example.truth("face", view, view + 1)[0], axis=1)
        assert np.median(apart) < 4
    np.testing.assert_array_equal(arrays["rotation"][0], arrays["reference_rotation"])


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    options = synth.SynthOptions(seed=5, views=VIEWS)
    (made,) = synth.synthesize(1, tmp_path, options)
    assert (made.name, made.refused) == (NAME, "")
    for one in sorted((folder / NAME).iterdir()):
        assert one.read_bytes() == (tmp_path / NAME / one.name).read_bytes(), one.name


def test_finished_heads_are_kept_and_others_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / NAME, tmp_path / NAME)
    (kept,) = synth.synthesize(1, tmp_path, synth.SynthOptions(seed=5, views=VIEWS))
    assert kept.kept
    with pytest.raises(InputError, match="--overwrite"):
        list(synth.synthesize(1, tmp_path, synth.SynthOptions(seed=5, views=3)))


def test_a_scene_without_a_face_is_drawn_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def no_face(scene: synth.Scene, source: dict[str, str]) -> None:
        seen.append(scene.seed)
        raise InputError("no face found")

    monkeypatch.setattr(write, "drawing_of", no_face)
    (made,) = synth.synthesize(1, tmp_path, synth.SynthOptions())
    assert made.refused == "no face found"
    assert len(set(seen)) == made.attempts == write.ATTEMPTS
    assert not list(tmp_path.iterdir())
    synth.write_report([made], synth.SynthOptions(), tmp_path)
    assert "- synth-0-00000: no face found" in (tmp_path / "report.md").read_text()


def test_scenes_depend_on_the_seed_alone() -> None:
    first, again = (synth.sample_scene((1, 2, 0), size=256, views=3) for _ in range(2))
    other = synth.sample_scene((1, 3, 0), size=256, views=3)
    np.testing.assert_array_equal(first.person.identity, again.person.identity)
    np.testing.assert_array_equal(first.cameras[2].viewmat, again.cameras[2].viewmat)
    assert np.abs(first.person.identity - other.person.identity).max() > 0.5
    assert first.faces[0] is first.faces[1]
    assert first.faces[2] is not first.faces[0]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [({"size": 250}, "--size 250"), ({"size": 64}, "--size 64"), ({"views": 0}, "--views 0")],
)
def test_odd_options_are_refused(wrong: dict[str, int], told: str) -> None:
    with pytest.raises(InputError, match=told):
        synth.SynthOptions(**wrong)


def test_the_command_has_the_librarys_defaults() -> None:
    assert (command.SIZE, command.VIEWS, command.MAX_VIEWS) == (
        write.SIZE,
        write.VIEWS,
        write.MAX_VIEWS,
    )
