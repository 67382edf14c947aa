"""Examples of made-up people whose drawn mouths follow a curve that their sound carries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from mggtalk_cli.core.mouth import EYE_CORNERS, MOUTH_CORNERS
from mggtalk_cli.training.example_folder import (
    CLIP,
    HEAD,
    MOTION,
    Note,
    new_folder,
    write_truth,
)

SIZE, FRAMES = 48, 40
NOTE = Note("", "", True, "CC0", "made up", "0" * 64, CLIP, 25.0, FRAMES, SIZE)


def curve(generator: np.random.Generator, frames: int = FRAMES) -> np.ndarray:
    """Return how open a mouth is at 50 Hz, 0..1, changing as slowly as syllables do."""
    raw = np.convolve(generator.normal(size=2 * frames + 10), np.ones(11) / 11**0.5, "valid")
    return np.clip(0.5 + 0.35 * raw, 0, 1)


def landmarks(frames: int = FRAMES) -> np.ndarray:
    points = np.full((frames, 468, 2), SIZE / 2, np.float32)
    for corner, x in zip(EYE_CORNERS, (12, 36), strict=True):
        points[:, corner] = x, 16
    for corner, x in zip(MOUTH_CORNERS, (18, 30), strict=True):
        points[:, corner] = x, 34
    return points


def faces(opening: np.ndarray, skin: np.ndarray) -> np.ndarray:
    """Return (n, SIZE, SIZE, 3) uint8: a plain face with a dark ellipse for a mouth."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    frames = np.empty((len(opening), SIZE, SIZE, 3), np.uint8)
    for frame, share in zip(frames, opening, strict=True):
        inside = ((x - 24) / 6) ** 2 + ((y - 34) / (0.5 + 5 * share)) ** 2 < 1
        frame[:] = np.where(inside[..., None], 30, skin)
    return frames


def write_example(
    place: Path,
    person: str,
    number: int,
    *,
    ship: bool = True,
    frames: int = FRAMES,
    cepstra: bool = True,
) -> Path:
    """Write one example, with cepstra or as older ones are; head and motion are never looked at."""
    generator = np.random.default_rng([ord(c) for c in person] + [number])
    opening = curve(generator, frames)
    axis = np.random.default_rng(1).normal(size=13)
    sound = np.repeat(opening, 2)[:, None] * 4 * axis + generator.normal(0, 0.3, (4 * frames, 13))
    note = replace(NOTE, name=f"{person}-{number}", identity=person, ship=ship, frames=frames)
    place.mkdir(exist_ok=True)
    cells = SIZE // 4
    with new_folder(place, note) as folder:
        for name in (HEAD, MOTION):
            (folder / name).write_bytes(b"not looked at")
        truth = {
            "frames": faces(opening[::2], generator.integers(120, 220, 3)),
            "person": np.full((frames, SIZE, SIZE), 255, np.uint8),
            "face": landmarks(frames),
            "render": np.zeros((frames, SIZE, SIZE, 4), np.uint8),
            "flow": np.zeros((frames, cells, cells, 2), np.float16),
            "trust": np.zeros((frames, cells, cells), np.uint8),
            "audio_features": np.zeros((2 * frames, 384), np.float16),
        }
        if cepstra:
            truth["cepstra"] = sound.astype(np.float32)
        write_truth(folder, truth)
    return place / note.name
