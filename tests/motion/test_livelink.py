"""Takes of a phone: what Live Link Face writes is read by time, and bad files are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES
from mggtalk_cli.core.rotation import (
    angles_from_matrix,
    matrix_from_angles,
    matrix_from_quaternion,
    quaternion_from_matrix,
)
from mggtalk_cli.errors import InputError
from mggtalk_cli.motion import livelink
from mggtalk_cli.motion.livelink import (
    EYES,
    HEAD,
    LOOK_DEG,
    SHAPES,
    is_take,
    read_take,
    take_length,
    take_states,
    write_take,
)

CAPITALS = [name[0].upper() + name[1:] for name in SHAPES]
HEADER = ["Timecode", "BlendShapeCount", *CAPITALS, *HEAD, *EYES]
JAW = ARKIT_INDEX["jawOpen"]


def row(time: str, count: int = 61, **values: float) -> list[str]:
    return [time, str(count), *(str(values.get(name, 0.0)) for name in HEADER[2:])]


def write(path: Path, *rows: list[str], header: list[str] = HEADER, start: str = "") -> str:
    lines = [",".join(cells) for cells in (header, *rows)]
    path.write_bytes((start + "\r\n".join(lines) + "\r\n").encode())
    return str(path)


@pytest.fixture
def take(tmp_path: Path) -> Path:
    return tmp_path / "take.csv"


def test_names_are_arkits() -> None:
    assert sorted(SHAPES) == sorted(ARKIT_NAMES)


def test_a_phones_rows_at_sixty_frames(take: Path) -> None:
    """The timecode of a real take starts anywhere; frames count to 59."""
    rows = []
    for i in range(121):
        second, frame = divmod(50 + i, 60)
        code = f"11:59:{second:02d}:{frame:02d}.123"
        rows.append(row(code, JawOpen=i / 120, HeadYaw=0.2, HeadPitch=-0.1, HeadRoll=0.3))
    path = write(take, *rows, start="\ufeff")
    assert is_take(path)
    read = read_take(path)
    np.testing.assert_allclose(read.times_s, np.arange(121) / 60, atol=1e-9)
    assert take_length(read, 25.0) == 51
    states = list(take_states(read, 25.0))
    np.testing.assert_allclose([s.beta[JAW] for s in states], np.arange(51) / 50, atol=1e-6)
    # The person's right is image left; down is our pitch.
    np.testing.assert_allclose(
        angles_from_matrix(states[7].rotation), np.rad2deg([-0.2, -0.1, -0.3]), atol=1e-4
    )


def test_written_angles_have_the_signs_of_real_takes(take: Path) -> None:
    """Nose and eyes down and to the person's right (image left) are positive in a real take."""
    turn = quaternion_from_matrix(matrix_from_angles(-10, 5, 0))[None]
    with take.open("w") as file:
        write_take(file, np.zeros((1, 52)), turn, np.array([[-9.0, -6.0]]), fps=25.0)
    header, line = (text.split(",") for text in take.read_text().splitlines())
    found = dict(zip(header, line, strict=True))
    degrees = {name: np.rad2deg(float(found[name])) for name in (*HEAD, *EYES)}
    assert degrees["HeadYaw"] == pytest.approx(10, abs=1e-3)
    assert degrees["HeadPitch"] == pytest.approx(5, abs=1e-3)
    assert degrees["LeftEyeYaw"] == degrees["RightEyeYaw"] == pytest.approx(9, abs=1e-3)
    assert degrees["LeftEyePitch"] == degrees["RightEyePitch"] == pytest.approx(6, abs=1e-3)
    assert float(found["EyeLookOutRight"]) == pytest.approx(0.3, abs=1e-3)
    assert float(found["EyeLookDownLeft"]) == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("rate", [24, 25, 30, 50, 60])
def test_rate_comes_from_the_timecodes(take: Path, rate: int) -> None:
    rows = [row(f"00:00:{i // rate:02d}:{i % rate:02d}.000") for i in range(3 * rate)]
    read = read_take(write(take, *rows))
    np.testing.assert_allclose(read.times_s, np.arange(3 * rate) / rate, atol=1e-9)


def test_lost_rows_are_bridged_and_midnight_is_passed(take: Path) -> None:
    codes = ["23:59:59:56.0", "23:59:59:57.0", "23:59:59:58.0", "00:00:00:02.0", "00:00:00:03.0"]
    rows = [row(code, count=0 if i == 2 else 61, JawOpen=0.1 * i) for i, code in enumerate(codes)]
    rows[2] = [codes[2], "0"]  # what the app writes without a face
    read = read_take(write(take, *rows))
    assert len(read.beta) == 4
    np.testing.assert_allclose(read.times_s, np.array([0, 1, 6, 7]) / 60, atol=1e-9)
    states = list(take_states(read, 60.0))
    np.testing.assert_allclose(
        [s.beta[JAW] for s in states[1:7]], np.linspace(0.1, 0.3, 6), atol=1e-6
    )


def test_gaze_comes_from_the_look_shapes(take: Path) -> None:
    """Both eyes to the person's left, image right: the left one looks out, the right one in."""
    left = {"EyeLookOutLeft": 0.4, "EyeLookInRight": 0.4}
    left |= {"EyeLookUpLeft": 0.2, "EyeLookUpRight": 0.2}
    read = read_take(write(take, row("0:0:0:0", **left)))
    np.testing.assert_allclose(read.gaze_deg, [[0.4 * LOOK_DEG, 0.2 * LOOK_DEG]], atol=1e-5)
    assert not read.beta.any()


def test_older_programs_lack_tongue_and_head(take: Path) -> None:
    header = [name for name in HEADER[:54] if name != "TongueOut"]
    read = read_take(write(take, row("0:0:0:0", JawOpen=0.5)[: len(header)], header=header))
    assert read.beta[0, JAW] == 0.5
    assert not read.angles_deg.any()


def motion(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(1)
    beta = random.uniform(0, 1, (count, 52)).astype(np.float32)
    beta[:, [i for i, name in enumerate(ARKIT_NAMES) if name.startswith("eyeLook")]] = 0
    angles = np.cumsum(random.normal(0, 1, (count, 3)), 0)
    rotation = quaternion_from_matrix(np.stack([matrix_from_angles(*a) for a in angles]))
    return beta, rotation, random.uniform(-25, 25, (count, 2))


@pytest.mark.parametrize("fps", [25.0, 30.0, 12.5, 60.0, 2.0])
def test_written_and_read_again(take: Path, fps: float) -> None:
    beta, rotation, gaze = motion(70)
    with take.open("w", encoding="utf-8") as file:
        write_take(file, beta, rotation, gaze, fps=fps)
    states = list(take_states(read_take(str(take)), fps))
    assert len(states) == 70
    np.testing.assert_allclose(np.stack([s.beta for s in states]), beta, atol=1e-6)
    np.testing.assert_allclose(np.stack([s.gaze for s in states]), gaze, atol=1e-4)
    np.testing.assert_allclose(
        np.stack([s.rotation for s in states]), matrix_from_quaternion(rotation), atol=1e-5
    )


def test_written_header_is_the_apps(take: Path) -> None:
    with take.open("w", encoding="utf-8") as file:
        write_take(file, *motion(1), fps=25.0)
    header, first = take.read_text("utf-8").splitlines()
    assert header.split(",") == HEADER
    assert header.startswith("Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft")
    assert first.startswith("00:00:00:00.000,61,")
    assert len(first.split(",")) == len(HEADER)


def test_a_head_that_turns_past_the_back_has_no_jump(take: Path) -> None:
    rows = [row(f"0:0:0:{i}", HeadYaw=x) for i, x in enumerate((3.1, 3.13, -3.13, -3.1))]
    read = read_take(write(take, *rows))
    assert np.abs(np.diff(read.angles_deg[:, 0])).max() < 2


GOOD = row("0:0:0:0")


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], HEADER, "no rows with shapes"),
        ([["0:0:0:0", "0"]], HEADER, "no rows with shapes"),
        (
            [GOOD],
            [n for n in HEADER if n != "JawOpen"],
            "no column JawOpen",
        ),
        ([GOOD], [*HEADER, "JawOpen"], "JawOpen appears twice"),
        ([row("0:0:0:0", JawOpen=45.0)], HEADER, "line 2, JawOpen: '45.0' is no number within"),
        ([row("0:0:0:0", JawOpen=np.nan)], HEADER, "line 2, JawOpen: 'nan'"),
        ([row("0:0:0:0", HeadYaw=20.0)], HEADER, "HeadYaw: '20.0'"),
        ([row("noon")], HEADER, "timecode 'noon' is not hh:mm:ss:ff"),
        ([GOOD[:20]], HEADER, "line 2, .*: '' is no number"),
        ([row("0:0:9:0"), row("0:0:1:0")], HEADER, "time goes back after row 1"),
        ([row("0:0:0:0"), row("9:0:0:0")], HEADER, "lasts 9.0 h, at most 4"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_takes_are_refused(
    take: Path, rows: list[list[str]], header: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_take(write(take, *rows, header=header))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"Timecode,\xff\xfe\n", "no CSV text"),
        (b'Timecode,"JawOpen\n', "no CSV text"),
        (b"Timecode" + b"," * 2**16, "longer than"),
        (b"Timecode,\x00JawOpen\n", "no column|no CSV text"),  # by the version of Python
    ],
)
def test_no_text_is_refused(take: Path, data: bytes, message: str) -> None:
    take.write_bytes(data)
    with pytest.raises(InputError, match=message):
        read_take(str(take))


def test_rows_are_bounded(take: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(livelink, "MAX_ROWS", 2)
    path = write(take, *(row(f"0:0:0:{i}") for i in range(3)))
    with pytest.raises(InputError, match="more than 2 rows"):
        read_take(path)


def test_other_files_are_no_takes(take: Path) -> None:
    take.write_text("time,yaw\n0,1\n")
    assert not is_take(str(take))
    take.write_bytes(b"")
    assert not is_take(str(take))
