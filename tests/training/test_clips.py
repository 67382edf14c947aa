"""Who speaks in which clip, with and without a manifest."""

from __future__ import annotations

from pathlib import Path

import pytest

from mggtalk_cli.errors import InputError
from mggtalk_cli.training.clips import MANIFEST, find_clips

COLUMNS = "file\tidentity\tship\tkind\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    clips = tmp_path / "clips" / "inner"
    clips.mkdir(parents=True)
    for name in ("ann_01", "ann_02", "bob", "cyd_02"):
        (clips / f"{name}.mp4").touch()
    return clips


def test_the_file_name_says_who_speaks(folder: Path) -> None:
    clips = find_clips([str(folder)])
    assert [clip.speaker for clip in clips] == ["ann", "ann", "bob", "cyd"]
    assert all(clip.ship for clip in clips)


def test_a_manifest_above_names_speakers_and_leaves_out(folder: Path) -> None:
    rows = [
        "clips/inner/ann_01.mp4\tAnn\tyes\ttalk",
        "clips/inner/bob.mp4\tBob\tno\ttalk",
        "clips/inner/cyd_02.mp4\tCyd\tno\ttalk_synthetic",
    ]
    (folder.parents[1] / MANIFEST).write_text(COLUMNS + "\n".join(rows), encoding="utf-8")
    clips = find_clips([str(folder)])
    assert [(clip.speaker, clip.ship) for clip in clips] == [("Ann", True), ("Bob", False)]


@pytest.mark.parametrize("text", ["file\tspeaker\nx\ty\n", COLUMNS, COLUMNS + "clips/bob.mp4\n"])
def test_a_manifest_that_does_not_fit(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=MANIFEST):
        find_clips([str(folder)])
