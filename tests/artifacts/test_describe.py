"""Descriptions say what is there; contact sheets show it where it belongs."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from artifact_samples import KIND_NAMES, make_sample
from PIL import Image

from mggtalk_cli.artifacts import open_artifact, write_artifact
from mggtalk_cli.artifacts.describe import describe, describe_ply, sample_frames
from mggtalk_cli.artifacts.ply import GaussianCloud, sh_from_color, write_ply
from mggtalk_cli.artifacts.sheet import cloud_sheet, contact_sheet, over_grey, scatter
from mggtalk_cli.cli.inspect import inspect
from mggtalk_cli.errors import ArtifactError, InputError


class Pipe(io.BytesIO):
    def seekable(self) -> bool:
        return False


def opened(sample, *, piped: bool = False):
    buffer = io.BytesIO()
    write_artifact(buffer, *sample)
    return open_artifact(Pipe(buffer.getvalue()) if piped else buffer)


def small_cloud() -> GaussianCloud:
    return GaussianCloud(
        np.float32([[0, 0, 0], [1, 2, 3]]),
        np.float32([[1, 0, 0, 0]] * 2),
        np.full((2, 3), 0.1, np.float32),
        np.float32([0.5, 1]),
        sh_from_color(np.float32([[1, 0, 0], [0, 0, 1]])),
    )


@pytest.mark.parametrize("piped", [False, True])
def test_describe(sample, piped: bool) -> None:
    described = describe(opened(sample, piped=piped))
    json.dumps(described)
    assert described["kind"] == sample.kind
    assert described["meta"] == sample.meta
    for row in described["arrays"]:
        array = sample.arrays[row["name"]]
        assert row["shape"] == list(array.shape)
        assert row["dtype"] == str(array.dtype)
        assert row["min"] == array.min()
        assert row["max"] == array.max()
        assert row["mean"] == pytest.approx(array.mean(dtype=float))
        assert row["doc"]
    for row in described.get("frame_arrays", []):
        arrays = [frame[row["name"]] for frame in sample.frames]
        assert row["min"] == min(a.min() for a in arrays)
        assert row["mean"] == pytest.approx(np.mean([a.mean(dtype=float) for a in arrays]))
    if sample.kind in ("points", "frames"):
        assert described["frame_count"] == 3
    if sample.kind == "motion":
        assert (described["frame_count"], described["sound_blocks"]) == (60, 3)


@pytest.mark.parametrize("piped", [False, True])
@pytest.mark.parametrize("count", [1, 2, 12, 13, 100])
def test_samples_are_few_and_reach_both_ends(count: int, piped: bool) -> None:
    sample = make_sample("points", count)
    samples = sample_frames(opened(sample, piped=piped))
    assert samples.count == count
    assert samples.indices[0] == 0
    assert samples.indices[-1] == count - 1
    assert samples.indices == sorted(set(samples.indices))
    assert min(count, 6) <= len(samples.frames) <= 13
    for index, frame in zip(samples.indices, samples.frames, strict=True):
        np.testing.assert_array_equal(frame["points"], sample.frames[index]["points"])


@pytest.mark.parametrize("kind", [kind for kind in KIND_NAMES if kind != "motion"])
def test_contact_sheets(kind: str) -> None:
    artifact = opened(make_sample(kind))
    picture = contact_sheet(artifact, sample_frames(artifact))
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3
    assert picture.std() > 1


def test_head_sheet_shows_the_image_first(head) -> None:
    picture = contact_sheet(opened(head), sample_frames(opened(head)))
    image = head.arrays["image"]
    tile = picture[: 256 * 6 // 8, :256]
    np.testing.assert_array_equal(tile[16::32, 16::32], image)


def test_scatter_keeps_the_nearest_on_top() -> None:
    color = np.uint8([[255, 0, 0], [0, 255, 0]])
    xy = np.float32([[3.0, 3.0], [3.0, 3.0]])
    picture = scatter(xy, np.float32([5, 9]), color, 8, 6)
    assert (picture[2:4, 2:4] == color[0]).all()
    assert (picture == color[0]).all(-1).sum() == 4
    assert (scatter(xy * 1e9, np.float32([5, 9]), color, 8, 6) == picture[0, 0]).all()


def test_over_grey() -> None:
    rgba = np.uint8([[[255, 0, 10, 255], [255, 0, 10, 0]]])
    np.testing.assert_array_equal(over_grey(rgba), [[[255, 0, 10], [128, 128, 128]]])


def test_ply(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", small_cloud())
    described = describe_ply(tmp_path / "a.ply")
    json.dumps(described)
    assert (described["gaussians"], described["sh_degree"]) == (2, 0)
    rows = {row["name"]: row for row in described["arrays"]}
    assert rows["means"]["max"] == 3
    assert rows["color"]["mean"] == pytest.approx(1 / 3, abs=1e-6)
    assert cloud_sheet(small_cloud()).shape[1] == 1024


def test_inspect_command(sample, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, sheet = tmp_path / "a.npz", tmp_path / "sheet.png"
    write_artifact(path, *sample)
    inspect(str(path), as_json=True, sheet=str(sheet))
    described = json.loads(capsys.readouterr().out)
    assert described["kind"] == sample.kind
    assert described["file_bytes"] == path.stat().st_size
    with Image.open(sheet) as picture:
        assert picture.width >= 256
    inspect(str(path))
    text = capsys.readouterr().out
    assert all(name in text for name in sample.arrays)
    with pytest.raises(InputError, match="--overwrite"):
        inspect(str(path), sheet=str(sheet))
    with pytest.raises(InputError, match=r"must end in one of \.png"):
        inspect(str(path), sheet=str(tmp_path / "sheet.doc"))


def test_inspect_ply(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_ply(tmp_path / "a.ply", small_cloud())
    inspect(str(tmp_path / "a.ply"), sheet=str(tmp_path / "a.png"))
    assert "gaussians" in capsys.readouterr().out
    assert (tmp_path / "a.png").exists()
    (tmp_path / "b.ply").write_bytes(b"nothing")
    with pytest.raises(ArtifactError, match=r"no \.ply"):
        inspect(str(tmp_path / "b.ply"))
