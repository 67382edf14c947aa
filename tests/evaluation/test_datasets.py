from __future__ import annotations

from pathlib import Path

import pytest

from mggtalk_cli.cli.reports import Layout
from mggtalk_cli.errors import InputError
from mggtalk_cli.evaluation.datasets import LAYOUTS, find_clips
from mggtalk_cli.evaluation.runs import check_names


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"clip")
    return folder


def named(folder: Path, layout: str) -> list[tuple[str, str]]:
    sources = find_clips([folder], layout)
    check_names(sources)
    return [(source.name, source.detail.identity) for source in sources]


def test_command_line_knows_every_layout() -> None:
    assert [layout.value for layout in Layout] == list(LAYOUTS)


def test_plain(tmp_path: Path) -> None:
    make(tmp_path, "obama_02.mp4", "obama_01.mkv", "may.MOV", "readme.txt", "._may.MOV", "x/y.mp4")
    assert named(tmp_path, "plain") == [
        ("may", "may"),
        ("obama_01", "obama"),
        ("obama_02", "obama"),
    ]


def test_hdtf(tmp_path: Path) -> None:
    make(
        tmp_path,
        *("RD_Radio1_000.mp4", "RD_Radio2_000.mp4", "WDA_BernieSanders0_000.mp4"),
        *("WDA_BernieSanders1_001.mp4", "WRA_MarcoRubio_000.mp4", "RD_Radio10_0_clip_3.mp4"),
        *("_videos_raw/RD_Radio1.mp4", "other.mp4"),
    )
    assert named(tmp_path, "hdtf") == [
        ("RD_Radio10_0_clip_3", "Radio10"),
        ("RD_Radio1_000", "Radio1"),
        ("RD_Radio2_000", "Radio2"),
        ("WDA_BernieSanders0_000", "BernieSanders"),
        ("WDA_BernieSanders1_001", "BernieSanders"),
        ("WRA_MarcoRubio_000", "MarcoRubio"),
    ]


@pytest.mark.parametrize("above", ["", "mono_flame_avatar/"])
def test_nersemble(tmp_path: Path, above: str) -> None:
    make(
        tmp_path,
        f"{above}388/sequences/FREE/images/cam_222200037.mp4",
        f"{above}388/sequences/FREE/images/cam_222200046.mp4",
        f"{above}388/sequences/FREE/alpha_maps/cam_222200037.mp4",
        f"{above}388/sequences/HAIR/images/cam_222200046.mp4",
        f"{above}388/sequences/HAIR/images/cam_222200042.mp4",
        f"{above}393/sequences/EXP-1-head/images/cam_220700191.mp4",
        f"{above}388/calibration/camera_params.json",
    )
    assert named(tmp_path, "nersemble") == [
        ("388_FREE", "388"),
        ("393_EXP-1-head_cam_220700191", "393"),
    ]


@pytest.mark.parametrize("below", ["", "processed/"])
def test_celebvhq(tmp_path: Path, below: str) -> None:
    make(tmp_path, f"{below}-2KGPYEFnsU_11.mp4", f"{below}M2Ohb0FAaJU_1.mp4", "raw/M2Ohb0FAaJU.mp4")
    assert named(tmp_path, "celebvhq") == [
        ("-2KGPYEFnsU_11", "-2KGPYEFnsU"),
        ("M2Ohb0FAaJU_1", "M2Ohb0FAaJU"),
    ]


def test_clips_of_one_name_get_that_of_their_folder_and_no_clip_counts_twice(
    tmp_path: Path,
) -> None:
    make(tmp_path, "a/x.mp4", "b/x.mp4", "b/y.mp4")
    folders = [tmp_path / "a", tmp_path / "b", tmp_path / "b/y.mp4"]
    assert [source.name for source in find_clips(folders)] == ["a_x", "b_x", "y"]


def test_a_clip_named_by_itself_is_taken_in_any_layout(tmp_path: Path) -> None:
    clip = make(tmp_path, "holiday.mp4") / "holiday.mp4"
    for layout in LAYOUTS:
        (source,) = find_clips([clip], layout)
        assert (source.name, source.files, source.detail.identity) == (
            "holiday",
            (clip,),
            "holiday",
        )


def test_what_is_not_there(tmp_path: Path) -> None:
    for layout, expected in (
        ("plain", "side by side"),
        ("hdtf", "WDA_"),
        ("nersemble", "PPP/sequences"),
        ("celebvhq", "processed/"),
    ):
        with pytest.raises(InputError, match=expected):
            find_clips([tmp_path], layout)
    with pytest.raises(InputError, match="does not exist"):
        find_clips([tmp_path / "no"])
    with pytest.raises(InputError, match="choose from plain, hdtf"):
        find_clips([tmp_path], "voxceleb")
