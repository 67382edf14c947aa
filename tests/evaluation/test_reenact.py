"""Self-reenactment: known answers of the frame scores, and the protocol on a made clip."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mggtalk_cli.core.image import read_photo, write_png
from mggtalk_cli.core.landmark_groups import CANONICAL
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation import clips, reenact, regions
from mggtalk_cli.evaluation.clips import Track, TrueClip
from mggtalk_cli.evaluation.fidelity import Yardstick

Run = Callable[..., Any]

SIZE, FRAMES = 200, 3
STEPS = 4  # frames of the run end to end


def face_points(gap_px: float) -> np.ndarray:
    """The canonical face in the middle of the picture, its lips `gap_px` apart."""
    face = CANONICAL * [9.0, -9.0, -9.0]
    face = face - face.mean(0) + [SIZE / 2, SIZE / 2, 0]
    lower = [95, 88, 178, 87, 14, 317, 402, 318, 324]
    upper = [191, 80, 81, 82, 13, 312, 311, 310, 415]
    face[lower, 1] = face[upper, 1].mean() + gap_px
    face[upper, 1] = face[upper, 1].mean()
    return np.concatenate([face, face[:10]]).astype(np.float32)


@pytest.fixture
def clip() -> TrueClip:
    """Three coarse noise pictures with an open mouth, and the whole middle as head."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 190, (FRAMES, SIZE // 4, SIZE // 4, 3), np.uint8)
    frames = list(coarse.repeat(4, 1).repeat(4, 2))
    points = np.stack([face_points(20)] * FRAMES)
    head = np.zeros((SIZE, SIZE), bool)
    head[10:-10, 10:-10] = True
    return TrueClip(Path("made.mp4"), 25.0, frames, Track(points, []), [head] * FRAMES)


@pytest.fixture(autouse=True)
def all_found(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Made clips have landmarks, but nothing was tracked in them."""
    if "clip" in request.fixturenames:
        monkeypatch.setattr(Track, "held", lambda self: self.points)


def test_true_frames_score_perfectly(clip: TrueClip) -> None:
    values = Yardstick.of(clip).scores(clip.frames).values
    for name in regions.REGIONS:
        assert values[f"{name}_db"] == np.inf
        assert values[f"{name}_sharpness"] == pytest.approx(1)
    assert values["ssim"] == values["head_ssim"] == pytest.approx(1)
    assert values["ms_ssim"] == pytest.approx(1)


def test_a_constant_offset_is_known_in_every_region(clip: TrueClip) -> None:
    found = Yardstick.of(clip).scores([frame + 5 for frame in clip.frames])
    expected = -20 * np.log10(5 / 255)
    for name in regions.REGIONS:
        assert found.values[f"{name}_db"] == pytest.approx(expected, abs=1e-4)
    assert found.curves["head_db"] == pytest.approx([expected] * (FRAMES - 1), abs=1e-4)


def test_noise_of_known_variance(clip: TrueClip) -> None:
    rng = np.random.default_rng(1)
    noise = rng.choice([-10, 10], (FRAMES, SIZE, SIZE, 3))
    images = [(f + n).astype(np.uint8) for f, n in zip(clip.frames, noise, strict=True)]
    values = Yardstick.of(clip).scores(images).values
    assert values["frame_db"] == pytest.approx(-20 * np.log10(10 / 255), abs=0.01)


def test_an_error_counts_where_it_is(clip: TrueClip) -> None:
    masks = regions.clip_masks(clip)
    images = [f.copy() for f in clip.frames]
    for image, mask in zip(images, masks, strict=True):
        image[mask["inner"] > 0] += 20
    values = Yardstick.of(clip).scores(images).values
    assert values["inner_db"] == pytest.approx(-20 * np.log10(20 / 255), abs=1e-4)
    assert values["inner_db"] < values["mouth_db"] < values["head_db"] < values["frame_db"]
    assert values["eyes_db"] == np.inf


def test_frame_0_is_not_scored(clip: TrueClip) -> None:
    black = [np.zeros_like(clip.frames[0]), *clip.frames[1:]]
    assert Yardstick.of(clip).scores(black).values["frame_db"] == np.inf


def test_a_closed_mouth_has_no_inside() -> None:
    shape = (SIZE, SIZE)
    assert not regions.inner_mouth(face_points(0), shape).any()
    opened = regions.inner_mouth(face_points(20), shape)
    assert opened.any()
    lips = clips.outline_mask(face_points(20), regions.LIPS, shape)
    assert not (opened & ~lips).any()


def test_blurred_to_one_sharpness(clip: TrueClip) -> None:
    yard = Yardstick.of(clip)
    soft = [reenact.controls.blurred(frame, 0.6) for frame in clip.frames]
    films = {"ours": clip.frames, "soft": soft, "mush": [np.zeros_like(f) for f in soft]}
    sharpness = {name: yard.head_sharpness(images) for name, images in films.items()}
    table = reenact.equal_scores(films, yard, sharpness)
    assert set(table) == {"ours", "soft"}
    assert table["soft"]["blur_px"] == 0
    assert table["ours"]["blur_px"] == pytest.approx(0.6, abs=0.01)
    levels = [values["sharpness_equal"] for values in table.values()]
    assert levels[0] == pytest.approx(levels[1], abs=0.002)
    assert table["ours"]["head_db_equal"] == pytest.approx(table["soft"]["head_db_equal"], abs=0.05)


def test_frames_must_fit(clip: TrueClip) -> None:
    yard = Yardstick.of(clip)
    with pytest.raises(InputError, match="frame 0 is 100 x 200 px, the true one 200 x 200"):
        yard.check([frame[:, :100] for frame in clip.frames], "--method peer, made")
    with pytest.raises(InputError, match=r"has 1 frames.*--frames 1"):
        yard.check(clip.frames[:1], "--method peer, made")


def test_gaps_keep_the_last_face() -> None:
    points = np.full((3, 478, 3), np.nan, np.float32)
    points[0], points[2] = 1, 3
    track = Track(points, ["a", None, "c"])  # type: ignore[list-item]
    assert track.held()[:, 0, 0].tolist() == [1, 1, 3]
    assert track.found.tolist() == [True, False, True]


def test_the_head_ends_at_the_chin() -> None:
    face = np.array([[40.0, 30, 0], [60, 60, 0]])
    mask = clips.head_mask(np.ones((100, 100)), face)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert (rows[0], rows[-1]) == (18, 61)
    assert (columns[0], columns[-1]) == (34, 65)
    assert not clips.head_mask(np.zeros((100, 100)), face).any()


def test_the_error_map_is_dark_where_nothing_differs() -> None:
    one = np.full((4, 4, 3), 90, np.uint8)
    assert reenact.error_map(one, one).max() < 8
    assert reenact.error_map(one, one + 90).mean() > 150


# ---------------------------------------------------------------- end to end


@pytest.fixture(scope="module")
def folder(run: Run, sliding_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of the sliding clip with all frames kept."""
    directory = tmp_path_factory.mktemp("reenact") / "report"
    result = run(
        *("evaluate", "reenact", sliding_clip, "--frames", STEPS, "-o", directory),
        "--keep-frames",
    )
    assert result.exit_code == 0, result.stderr
    return directory


@pytest.fixture(scope="module")
def values(folder: Path) -> dict[str, dict[str, float]]:
    [item] = json.loads((folder / "report.json").read_text())["items"]
    return item["values"]


def test_a_sliding_head_beats_the_repeated_frame(values: dict[str, dict[str, float]]) -> None:
    assert list(values) == ["ours", "repeat", "warp", "average", "blur"]
    assert values["ours"]["head_db"] > values["repeat"]["head_db"] + 1
    assert values["ours"]["lmd"] < values["repeat"]["lmd"]


def test_controls_are_as_sharp_as_they_should(values: dict[str, dict[str, float]]) -> None:
    average, blur = (values[name]["head_sharpness"] for name in ("average", "blur"))
    assert blur == pytest.approx(min(average, values["ours"]["head_sharpness"]), abs=0.005)
    assert len({round(table["sharpness_equal"], 2) for table in values.values()}) == 1


def test_scikit_image_agrees_on_the_written_frames(
    folder: Path, values: dict[str, dict[str, float]]
) -> None:
    metrics = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    [kept] = (folder / "frames").iterdir()
    true = [read_photo(path) for path in sorted((kept / "truth").iterdir())[1:]]
    assert len(true) == STEPS - 1
    for method, expected in values.items():
        own = [read_photo(path) for path in sorted((kept / method).iterdir())[1:]]
        errors = [
            metrics.mean_squared_error(a / 255, b / 255) for a, b in zip(own, true, strict=True)
        ]
        assert expected["frame_db"] == pytest.approx(-10 * np.log10(np.mean(errors)), abs=1e-3)
        similar = [
            metrics.structural_similarity(
                *(a / 255, b / 255), data_range=1, channel_axis=2, gaussian_weights=True,
                sigma=1.5, use_sample_covariance=False,
            )
            for a, b in zip(own, true, strict=True)
        ]  # fmt: skip
        assert expected["ssim"] == pytest.approx(np.mean(similar), abs=1e-3)


def test_a_peer_with_our_frames_has_our_numbers(
    run: Run, folder: Path, sliding_clip: Path, values: dict[str, dict[str, float]], tmp_path: Path
) -> None:
    shutil.copytree(folder / "frames" / sliding_clip.stem / "ours", tmp_path / sliding_clip.stem)
    result = run(
        *("evaluate", "reenact", sliding_clip, "--frames", STEPS, "--json"),
        *("--method", f"again={tmp_path}"),
    )
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["others"] == ["repeat", "warp", "average", "blur", "again"]
    [item] = report["items"]
    assert item["values"]["again"] == item["values"]["ours"] == values["ours"]


def test_a_peer_without_a_clip_is_left_out_there(
    run: Run, folder: Path, sliding_clip: Path, tmp_path: Path
) -> None:
    """The second clip is the same film by another name; the third one cannot be read at all."""
    made, again, bad = tmp_path / "made", tmp_path / "again.mp4", tmp_path / "bad.mp4"
    shutil.copytree(folder / "frames" / sliding_clip.stem / "ours", made / sliding_clip.stem)
    shutil.copy(sliding_clip, again)
    bad.write_bytes(b"no film")
    result = run(
        *("evaluate", "reenact", sliding_clip, again, bad, "--frames", STEPS, "--json"),
        *("--method", f"peer={made}"),
    )
    assert result.exit_code == 4, result.stderr
    assert f"peer={made}: nothing of again, bad: left out there" in result.stderr
    report = json.loads(result.stdout)
    first, second = report["items"]
    assert "peer" in first["values"]
    assert "peer" not in second["values"]
    assert second["values"]["ours"] == first["values"]["ours"]
    assert list(report["failed"]) == ["bad"]


# ---------------------------------------------------------------- bad input


def test_one_bad_clip_of_two_is_reported(run: Run, sliding_clip: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    result = run("evaluate", "reenact", sliding_clip, bad, "--frames", "2", "--json")
    assert result.exit_code == 4
    report = json.loads(result.stdout)
    assert [item["name"] for item in report["items"]] == [sliding_clip.stem]
    assert "bad" in next(iter(report["failed"]))


def test_a_short_clip_says_how_many_frames_it_has(sliding_clip: Path) -> None:
    with pytest.raises(InputError, match="has 6 frames"):
        clips.read_frames(sliding_clip, 7, max_side=512, fps=25)


def test_a_clip_without_a_face(run: Run, tmp_path: Path) -> None:
    from mggtalk_cli.core.encode import VideoWriter

    path = tmp_path / "grey.mp4"
    with VideoWriter(path, 64, 64, 25.0) as writer:
        for _ in range(3):
            writer.write(np.full((64, 64, 3), 90, np.uint8), None)
    result = run("evaluate", "reenact", path, "--frames", "2")
    assert result.exit_code == 1
    assert "no face in the first frame" in result.stderr


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("ours={there}", "ours is one of our own"),
        ("peer={there}/no", "does not exist"),
        ("a/b={there}", "a name has letters"),
        ("peer={there}", "nothing of sliding"),
    ],
)
def test_a_peer_that_cannot_be(
    run: Run, sliding_clip: Path, tmp_path: Path, option: str, said: str
) -> None:
    method = option.format(there=tmp_path)
    result = run("evaluate", "reenact", sliding_clip, "--frames", "2", "--method", method)
    assert result.exit_code == 1
    assert said in result.stderr


def test_a_peer_of_another_size(run: Run, sliding_clip: Path, tmp_path: Path) -> None:
    folder = tmp_path / sliding_clip.stem
    folder.mkdir()
    for index in range(2):
        write_png(folder / f"{index}.png", np.zeros((32, 48, 3), np.uint8))
    result = run(
        *("evaluate", "reenact", sliding_clip, "--frames", "2", "--method", f"peer={tmp_path}")
    )
    assert result.exit_code == 1
    assert "48 x 32 px, the true one 256 x 256" in result.stderr


def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    (tmp_path / "clip").mkdir()
    for name in ("f10", "f9", "f1"):
        write_png(tmp_path / "clip" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
    files = reenact.peer_files(tmp_path, "clip")
    assert [path.stem for path in files] == ["f1", "f9", "f10"]


def test_kept_frames_need_a_folder(run: Run, sliding_clip: Path) -> None:
    result = run("evaluate", "reenact", sliding_clip, "--keep-frames")
    assert result.exit_code == 2
    assert "-o" in result.stderr


def test_the_command_has_the_library_s_default() -> None:
    from mggtalk_cli.cli import evaluate_reenact

    assert evaluate_reenact.FRAMES == reenact.FRAMES
