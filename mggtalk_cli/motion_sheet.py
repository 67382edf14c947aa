"""A picture of a motion artifact: sound, phones, mouth, blinks and head over time.

Rows of six seconds for the first half minute; before them, if there is more, one row with all.
Opening and width are those of the mean face (see `core.mouth`), so motions can be compared.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
from typing import NamedTuple

import numpy as np
import scipy.signal
from PIL import Image, ImageDraw, ImageFont

from mggtalk_cli import face
from mggtalk_cli.artifacts.reading import Artifact
from mggtalk_cli.core.audio import ANALYSIS_RATE
from mggtalk_cli.core.expression import ARKIT_INDEX
from mggtalk_cli.core.mouth import MouthCurves, model_mouth
from mggtalk_cli.core.rotation import angles_from_matrix, matrix_from_quaternion
from mggtalk_cli.motion.phonemes import SILENCE, Phone, decode_phones
from mggtalk_cli.motion.visemes import BILABIALS
from mggtalk_cli.motion.voice import Voice, voice_pieces

ROW_S, ROWS = 6.0, 5  # seconds in a row, and rows at most
LEVEL_RATE = 200  # extremes of the sound kept per second
CLOSED_GAP = 0.012  # lips nearer than this count as closed (about 1 mm): the line in `opening`

NAMES_PX, TIME_PX = 84, 1200  # px: names, then time
SOUND_PX, PHONES_PX, _AXIS_PX, _GAP_PX = 50, 28, 16, 4
_PAPER, _INK, _GRID, SOUND_COLOR = (245, 245, 245), (40, 40, 40), (215, 215, 215), (120, 130, 140)
COLORS = ((200, 60, 50), (50, 100, 200), (60, 150, 80))


class Band(NamedTuple):
    """Curves over time that share a scale: name -> (n,), with its limits and height in px."""

    curves: dict[str, np.ndarray]
    low: float
    high: float
    height: int
    mark: float | None = None


class Heard(NamedTuple):
    """The sound of a motion: extremes (m, 2) of -1..1 at 200 Hz, and phones of its beginning."""

    levels: np.ndarray
    phones: list[Phone]


def motion_sheet(artifact: Artifact) -> np.ndarray:
    """Return a (H, W, 3) uint8 picture of a motion artifact; its sound is read once."""
    fps = float(artifact.meta["fps"])
    seconds = len(artifact.arrays["beta"]) / fps
    bands, heard = _bands(artifact), _hear(artifact)
    starts = [index * ROW_S for index in range(min(ROWS, max(1, math.ceil(seconds / ROW_S))))]
    rows = [_row(bands, heard, start, start + ROW_S, fps) for start in starts]
    if seconds > ROWS * ROW_S:
        rows.insert(0, _row(bands, heard._replace(phones=[]), 0.0, seconds, fps))
    return np.concatenate(rows)


def _bands(artifact: Artifact) -> list[Band]:
    arrays = artifact.arrays
    beta, mouth = arrays["beta"], _mouth(artifact)
    angles = angles_from_matrix(matrix_from_quaternion(arrays["rotation"]))
    turned = max(5.0, float(np.abs(angles).max()))
    width = mouth.width - np.median(mouth.width)
    spread = max(0.05, float(np.abs(width).max()))
    blinks = {side: beta[:, ARKIT_INDEX[f"eyeBlink{side}"]] for side in ("Left", "Right")}
    head = {name: angles[:, i] for i, name in enumerate(("yaw", "pitch", "roll"))}
    opened = max(0.1, float(mouth.opening.max()))
    jaw = beta[:, ARKIT_INDEX["jawOpen"]] * opened  # drawn on a scale of its own, 0..1
    return [
        Band({"opening": mouth.opening, "jawOpen": jaw}, 0.0, opened, 70, mark=CLOSED_GAP),
        Band({"width": width}, -spread, spread, 44, mark=0.0),
        Band({f"blink {side[0]}": curve for side, curve in blinks.items()}, 0.0, 1.0, 40),
        Band({f"{name} deg": curve for name, curve in head.items()}, -turned, turned, 60, mark=0.0),
    ]


def _mouth(artifact: Artifact) -> MouthCurves:
    """Return opening and width of the mean face in this motion."""
    model, beta = face.load_face_model(), artifact.arrays["beta"]
    landmarks = model.landmarks(beta, np.zeros(len(model.landmark_identity), np.float32))
    residual = artifact.arrays.get("residual")
    return model_mouth(landmarks if residual is None else landmarks + residual)


# ---------------------------------------------------------------- sound


def _hear(artifact: Artifact) -> Heard:
    """Return the sound's extremes, and the phones of what is drawn in rows."""
    audio = artifact.meta.get("audio")
    if audio is None:
        return Heard(np.zeros((0, 2)), [])
    levels, beginning = [], []
    for second, frame in enumerate(artifact.frames()):
        mono = frame["audio"].mean(axis=1, dtype=np.float32) / 32768
        edges = np.linspace(0, len(mono), LEVEL_RATE, endpoint=False).astype(int)
        if len(mono) >= LEVEL_RATE:
            extremes = (np.minimum.reduceat(mono, edges), np.maximum.reduceat(mono, edges))
            levels.append(np.stack(extremes, axis=1))
        if second < ROWS * ROW_S:
            beginning.append(mono)
    return Heard(np.concatenate([np.zeros((0, 2)), *levels]), _phones(beginning, audio["rate"]))


def _phones(blocks: list[np.ndarray], rate: int) -> list[Phone]:
    """Return the phones of blocks of mono sound; none without the decoder."""
    if not blocks or importlib.util.find_spec("pocketsphinx") is None:
        return []
    common = math.gcd(rate, ANALYSIS_RATE)
    sound = scipy.signal.resample_poly(
        np.concatenate(blocks), ANALYSIS_RATE // common, rate // common
    ).astype(np.float32)
    return list(decode_phones([sound], Voice(voice_pieces([sound]))))


# ---------------------------------------------------------------- drawing


def _row(bands: list[Band], heard: Heard, start_s: float, stop_s: float, fps: float) -> np.ndarray:
    """Return all bands from one time to another, below each other."""
    heights = [SOUND_PX, PHONES_PX, *(band.height + _GAP_PX for band in bands)]
    image = Image.new("RGB", (NAMES_PX + TIME_PX, sum(heights) + _AXIS_PX + 2 * _GAP_PX), _PAPER)
    draw = ImageDraw.Draw(image)
    step = 1.0 if stop_s - start_s <= ROW_S else max(10.0, round((stop_s - start_s) / 120) * 10.0)
    for second in np.arange(start_s, stop_s + 1e-6, step):
        x = _x(second, start_s, stop_s)
        draw.line((x, 0, x, sum(heights)), fill=_GRID)
        draw.text((x + 2, sum(heights)), f"{second:g} s", _INK, ImageFont.load_default(11))
    _draw_sound(draw, heard.levels, start_s, stop_s)
    _draw_phones(draw, heard.phones, start_s, stop_s)
    top = SOUND_PX + PHONES_PX
    for band in bands:
        _draw_band(draw, band, top, start_s, stop_s, fps)
        top += band.height + _GAP_PX
    draw.line((0, image.height - 1, image.width, image.height - 1), fill=_INK)
    return np.asarray(image)


def _x(seconds: float, start_s: float, stop_s: float) -> float:
    return NAMES_PX + (seconds - start_s) / (stop_s - start_s) * (TIME_PX - 1)


def _draw_sound(
    draw: ImageDraw.ImageDraw, levels: np.ndarray, start_s: float, stop_s: float
) -> None:
    loudest = max(float(np.abs(levels).max(initial=0.0)), 1e-3)
    columns = np.linspace(start_s, stop_s, TIME_PX + 1) * LEVEL_RATE
    draw.text((4, SOUND_PX // 2 - 6), "sound", SOUND_COLOR, ImageFont.load_default(12))
    for column, (first, last) in enumerate(itertools.pairwise(columns)):
        inside = levels[int(first) : max(int(last), int(first) + 1)]
        if len(inside):
            low, high = inside[:, 0].min() / loudest, inside[:, 1].max() / loudest
            middle, half = SOUND_PX / 2, SOUND_PX / 2 - 2
            x = NAMES_PX + column
            draw.line((x, middle - half * high, x, middle - half * low), fill=SOUND_COLOR)


def _draw_phones(
    draw: ImageDraw.ImageDraw, phones: list[Phone], start_s: float, stop_s: float
) -> None:
    font = ImageFont.load_default(11)
    if phones:
        draw.text((4, SOUND_PX), "phones", _INK, ImageFont.load_default(12))
    for number, phone in enumerate(phones):
        begin, end = max(phone.start_s, start_s), min(phone.end_s, stop_s)
        if end <= begin or phone.name == SILENCE:
            continue
        left, right = _x(begin, start_s, stop_s), _x(end, start_s, stop_s)
        draw.line((left, SOUND_PX, left, SOUND_PX + PHONES_PX), fill=_GRID)
        ink = COLORS[0] if phone.name in BILABIALS else _INK
        middle = (left + right - draw.textlength(phone.name, font)) / 2
        # Two lines in turn: short phones are narrower than their names.
        draw.text((middle, SOUND_PX + 1 + number % 2 * 12), phone.name, ink, font)


def _draw_band(
    draw: ImageDraw.ImageDraw, band: Band, top: int, start_s: float, stop_s: float, fps: float
) -> None:
    """Draw the curves of one band with their names and limits."""
    font = ImageFont.load_default(11)

    def to_y(value: np.ndarray | float) -> np.ndarray:
        share = (np.clip(value, band.low, band.high) - band.low) / (band.high - band.low)
        return np.asarray(top + 1 + (1 - share) * (band.height - 2))

    draw.line((0, top, NAMES_PX + TIME_PX, top), fill=_GRID)
    if band.mark is not None:
        y = float(to_y(band.mark))
        draw.line((NAMES_PX, y, NAMES_PX + TIME_PX, y), fill=_GRID)
    for place, (name, curve) in enumerate(band.curves.items()):
        color = COLORS[place]
        draw.text((4, top + 1 + 12 * place), name, color, font)
        first, last = int(start_s * fps), min(math.ceil(stop_s * fps) + 1, len(curve))
        # A curve needs no more than two places per pixel column.
        count = min(last - first, 2 * TIME_PX)
        if count < 2:
            continue
        places = np.unique(np.linspace(first, last - 1, count).astype(int))
        across = NAMES_PX + (places / fps - start_s) / (stop_s - start_s) * (TIME_PX - 1)
        points = np.stack([across, to_y(curve[places])], axis=1)
        draw.line([tuple(point) for point in points], fill=color, width=2)
    limits = f"0 to {band.high:.2g}" if band.low == 0 else f"+-{band.high:.2g}"
    draw.text((4, top + band.height - 13), limits, _INK, font)
