"""Clips become examples once, whole or not at all; what cannot be used is reported."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from moving_clip import swaying, write_moving_clip
from typer.testing import CliRunner, Result

from mggtalk_cli.artifacts import open_artifact
from mggtalk_cli.cli import prepare as command
from mggtalk_cli.cli.app import app
from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.lip_sync import mfcc
from mggtalk_cli.inpaint import composite
from mggtalk_cli.training import cropped, prepare
from mggtalk_cli.training.clips import Clip, pieces
from mggtalk_cli.training.dataset import Example, find_examples
from mggtalk_cli.training.example_folder import NOTE, TRUTH_FILE, Note
from mggtalk_cli.training.prepare import PrepareOptions
from mggtalk_cli.training.processes import in_processes

FRAMES, SIZE = 12, 192


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody who may ship, somebody who may not and is filmed too briefly, and no clip at all."""
    folder = tmp_path_factory.mktemp("clips")
    frames = swaying(FRAMES + 4)
    write_moving_clip(folder / "ann_01.mp4", frames)
    write_moving_clip(folder / "short_01.mp4", frames[:5], sound=False)
    (folder / "broken_01.mp4").write_text("this is no film", encoding="utf-8")
    rows = ["ann_01.mp4\tann\tyes\tCC0\tdrawn", "short_01.mp4\tbob\tno\t\t"]
    head = "file\tidentity\tship\trepo_licence\tnotes"
    rows.append("broken_01.mp4\teve\tno\t\t")
    (folder / "MANIFEST.tsv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return folder


def run(clips: Path, output: Path, *more: str) -> Result:
    return CliRunner().invoke(
        app,
        [
            *("prepare", str(clips), "-o", str(output), "--jobs", "1"),
            *("--frames", str(FRAMES), "--size", str(SIZE), *more),
        ],
    )


@pytest.fixture(scope="module")
def prepared(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    output = tmp_path_factory.mktemp("prepared") / "examples"
    return output, run(clips, output, "--json")


@pytest.fixture(scope="module")
def example(prepared: tuple[Path, Result]) -> Example:
    (found,) = find_examples([prepared[0]])
    return found


def test_the_command_tells_what_became_of_each_clip(prepared: tuple[Path, Result]) -> None:
    output, result = prepared
    assert result.exit_code == 0, result.output
    rows = {Path(row["clip"]).name: row for row in json.loads(result.stdout)}
    assert rows["ann_01.mp4"]["frames"] == FRAMES
    assert not rows["ann_01.mp4"]["refused"]
    assert "broken_01.mp4" in rows["broken_01.mp4"]["refused"]
    assert "first 5 frames" in rows["short_01.mp4"]["refused"]
    report = json.loads((output / "report.json").read_text("utf-8"))
    assert [Path(row["clip"]).name for row in report["refused"]] == [
        "broken_01.mp4",
        "short_01.mp4",
    ]
    text = (output / "report.md").read_text("utf-8")
    assert "1 examples" in text
    assert "short_01.mp4: " in text
    assert {path.name for path in output.iterdir()} == {
        rows["ann_01.mp4"]["name"],
        "report.json",
        "report.md",
    }


def test_the_manifest_goes_into_the_note(example: Example) -> None:
    note = example.note
    assert (note.identity, note.ship, note.licence, note.origin) == ("ann", True, "CC0", "drawn")
    assert (note.frames, note.size, note.fps) == (FRAMES, SIZE, 25.0)
    assert 150 < note.crop_px <= 256


def test_the_true_frames_are_one_square_of_the_clip(example: Example, clips: Path) -> None:
    frames, marks = example.truth("frames"), example.truth("face")
    assert frames.shape == (FRAMES, SIZE, SIZE, 3)
    # the square stays: the face moves in it as in the clip
    scale = SIZE / example.note.crop_px
    moved = (marks[4] - marks[0]).mean(0) / scale
    assert moved == pytest.approx([3.0, 0.0], abs=1.0)
    middle = marks[0].mean(0)
    assert (np.abs(middle - SIZE / 2) < SIZE / 6).all()


def test_the_render_is_the_first_frame_driven_by_the_clip(example: Example) -> None:
    plate = example.head().arrays["plate"]
    first = composite(example.truth("render", 0, 1)[0], plate)
    error = np.abs(first.astype(float) - example.truth("frames", 0, 1)[0])
    assert error.mean() < 4.0
    motion = example.motion()
    np.testing.assert_array_equal(motion.arrays["beta"][0], motion.arrays["reference_beta"])
    # it follows: with the still first frame instead, the moved frames are farther off
    true = example.truth("frames", 4, 5)[0].astype(float)
    drawn = composite(example.truth("render", 4, 5)[0], plate)
    inside = example.truth("person", 4, 5)[0] > 128
    assert np.abs(drawn - true)[inside].mean() < 0.8 * np.abs(first - true)[inside].mean()


def test_flow_and_trust_are_of_the_person(example: Example) -> None:
    trust, person = example.truth("trust"), example.truth("person")
    cells = person.reshape(FRAMES, SIZE // 4, 4, SIZE // 4, 4).max((2, 4))
    near = np.stack([cv2.dilate(cell, np.ones((5, 5))) for cell in cells])  # flow is a few px
    assert 0 < (near < 100).mean() < 1
    assert trust[near < 100].max() == 0
    assert (trust[cells > 250] > 128).mean() > 0.8
    assert np.abs(example.truth("flow").astype(float)[0][trust[0] > 128]).mean() < 0.3


def test_sound_lasts_as_long_as_the_frames(example: Example) -> None:
    assert example.truth("audio_features").shape == (2 * FRAMES, 384)
    assert example.truth("cepstra").shape == (4 * FRAMES, 13)
    motion = example.motion()
    samples = sum(len(block["audio"]) for block in motion.frames())
    assert samples == round(FRAMES / 25 * motion.meta["audio"]["rate"])


def test_cepstra_are_those_of_the_metric(example: Example, clips: Path) -> None:
    """As `evaluate` hears the whole clip; the track of the drawn clip lasts longer than wanted."""
    samples = np.concatenate(list(AudioFile(clips / "ann_01.mp4").blocks_16k_mono()))
    expected = mfcc(samples)[: 4 * FRAMES].astype(np.float32)
    np.testing.assert_array_equal(example.truth("cepstra"), expected)
    assert expected.std(0).min() > 0.1


def test_a_track_that_ends_early_keeps_its_last_sound(clips: Path) -> None:
    found = prepare.heard(clips / "ann_01.mp4", 3 * FRAMES)["cepstra"]
    assert found.shape == (12 * FRAMES, 13)
    np.testing.assert_array_equal(found[-FRAMES:], np.tile(found[-1], (FRAMES, 1)))
    assert not (found[: 4 * FRAMES] == found[-1]).all(1).any()


def test_a_second_run_keeps_what_is_there_and_another_size_is_refused(
    clips: Path, prepared: tuple[Path, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    output, _ = prepared
    (folder,) = (path for path in output.iterdir() if path.is_dir())
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    (output / ".mggtalk-0123456789ab").mkdir()  # left by a power cut
    monkeypatch.setattr(prepare, "write_example", None)
    rows = json.loads(run(clips / "ann_01.mp4", output, "--json").stdout)
    assert [row["kept"] for row in rows] == [True]
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    other = run(clips / "ann_01.mp4", output, "--size", "256")
    assert other.exit_code == 1
    assert "--overwrite" in other.stderr
    assert len(find_examples([output])) == 1


def test_what_the_manifest_says_now_counts(
    example: Example, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(example.folder, tmp_path / example.folder.name)
    monkeypatch.setattr(prepare, "write_example", None)
    clip = Clip(clips / "ann_01.mp4", "ann", False, "none found", "drawn")
    (done,) = prepare.prepare([clip], tmp_path, PrepareOptions(FRAMES, SIZE))
    assert done.kept
    (found,) = find_examples([tmp_path])
    assert found.note == replace(example.note, ship=False, licence="none found")


def test_a_full_disk_stops_the_run(
    clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "disk_usage", lambda path: SimpleNamespace(free=2**20))
    with pytest.raises(InputError, match="1 MiB are free"):
        list(prepare.prepare([Clip(clips / "ann_01.mp4", "ann")], tmp_path, PrepareOptions()))
    assert list(tmp_path.iterdir()) == []


def test_overwrite_makes_the_same_example_again(
    example: Example, clips: Path, tmp_path: Path
) -> None:
    old = tmp_path / example.folder.name
    shutil.copytree(example.folder, old)
    note = json.loads((old / NOTE).read_text("utf-8"))
    (old / NOTE).write_text(json.dumps({**note, "settings": {}}), "utf-8")
    (old / TRUTH_FILE).write_bytes(b"older")
    options = PrepareOptions(frames=FRAMES, size=SIZE)
    clip = Clip(clips / "ann_01.mp4", "ann", True, "CC0", "drawn")
    (refused,) = prepare.prepare([clip], tmp_path, options)
    assert "--overwrite" in refused.refused
    assert (old / TRUTH_FILE).read_bytes() == b"older"
    (again,) = prepare.prepare([clip], tmp_path, options, overwrite=True)
    assert (again.name, again.kept, again.refused) == (old.name, False, "")
    assert [path.name for path in tmp_path.iterdir()] == [old.name]
    for path in sorted(example.folder.iterdir()):
        assert path.read_bytes() == (old / path.name).read_bytes(), path.name


@pytest.mark.parametrize("name", ["head.npz", "motion.npz", TRUTH_FILE])
def test_a_damaged_example_is_made_again(
    example: Example, clips: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    old = tmp_path / example.folder.name
    shutil.copytree(example.folder, old)
    content = (old / name).read_bytes()
    (old / name).write_bytes(content[: len(content) // 2])
    made: list[str] = []

    def write(clip: Clip, name: str, *rest: object) -> Note:
        made.append(name)
        return example.note

    monkeypatch.setattr(prepare, "write_example", write)
    clip = Clip(clips / "ann_01.mp4", "ann", True, "CC0", "drawn")
    (done,) = prepare.prepare([clip], tmp_path, PrepareOptions(frames=FRAMES, size=SIZE))
    assert (done.kept, done.refused, made) == (False, "", [old.name])


def test_a_refused_run_leaves_the_report(
    clips: Path, prepared: tuple[Path, Result], tmp_path: Path
) -> None:
    output, _ = prepared
    before = (output / "report.md").read_bytes()
    assert run(clips / "ann_01.mp4", output, "--size", "256").exit_code == 1
    assert (output / "report.md").read_bytes() == before
    (tmp_path / "file").write_text("no folder", "utf-8")
    refused = run(clips / "ann_01.mp4", tmp_path / "file")
    assert refused.exit_code == 1
    assert "is to be a folder, but there is a file: change -o" in refused.stderr


def test_sizes_that_cannot_be_are_refused() -> None:
    for size in (128, 254):
        with pytest.raises(InputError, match="multiple of 4 from 192"):
            PrepareOptions(size=size)
    with pytest.raises(InputError, match="use at most 32"):
        PrepareOptions(size=2048, frames=33)


def test_the_defaults_are_the_librarys() -> None:
    options = PrepareOptions()
    assert (options.frames, options.size) == (command.FRAMES, command.SIZE)
    assert command.MIN_FRAMES == cropped.MIN_FRAMES


def test_a_scene_ends_at_a_cut() -> None:
    frames = swaying(12)
    assert not any(cropped.is_cut(a, b) for a, b in itertools.pairwise(frames))
    other = np.ascontiguousarray(255 - frames[0][::-1])
    assert cropped.is_cut(frames[0], other)


class Ticks:
    """A track whose sample i is i."""

    pcm_rate, pcm_channels = 100, 1

    def pcm_chunks(self, fps: float):
        step = round(self.pcm_rate / fps)
        for start in range(0, 1000, step):
            yield np.arange(start, start + step, dtype=np.int16)[:, None]


@pytest.mark.parametrize(
    ("start", "seconds", "fps"), [(0, 2.0, 1.0), (3.0, 2.37, 1.0), (1.28, 0.04, 25.0)]
)
def test_an_excerpt_of_a_sound(start: float, seconds: float, fps: float) -> None:
    heard = np.concatenate(list(cropped.Excerpt(Ticks(), start, seconds).pcm_chunks(fps)))
    np.testing.assert_array_equal(heard[:, 0], 100 * start + np.arange(round(100 * seconds)))


def test_pieces_follow_one_another(clips: Path) -> None:
    """Of 16 frames: 12 and a rest too short; or 6 and 10, whole or without the third."""
    ann, broken = Clip(clips / "ann_01.mp4", "ann"), Clip(clips / "broken_01.mp4", "eve")

    def starts(most: int, frames: int, least: int) -> list[float]:
        found = pieces([ann], most, seconds=frames / 25, least_s=least / 25)
        return [25 * piece.start_s for piece in found]

    assert starts(9, 12, 10) == [0]
    assert starts(9, 6, 4) == pytest.approx([0, 6, 12])
    assert starts(2, 6, 4) == pytest.approx([0, 6])
    assert starts(1, 6, 4) == [0]
    assert list(pieces([broken], 5, seconds=1.0, least_s=0.5)) == [broken]


def test_a_later_piece_is_the_clip_from_there_on(clips: Path, tmp_path: Path) -> None:
    """Its photo is the clip's sixth frame, and its sound is heard from there."""
    later = replace(Clip(clips / "ann_01.mp4", "ann"), start_s=5 / 25)
    (done,) = prepare.prepare([later], tmp_path, PrepareOptions(FRAMES, SIZE))
    assert (done.start_s, done.frames, done.refused) == (5 / 25, FRAMES - 1, "")
    assert done.name.endswith("-00005")
    (found,) = find_examples([tmp_path])
    whole = cropped.read_cropped(later.path, FRAMES, size=SIZE, fps=25.0)
    shift = (found.truth("face", 0, 1)[0] - whole.points[5]).mean(0)
    np.testing.assert_allclose(found.truth("face", 0, 1)[0] - shift, whole.points[5], atol=1.5)
    chunks = list(AudioFile(later.path).pcm_chunks(25.0))
    heard = np.concatenate([block["audio"] for block in found.motion().frames()])
    np.testing.assert_array_equal(heard, np.concatenate(chunks[5 : 5 + done.frames]))


def test_a_piece_beyond_the_end(clips: Path, tmp_path: Path) -> None:
    later = replace(Clip(clips / "ann_01.mp4", "ann"), start_s=40.0)
    (done,) = prepare.prepare([later], tmp_path, PrepareOptions(FRAMES, SIZE))
    assert done.refused == "ann_01.mp4 ends before"
    assert done.title == "ann_01.mp4 from second 40"


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_order(jobs: int) -> None:
    assert list(in_processes(math.sqrt, [9, 4, 1], jobs)) == [3, 2, 1]
    with pytest.raises(ValueError, match=r"domain|nonnegative"):
        list(in_processes(math.sqrt, [4, -1], jobs))


def test_written_artifacts_are_ordinary_ones(example: Example) -> None:
    head = open_artifact(example.folder / "head.npz")
    assert head.kind == "head"
    assert head.meta["source"]["sha256"] == example.note.sha256
    assert example.driver().frame_count == FRAMES
