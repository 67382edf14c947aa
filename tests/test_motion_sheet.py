"""The picture of a motion: curves where they belong, rows for the first half minute, pipes."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from mggtalk_cli import motion_sheet
from mggtalk_cli.artifacts.memory import in_memory, save
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.cli.app import app
from mggtalk_cli.core.expression import ARKIT_INDEX

FPS, RATE = 25, 8000


def talking(seconds: float, *, voiced: bool = True) -> Artifact:
    """A motion with its mouth open and its sound loud in the second second only."""
    count = round(seconds * FPS)
    beta = np.zeros((count, 52), np.float32)
    beta[FPS : 2 * FPS, ARKIT_INDEX["jawOpen"]] = 0.5
    quiet = np.zeros((RATE, 1), np.int16)
    noise = np.random.default_rng(0).integers(-9000, 9000, (RATE, 1)).astype(np.int16)
    blocks = [noise if index == 1 else quiet for index in range(int(np.ceil(seconds)))]
    arrays = {
        "beta": beta,
        "rotation": np.tile(np.float32([1, 0, 0, 0]), (count, 1)),
        "translation": np.zeros((count, 3), np.float32),
        "gaze": np.zeros((count, 2), np.float32),
        "confidence": np.ones(count, np.float32),
        "reference_beta": np.zeros(52, np.float32),
        "reference_rotation": np.float32([1, 0, 0, 0]),
        "reference_translation": np.zeros(3, np.float32),
        "reference_gaze": np.zeros(2, np.float32),
    }
    audio = {"rate": RATE, "channels": 1} if voiced else None
    meta = {"fps": FPS, "source": "audio", "audio": audio, "camera": None}
    frames = [{"audio": block} for block in blocks] if voiced else []
    return in_memory("motion", meta, arrays, frames)


def ink(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Return the columns (of the time axis) in which a colour was drawn, as seconds in a row."""
    found = (picture == color).all(-1).any(0)
    columns = np.flatnonzero(found) - motion_sheet.NAMES_PX
    return columns[columns >= 0] / motion_sheet.TIME_PX * motion_sheet.ROW_S


def test_sound_and_opening_are_where_they_happen() -> None:
    picture = motion_sheet.motion_sheet(talking(3))
    sounding = picture[: motion_sheet.SOUND_PX // 4]
    loud = ink(sounding, motion_sheet.SOUND_COLOR)
    assert (loud.min(), loud.max()) == pytest.approx((1, 2), abs=0.03)
    top = motion_sheet.SOUND_PX + motion_sheet.PHONES_PX
    open_mouth = ink(picture[top : top + 10], motion_sheet.COLORS[0])
    assert (open_mouth.min(), open_mouth.max()) == pytest.approx((1, 2), abs=0.1)


@pytest.mark.parametrize(("seconds", "rows"), [(0.2, 1), (7, 2), (30, 5), (300, 6)])
def test_long_motions_get_one_row_more(seconds: float, rows: int) -> None:
    one = motion_sheet.motion_sheet(talking(1, voiced=False)).shape
    picture = motion_sheet.motion_sheet(talking(seconds, voiced=False))
    assert picture.dtype == np.uint8
    assert picture.shape == (rows * one[0], one[1], 3)


def test_a_piped_motion_has_a_sheet(tmp_path: Path) -> None:
    stream = io.BytesIO()
    save(talking(2), stream)
    sheet = tmp_path / "sheet.png"
    result = CliRunner().invoke(app, ["inspect", "-", "--sheet", str(sheet)], stream.getvalue())
    assert result.exit_code == 0, result.stderr
    with Image.open(sheet) as picture:
        assert picture.width > motion_sheet.TIME_PX
