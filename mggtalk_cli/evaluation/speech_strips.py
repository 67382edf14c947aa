"""Mouths beside phones, to be looked at: one picture per phone of a spoken stretch.

Closures have to be closed, vowels open, and nothing torn. The phones are those of the free
decoder: rough, but right enough to see what the mouth was asked for.
"""

from __future__ import annotations

import importlib.util
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mggtalk_cli import face
from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.image import crop_square
from mggtalk_cli.core.mouth import EYE_CORNERS, MOUTH_CORNERS
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import BackendError
from mggtalk_cli.evaluation.speech import FPS, SECONDS
from mggtalk_cli.motion.phonemes import SILENCE, Phone, decode_phones
from mggtalk_cli.motion.visemes import BILABIALS
from mggtalk_cli.motion.voice import Voice, voice_track

PHONES = 24  # in a strip: a short sentence
CELL_PX, NAME_PX, LINE_PX = 96, 110, 18
CROP = 1.05  # side of a cell's crop, in distances of the outer eye corners
PAPER, INK, CLOSED_INK = (245, 245, 245), (40, 40, 40), (190, 40, 40)


class Sentence(NamedTuple):
    """Phones in a row: their names, and the frame at 25 fps in the middle of each."""

    phones: list[str]
    frames: list[int]


def sentence(sound: Path, *, seconds: float = SECONDS) -> Sentence:
    """Return the stretch of a sound's beginning with the most p, b, m in it.

    Raises:
        BackendError: pocketsphinx is not installed.
    """
    if importlib.util.find_spec("pocketsphinx") is None:
        raise BackendError("strips need pocketsphinx for the phones: pip install pocketsphinx")
    audio = AudioFile(sound)
    decoded = decode_phones(audio.blocks_16k_mono(), Voice([voice_track(audio)]))
    heard = takewhile(lambda phone: phone.end_s < seconds, decoded)
    shown = fullest([phone for phone in heard if phone.name != SILENCE])
    return Sentence(
        [phone.name for phone in shown],
        [int((phone.start_s + phone.end_s) / 2 * FPS) for phone in shown],
    )


def fullest(phones: list[Phone]) -> list[Phone]:
    """Return `PHONES` phones in a row with the most closures, the earliest of equals."""
    closures = np.array([phone.name in BILABIALS for phone in phones], int)
    starts = range(max(len(phones) - PHONES, 0) + 1)
    best = max(starts, key=lambda start: (closures[start : start + PHONES].sum(), -start))
    return phones[best : best + PHONES]


def clip_pictures(path: Path, frames: list[int]) -> dict[int, np.ndarray]:
    """Return some frames of a clip at 25 fps, by index."""
    reader = islice(VideoReader(path, fps=FPS), max(frames, default=-1) + 1)
    return {index: frame for index, frame in enumerate(reader) if index in frames}


def strip(name: str, pictures: dict[int, np.ndarray], frames: list[int]) -> np.ndarray:
    """Return a row of mouths (CELL_PX, width, 3) uint8: a name, then one cell per frame."""
    cells = [_mouth(pictures.get(index)) for index in frames]
    title = Image.new("RGB", (NAME_PX, CELL_PX), PAPER)
    ImageDraw.Draw(title).text((4, CELL_PX // 2), name, INK, ImageFont.load_default(12))
    blank = [np.full((CELL_PX, CELL_PX, 3), PAPER, np.uint8)] * (PHONES - len(cells))
    return np.hstack([np.asarray(title), *cells, *blank])


def heading(name: str, phones: list[str]) -> np.ndarray:
    """Return a line (LINE_PX, width, 3) uint8 with the phones; p, b, m stand out."""
    line = Image.new("RGB", (NAME_PX + PHONES * CELL_PX, LINE_PX), PAPER)
    draw, font = ImageDraw.Draw(line), ImageFont.load_default(12)
    draw.text((4, 2), name, INK, font)
    for place, phone in enumerate(phones):
        ink = CLOSED_INK if phone in BILABIALS else INK
        draw.text((NAME_PX + (place + 0.4) * CELL_PX, 2), phone, ink, font)
    return np.asarray(line)


def _mouth(picture: np.ndarray | None) -> np.ndarray:
    """Return the mouth of a picture as one cell; paper where there is none."""
    faces = None if picture is None else face.detect_faces(picture)
    if picture is None or faces is None or not len(faces):
        return np.full((CELL_PX, CELL_PX, 3), PAPER, np.uint8)
    points = face.find_landmarks(picture, faces.keypoints[0]).points
    points = face.find_landmarks(picture, points).points
    centre = points[list(MOUTH_CORNERS), :2].mean(0)
    right, left = points[list(EYE_CORNERS), :2]
    side = CROP * float(np.linalg.norm(right - left))
    return crop_square(picture, (float(centre[0]), float(centre[1])), side, CELL_PX).image
