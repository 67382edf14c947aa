"""Takes of a phone: the CSV of Live Link Face (ARKit's 52 shapes and a head rotation), both ways.

Columns: Timecode hh:mm:ss:ff.fraction, BlendShapeCount, 52 shapes 0..1 in Unreal's capitals, then
angles in radians: HeadYaw (positive to the person's right), HeadPitch (down), HeadRoll (clockwise
for the viewer), and those of both eyes. The signs are those of the eyes in real takes, whose shapes
EyeLook... tell the direction, and of programs that send such angles to Unreal. There is no
position: the head turns about its neck. Gaze is read from the shapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, TextIO

import numpy as np

from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES, FaceState
from mggtalk_cli.core.rotation import angles_from_matrix, matrix_from_angles, matrix_from_quaternion
from mggtalk_cli.errors import InputError
from mggtalk_cli.motion.table import number, places, read_rows

CLOCK, COUNT = "Timecode", "BlendShapeCount"
HEAD = ("HeadYaw", "HeadPitch", "HeadRoll")
EYES = tuple(f"{side}Eye{axis}" for side in ("Left", "Right") for axis in ("Yaw", "Pitch", "Roll"))

# Unreal's order of the shapes: eyes, jaw and mouth, brows, cheeks, nose, tongue.
_EYE_SHAPES = ("Blink", "LookDown", "LookIn", "LookOut", "LookUp", "Squint", "Wide")
_PAIRS = ("Smile", "Frown", "Dimple", "Stretch")
SHAPES = (
    *(f"eye{shape}{side}" for side in ("Left", "Right") for shape in _EYE_SHAPES),
    *("jawForward", "jawRight", "jawLeft", "jawOpen"),
    *("mouthClose", "mouthFunnel", "mouthPucker", "mouthRight", "mouthLeft"),
    *(f"mouth{shape}{side}" for shape in _PAIRS for side in ("Left", "Right")),
    *("mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper"),
    *(f"mouth{x}{side}" for x in ("Press", "LowerDown", "UpperUp") for side in ("Left", "Right")),
    *("browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    *("cheekPuff", "cheekSquintLeft", "cheekSquintRight", "noseSneerLeft", "noseSneerRight"),
    "tongueOut",
)
# Ours (to image right, down, counter-clockwise) times these are the angles of a take.
HEAD_SIGNS = (-1, 1, -1)
MAY_LACK = ("TongueOut", *HEAD)  # older programs

LOOK_DEG = 30.0  # of an eye whose shape EyeLook... is 1

MAX_ROWS, MAX_S = 500_000, 4 * 3600.0
MAX_SHAPE = 2.0  # shapes overshoot 1 a little; percent would be far above
DAY_S = 86_400.0

# Frames per second that a timecode may count in, the usual one first.
RATES = (60, 30, 25, 24, 50, 48, 100, 120, 240, 1000)
_TIMECODE = re.compile(r"(\d{1,2})[:;](\d{1,2})[:;](\d{1,2}(?:\.\d+)?)(?:[:;](\d{1,3}(?:\.\d+)?))?")


class Take(NamedTuple):
    """What a phone recorded.

    Attributes:
        times_s: (n,) increasing, from 0.
        beta: (n, 52) float32 in the order of `ARKIT_NAMES`, 0..1; gaze is not in it.
        angles_deg: (n, 3) head yaw, pitch and roll as in `core.rotation`, without jumps.
        gaze_deg: (n, 2) to image right and up, relative to the head.
    """

    times_s: np.ndarray
    beta: np.ndarray
    angles_deg: np.ndarray
    gaze_deg: np.ndarray


def is_take(path: str) -> bool:
    """Return whether a file begins like a take."""
    with open(path, "rb") as file:
        start = file.read(len(CLOCK) + 8).removeprefix(b"\xef\xbb\xbf")
    return start.lstrip(b' "').lower().startswith(CLOCK.lower().encode())


# ---------------------------------------------------------------- reading


def read_take(path: str) -> Take:
    """Return the take in a CSV; rows without shapes (BlendShapeCount 0) are left out.

    Raises:
        InputError: A column is missing, a value is no number or out of range, time goes back, or
            there are no rows, or too many.
    """
    rows = read_rows(path)
    _, header = next(rows, (0, []))
    there = {name.lower() for name in header}
    numeric = [*(_capital(name) for name in ARKIT_NAMES), *HEAD]
    wanted = [name for name in numeric if name not in MAY_LACK or name.lower() in there]
    clock, *columns = places(header, [CLOCK, *wanted], path)
    counted = places(header, [COUNT], path)[0] if COUNT.lower() in there else None
    clocks: list[tuple[float, float]] = []
    values: list[np.ndarray] = []
    for line, cells in rows:
        where = f"{path}, line {line}"
        if counted is not None and cells[counted : counted + 1] in (["0"], [""]):
            continue
        if len(values) == MAX_ROWS:
            raise InputError(f"{path} has more than {MAX_ROWS} rows: cut it")
        clocks.append(_clock(cells[clock] if clock < len(cells) else "", where))
        values.append(_numbers(cells, wanted, columns, where))
    if not values:
        raise InputError(f"{path} has no rows with shapes: record the take again")
    table = np.zeros((len(values), len(numeric)), np.float32)
    table[:, [numeric.index(name) for name in wanted]] = values
    return _take(np.array(clocks), table, path)


def _numbers(cells: list[str], names: list[str], columns: list[int], where: str) -> np.ndarray:
    """Return the float32 numbers of one row, checked."""
    found = []
    for name, column in zip(names, columns, strict=True):
        limit = np.pi if name in HEAD else MAX_SHAPE
        try:
            value = float(cells[column])
        except (ValueError, IndexError):
            value = np.nan
        if not abs(value) <= limit:
            number(cells, column, limit=limit, where=f"{where}, {name}")
        found.append(value)
    return np.array(found, np.float32)


def _clock(text: str, where: str) -> tuple[float, float]:
    """Return seconds of the day and frames of a timecode."""
    match = _TIMECODE.fullmatch(text)
    if match is None:
        raise InputError(f"{where}: timecode {text[:30]!r} is not hh:mm:ss:ff.fraction")
    hours, minutes, seconds, frames = match.groups(default="0")
    return 3600.0 * int(hours) + 60.0 * int(minutes) + float(seconds), float(frames)


def _take(clocks: np.ndarray, table: np.ndarray, path: str) -> Take:
    """Return the take of (n, 2) clocks and the (n, 55) numbers of shapes and head."""
    times = _times(clocks, path)
    keep = np.r_[True, np.diff(times) > 0]  # a time told twice
    times, table = times[keep] - times[0], table[keep]
    if times[-1] > MAX_S:
        raise InputError(f"{path} lasts {times[-1] / 3600:.1f} h, at most {MAX_S / 3600:g}: cut it")
    beta, head = table[:, : len(ARKIT_NAMES)].clip(0, 1), table[:, len(ARKIT_NAMES) :]
    angles = np.unwrap(np.rad2deg(head.astype(np.float64)) * HEAD_SIGNS, period=360.0, axis=0)
    gaze = LOOK_DEG * np.stack([_looks(beta, "Out", "In"), _looks(beta, "Up", "Down")], 1)
    beta[:, [ARKIT_INDEX[name] for name in ARKIT_NAMES if name.startswith("eyeLook")]] = 0
    return Take(times, beta, angles, gaze)


def _looks(beta: np.ndarray, way: str, back: str) -> np.ndarray:
    """Return (n,) the mean look of both eyes; the right one looks out where the left looks in."""
    left, right = (
        beta[:, ARKIT_INDEX[f"eyeLook{way}{side}"]] - beta[:, ARKIT_INDEX[f"eyeLook{back}{side}"]]
        for side in ("Left", "Right")
    )
    return np.asarray((left + (-right if way == "Out" else right)) / 2)


def _times(clocks: np.ndarray, path: str) -> np.ndarray:
    """Return (n,) seconds of (n, 2) clocks, in the frame rate that spaces them most evenly."""
    most = float(clocks[:, 1].max())
    candidates = [_seconds(clocks, rate) for rate in RATES if rate > most] or [
        _seconds(clocks, RATES[-1])
    ]
    best, spread = candidates[0], np.inf
    for times in candidates:
        steps = np.diff(times)
        if len(steps) and (mean := steps.mean()) > 0:
            uneven = float(np.abs(steps - np.median(steps)).mean() / mean)
            if uneven < spread - 1e-3:
                best, spread = times, uneven
    if (np.diff(best) < 0).any():
        row = int(np.flatnonzero(np.diff(best) < 0)[0])
        raise InputError(f"{path}: time goes back after row {row + 1} of the take: sort the rows")
    return best


def _seconds(clocks: np.ndarray, rate: float) -> np.ndarray:
    times = clocks[:, 0] + clocks[:, 1] / rate
    midnights = np.cumsum(np.r_[0.0, np.diff(times) < -DAY_S / 2])
    return np.asarray(times + DAY_S * midnights)


def take_length(take: Take, fps: float) -> int:
    """Return how many frames a take gives."""
    return int(take.times_s[-1] * fps + 1e-6) + 1


def take_states(take: Take, fps: float) -> Iterator[FaceState]:
    """Yield the state of every frame, the rows being interpolated in time."""
    table = np.concatenate([take.beta, take.angles_deg, take.gaze_deg], 1)
    for index in range(take_length(take, fps)):
        now = index / fps
        after = int(np.searchsorted(take.times_s, now, "right").clip(1, max(len(table) - 1, 1)))
        before = after - 1
        after = min(after, len(table) - 1)
        span = max(float(take.times_s[after] - take.times_s[before]), 1e-9)
        share = float(np.clip((now - take.times_s[before]) / span, 0, 1))
        row = table[before] + share * (table[after] - table[before])
        beta, angles, gaze = np.split(row, [len(ARKIT_NAMES), len(ARKIT_NAMES) + 3])
        yield FaceState(
            beta=beta.astype(np.float32),
            rotation=matrix_from_angles(*angles).astype(np.float32),
            gaze=gaze.astype(np.float32),
        )


# ---------------------------------------------------------------- writing


def write_take(
    file: TextIO, beta: np.ndarray, rotation: np.ndarray, gaze_deg: np.ndarray, *, fps: float
) -> None:
    """Write a motion as a take.

    Args:
        file: Where to.
        beta: (n, 52) coefficients.
        rotation: (n, 4) head rotations, quaternions wxyz.
        gaze_deg: (n, 2) to image right and up.
        fps: Frames per second.
    """
    names = [_capital(name) for name in SHAPES]
    file.write(",".join([CLOCK, COUNT, *names, *HEAD, *EYES]) + "\n")
    order = [ARKIT_INDEX[name] for name in SHAPES]
    head = np.deg2rad(angles_from_matrix(matrix_from_quaternion(rotation))) * HEAD_SIGNS
    eyes = -np.deg2rad(gaze_deg)  # to the person's right and down
    looks = _look_shapes(gaze_deg)
    for index in range(len(beta)):
        shapes = np.maximum(beta[index], looks[index])[order].clip(0, 1)
        eye = (*eyes[index], 0.0)
        numbers = (*shapes, *head[index], *eye, *eye)
        cells = ",".join(f"{value:.8f}" for value in numbers)
        file.write(f"{_timecode(index / fps)},{len(numbers)},{cells}\n")


def _look_shapes(gaze_deg: np.ndarray) -> np.ndarray:
    """Return (n, 52) coefficients of eyes that look so."""
    shapes = np.zeros((len(gaze_deg), len(ARKIT_NAMES)), np.float32)
    across, up = gaze_deg.T / LOOK_DEG
    for side, out in (("Left", across), ("Right", -across)):
        for way, amount in (("Out", out), ("In", -out), ("Up", up), ("Down", -up)):
            shapes[:, ARKIT_INDEX[f"eyeLook{way}{side}"]] = amount
    return shapes.clip(0, 1)


def _timecode(time_s: float) -> str:
    """Return a timecode in sixtieths.

    >>> _timecode(61.5)
    '00:01:01:30.000'
    """
    whole, frames = divmod(round(time_s * RATES[0] * 1000), RATES[0] * 1000)
    hours, rest = divmod(whole, 3600)
    return f"{hours:02d}:{rest // 60:02d}:{rest % 60:02d}:{frames / 1000:06.3f}"


def _capital(name: str) -> str:
    return name[0].upper() + name[1:]
