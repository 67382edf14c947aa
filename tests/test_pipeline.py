"""The stages together on the example photo: identity, warps, views, chaining, exports."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from mggtalk_cli import deform, drawing, pipeline, splat, tensors
from mggtalk_cli.artifacts import Artifact, open_artifact
from mggtalk_cli.artifacts.memory import save
from mggtalk_cli.core.camera import Camera, pixel_grid
from mggtalk_cli.core.expression import ARKIT_INDEX
from mggtalk_cli.errors import BackendError, InputError

ROOT = Path(__file__).parents[1]
SIZE = 256


def psnr(one: np.ndarray, other: np.ndarray, where: np.ndarray | None = None) -> float:
    square = (np.asarray(one, np.float64) - other) ** 2
    return float(-10 * np.log10((square if where is None else square[where]).mean()))


def photo_of(head: Artifact) -> np.ndarray:
    return head.arrays["image"].astype(np.float32) / 255


def rest(head: Artifact) -> deform.Deformed:
    source = tensors.source_state(head)
    return deform.deform_analytic(tensors.head_rig(head), source, source)


def draw(
    head: Artifact, points: torch.Tensor, view: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the picture over the plate, and alpha, of points of the head (float)."""
    camera = tensors.camera_of(head)
    gaussians = splat.decode_analytic(
        points, rest(head).visibility, tensors.gaussian_sheet(head, "cpu")
    )
    rgb, alpha = drawing.rasterize(gaussians, camera, camera.viewmat if view is None else view)
    plate = torch.from_numpy(head.arrays["plate"]).float() / 255
    return (rgb + (1 - alpha) * plate).clamp(0, 1).numpy(), alpha[..., 0].numpy()


# ---------------------------------------------------------------- what a head gives back


def test_identity_gives_the_photo_back(example_head: Artifact) -> None:
    image, _ = draw(example_head, rest(example_head).points)
    assert psnr(image, photo_of(example_head)) >= 38


def test_own_state_through_all_stages_gives_the_photo_back(example_head: Artifact) -> None:
    """Also with 8-bit frames in between."""
    video = pipeline.inpaint(pipeline.render(example_head))
    (frame,) = video.frames
    assert psnr(frame.image / 255, photo_of(example_head)) >= 37.5


def waves(xy: np.ndarray) -> np.ndarray:
    """A smooth shift of picture positions, px: up to 3 px, over 30 px and more."""
    x, y = xy[..., 0], xy[..., 1]
    turn = 2 * np.pi
    across = 2 * np.sin(turn * y / 45) + np.cos(turn * x / 35)
    down = 2 * np.sin(turn * x / 55) + 0.75 * np.sin(turn * y / 30)
    return np.stack([across, down], -1).astype(np.float32)


def test_known_warp_of_the_points_is_the_warp_of_the_photo(example_head: Artifact) -> None:
    camera = tensors.camera_of(example_head)
    seen = camera.project(rest(example_head).points.numpy())
    moved = camera.unproject(seen[:, :2] + waves(seen[:, :2]), seen[:, 2])
    grid = pixel_grid(SIZE, SIZE)
    origin = grid.copy()
    for _ in range(30):  # the place that the warp carries to each pixel
        origin += 0.9 * (grid - origin - waves(origin))
    assert np.abs(origin + waves(origin) - grid).max() < 1e-3

    truth = np.clip(cv2.remap(photo_of(example_head), origin - 0.5, None, cv2.INTER_CUBIC), 0, 1)
    matte = cv2.erode(example_head.arrays["matte"], np.ones((15, 15), np.uint8))
    # Well inside the person, and not from beyond the photo's border.
    inner = cv2.remap(matte, origin - 0.5, None, cv2.INTER_LINEAR) > 250
    assert inner.mean() > 0.2
    image, _ = draw(example_head, torch.from_numpy(moved.astype(np.float32)))
    assert psnr(image, truth, inner) >= 34


def head_silhouette(head: Artifact, view: np.ndarray) -> np.ndarray:
    """Return the mask of the head alone seen by `view`, its holes filled, its edge taken off."""
    arrays = head.arrays
    own = (arrays["head_weight"] > 0.9) & (arrays["rig_gate"] == 0) & (arrays["opacity"] > 0.7)
    base = tensors.camera_of(head)
    camera = Camera(view, base.focal_px, base.width, base.height)
    places = np.floor(camera.project(arrays["positions"][own])[:, :2]).astype(int)
    inside = ((places >= 0) & (places < SIZE)).all(1)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[places[inside, 1], places[inside, 0]] = 1
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    largest = max(outlines, key=cv2.contourArea)
    filled = cv2.drawContours(np.zeros_like(mask), [largest], -1, 1, cv2.FILLED)
    return cv2.erode(filled, np.ones((9, 9), np.uint8)).astype(bool)


@pytest.mark.parametrize("yaw_deg", [-30.0, 0.0, 30.0])
def test_views_have_no_holes(example_head: Artifact, yaw_deg: float) -> None:
    options = pipeline.RenderOptions(yaw_deg=yaw_deg)
    view = drawing.view_matrix(tensors.camera_of(example_head), options, 0)
    _, alpha = draw(example_head, rest(example_head).points, view)
    inside = head_silhouette(example_head, view)
    assert inside.mean() > 0.08
    assert (alpha[inside] > 0.95).mean() >= 0.995


def test_positive_yaw_turns_the_nose_to_image_right(example_head: Artifact) -> None:
    base = tensors.camera_of(example_head)
    nose, back = example_head.arrays["rig_controls"][1], np.array([0.0, 0.0, -8.0])

    def lead(yaw_deg: float) -> float:
        view = drawing.view_matrix(base, pipeline.RenderOptions(yaw_deg=yaw_deg), 0)
        camera = Camera(view, base.focal_px, base.width, base.height)
        return float(camera.project(nose)[0] - camera.project(back)[0])

    assert lead(30) > lead(0) + 10 > lead(-30) + 20
    still = drawing.view_matrix(base, pipeline.RenderOptions(), 0)
    np.testing.assert_allclose(still, base.viewmat, atol=1e-5)


def test_open_mouth_changes_only_the_face(example_head: Artifact) -> None:
    source = tensors.source_state(example_head)
    beta = source.beta.copy()
    beta[ARKIT_INDEX["jawOpen"]] = 0.6
    rig = tensors.head_rig(example_head)
    posed = deform.deform_analytic(rig, source, replace(source, beta=beta))
    gaussians = splat.decode_analytic(
        posed.points, posed.visibility, tensors.gaussian_sheet(example_head, "cpu")
    )
    camera = tensors.camera_of(example_head)
    rgb, alpha = drawing.rasterize(gaussians, camera, camera.viewmat)
    still, _ = draw(example_head, rest(example_head).points)
    plate = torch.from_numpy(example_head.arrays["plate"]).float() / 255
    change = np.abs((rgb + (1 - alpha) * plate).numpy() - still).max(-1)
    chin = camera.project(example_head.arrays["rig_controls"][[14, 152]])[:, :2].mean(0).astype(int)
    assert change[chin[1] - 12 : chin[1] + 6, chin[0] - 10 : chin[0] + 10].max() > 0.1
    # The neck moves by microns at most; single points may change places in depth there.
    assert np.quantile(change[:20], 0.999) < 0.05
    assert np.quantile(change[-20:], 0.999) < 0.05


# ---------------------------------------------------------------- chaining


@pytest.fixture(scope="module")
def second_of_speech(tmp_path_factory: pytest.TempPathFactory, speech_path: Path) -> Path:
    import soundfile

    samples, rate = soundfile.read(speech_path, frames=16000, start=16000)
    path = tmp_path_factory.mktemp("sound") / "second.wav"
    soundfile.write(path, samples, rate)
    return path


@pytest.fixture(scope="module")
def animated(example_head: Artifact, second_of_speech: Path) -> list[pipeline.VideoFrame]:
    video = pipeline.animate(example_head, pipeline.drive(str(second_of_speech)))
    assert (video.width, video.height, video.fps) == (SIZE, SIZE, 25)
    assert (video.frame_count, video.audio_rate, video.audio_channels) == (25, 16000, 1)
    return list(video.frames)


def test_animation_is_as_long_as_the_sound_and_carries_it(
    animated: list[pipeline.VideoFrame], second_of_speech: Path
) -> None:
    import soundfile

    assert len(animated) == 25
    heard = np.concatenate([frame.audio for frame in animated if frame.audio is not None])
    samples, _ = soundfile.read(second_of_speech, dtype="int16")
    assert np.array_equal(heard[:, 0], samples)
    assert all(frame.image.shape == (SIZE, SIZE, 3) for frame in animated)
    moved = [np.abs(frame.image.astype(int) - animated[0].image).max() for frame in animated]
    assert max(moved) > 20


def assert_same(frames: list[np.ndarray], animated: list[pipeline.VideoFrame]) -> None:
    assert len(frames) == len(animated)
    for one, other in zip(frames, animated, strict=True):
        assert np.abs(one.astype(int) - other.image).max() <= 1


def test_steps_through_files_are_animate(
    example_head: Artifact,
    second_of_speech: Path,
    animated: list[pipeline.VideoFrame],
    tmp_path: Path,
) -> None:
    paths = {kind: tmp_path / f"{kind}.npz" for kind in ("head", "motion", "points", "frames")}
    save(example_head, paths["head"])
    save(pipeline.motion_artifact(pipeline.drive(str(second_of_speech))), paths["motion"])
    driver = pipeline.drive_motion(open_artifact(paths["motion"], "motion"))
    save(pipeline.deform(open_artifact(paths["head"], "head"), driver), paths["points"])
    save(pipeline.render(open_artifact(paths["points"], "points")), paths["frames"])
    video = pipeline.inpaint(open_artifact(paths["frames"], "frames"))
    assert video.frame_count == 25
    frames = list(video.frames)
    assert_same([frame.image for frame in frames], animated)
    for one, other in zip(frames, animated, strict=True):
        assert one.audio is not None
        assert np.array_equal(one.audio, other.audio)


def test_steps_through_a_pipe_of_processes_are_animate(
    example_head: Artifact,
    second_of_speech: Path,
    animated: list[pipeline.VideoFrame],
    tmp_path: Path,
) -> None:
    save(example_head, tmp_path / "head.npz")
    stages = (
        ("deform", tmp_path / "head.npz", "--audio", second_of_speech, "-o", "-"),
        ("render", "-", "-o", "-"),
        ("inpaint", "-", "-o", tmp_path / "%03d.png", "--quiet"),
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    processes: list[subprocess.Popen[bytes]] = []
    for number, stage in enumerate(stages):
        process = subprocess.Popen(
            [sys.executable, "-m", "mggtalk_cli", *map(str, stage)],
            stdin=processes[-1].stdout if processes else subprocess.DEVNULL,
            stdout=subprocess.PIPE if number < 2 else subprocess.DEVNULL,
            env=environment,
        )
        if processes and processes[-1].stdout is not None:
            processes[-1].stdout.close()
        processes.append(process)
    assert [process.wait(300) for process in processes] == [0, 0, 0]
    pictures = sorted(tmp_path.glob("*.png"))
    assert_same([np.asarray(Image.open(path)) for path in pictures], animated)


def test_absolute_needs_a_video(example_head: Artifact, second_of_speech: Path) -> None:
    with pytest.raises(InputError, match="--absolute"):
        pipeline.deform(example_head, pipeline.drive(str(second_of_speech)), absolute=True)


# ---------------------------------------------------------------- exports and backgrounds


@pytest.mark.parametrize("densify", [False, True])
def test_ply_holds_the_gaussians_of_the_head(
    example_head: Artifact, tmp_path: Path, densify: bool
) -> None:
    from plyfile import PlyData

    path = tmp_path / "head.ply"
    assert pipeline.export_ply(example_head, str(path), densify=densify) is example_head
    rows = PlyData.read(path)["vertex"].data
    posed, sheet = rest(example_head), tensors.gaussian_sheet(example_head, "cpu")
    gaussians = splat.decode_analytic(posed.points, posed.visibility, sheet)
    gaussians = splat.densify_gaussians(gaussians) if densify else gaussians
    drawn = gaussians.opacities > 1 / 255
    assert len(rows) == int(drawn.sum())
    means = np.stack([rows[axis] for axis in "xyz"], -1)
    opacity = 1 / (1 + np.exp(-rows["opacity"]))
    color = 0.5 + 0.28209479177387814 * np.stack([rows[f"f_dc_{k}"] for k in range(3)], -1)
    np.testing.assert_allclose(means, gaussians.means[drawn], atol=1e-4)
    np.testing.assert_allclose(opacity, gaussians.opacities[drawn], atol=1e-3)
    np.testing.assert_allclose(color, gaussians.colors[drawn], atol=1e-4)
    quats = np.stack([rows[f"rot_{k}"] for k in range(4)], -1)
    np.testing.assert_allclose(np.linalg.norm(quats, axis=1), 1, atol=1e-4)
    size = np.exp(np.stack([rows[f"scale_{k}"] for k in range(3)], -1))
    t = gaussians.tangents[drawn].double()
    trace = (t**2).sum((1, 2)) + 3 * gaussians.thickness_cm**2
    np.testing.assert_allclose((size.astype(np.float64) ** 2).sum(1), trace, rtol=1e-3)


def test_exported_frame_is_still_rendered(
    example_head: Artifact, second_of_speech: Path, tmp_path: Path
) -> None:
    points = pipeline.deform(example_head, pipeline.drive(str(second_of_speech)))
    back = pipeline.export_ply(points, str(tmp_path / "first.ply"))
    assert (tmp_path / "first.ply").exists()
    assert sum(1 for _ in back.frames()) == 25


@pytest.fixture(scope="module")
def frames_artifact(example_head: Artifact) -> Artifact:
    """One rendered frame that can be read again and again."""
    rendered = pipeline.render(example_head)
    frames = list(rendered.frames())
    return pipeline.in_memory("frames", rendered.meta, rendered.arrays, frames)


def only(frames: Iterator[pipeline.VideoFrame]) -> np.ndarray:
    (frame,) = frames
    return frame.image


def test_transparent_background(frames_artifact: Artifact) -> None:
    video = pipeline.inpaint(frames_artifact, background="transparent")
    assert video.transparent
    rgba = only(video.frames)
    assert rgba.shape == (SIZE, SIZE, 4)
    assert rgba[SIZE // 2, SIZE // 2, 3] > 250
    assert rgba[2, 2, 3] == 0


@pytest.mark.parametrize("name", ["#12c864", "rgb(18,200,100)"])
def test_colour_background(frames_artifact: Artifact, name: str) -> None:
    (rgba,) = (frame["rgba"] for frame in frames_artifact.frames())
    image = only(pipeline.inpaint(frames_artifact, background=name).frames)
    assert (image[rgba[..., 3] == 0] == (18, 200, 100)).all()
    opaque = rgba[..., 3] == 255
    assert np.array_equal(image[opaque], rgba[opaque][:, :3])


@pytest.mark.parametrize("size", [(300, 200), (90, 400), (SIZE, SIZE)])
def test_picture_background_is_cropped_from_its_middle(
    frames_artifact: Artifact, tmp_path: Path, size: tuple[int, int]
) -> None:
    """A picture green in its middle half, red outside: the middle fills the frame."""
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[..., 0] = 255
    side = min(width, height)
    top, left = (height - side) // 2, (width - side) // 2
    picture[top : top + side, left : left + side] = (0, 255, 0)
    Image.fromarray(picture).save(tmp_path / "wall.png")
    (rgba,) = (frame["rgba"] for frame in frames_artifact.frames())
    image = only(pipeline.inpaint(frames_artifact, background=str(tmp_path / "wall.png")).frames)
    empty = rgba[..., 3] == 0
    empty[:, [0, -1]] = empty[[0, -1]] = False
    assert (np.abs(image[empty].astype(int) - (0, 255, 0)) <= 2).all()


def test_unknown_background_is_refused(frames_artifact: Artifact) -> None:
    with pytest.raises(InputError, match="no_such_wall"):
        list(pipeline.inpaint(frames_artifact, background="no_such_wall.png").frames)


def test_unavailable_device_is_refused() -> None:
    from mggtalk_cli import render

    assert drawing.choose_device("cpu") == "cpu"
    if render.cuda_status()[0]:
        pytest.skip("CUDA works here")
    assert drawing.choose_device("auto") == "cpu"
    with pytest.raises(BackendError, match="--device cpu"):
        drawing.choose_device("cuda")


def test_turntable_swings_to_both_sides_and_back(example_head: Artifact) -> None:
    options = pipeline.RenderOptions(turntable=True)
    artifact = pipeline.render(example_head, options)
    assert artifact.frame_count == drawing.TURNTABLE_FRAMES
    camera = tensors.camera_of(example_head)
    quarter = drawing.TURNTABLE_FRAMES // 4
    for index, yaw_deg in ((0, 0.0), (quarter, 30.0), (3 * quarter, -30.0)):
        np.testing.assert_allclose(
            drawing.view_matrix(camera, options, index),
            drawing.view_matrix(camera, pipeline.RenderOptions(yaw_deg=yaw_deg), 0),
            atol=1e-4,
        )
