"""Small valid artifacts of every kind, as (kind, meta, arrays, frames)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

KIND_NAMES = ("head", "points", "frames", "motion")


class Sample(NamedTuple):
    kind: str
    meta: dict[str, Any]
    arrays: dict[str, np.ndarray]
    frames: list[dict[str, np.ndarray]] | None


def make_sample(kind: str, count: int = 3) -> Sample:
    """Return a valid artifact: 6 x 8 px, two sheets (4 x 3 and 2 x 2), 13 of 16 points valid."""
    rng = np.random.default_rng(7)
    camera = {"viewmat": np.eye(4).ravel().tolist(), "focal_px": 90.0, "width": 8, "height": 6}
    audio = {"rate": 16000, "channels": 1}
    images = {
        "image": rng.integers(0, 256, (6, 8, 3), np.uint8),
        "plate": rng.integers(0, 256, (6, 8, 3), np.uint8),
        "matte": rng.integers(0, 256, (6, 8), np.uint8),
    }
    valid = np.ones(16, bool)
    valid[[0, 5, 15]] = False
    sheets = {
        "grid_shape": np.array([[4, 3], [2, 2]], np.int32),
        "valid": valid,
        "links": rng.integers(0, 4, 16, np.uint8),
        "color": rng.random((13, 3), np.float32),
        "opacity": rng.random(13, np.float32),
        "head_weight": rng.random(13, np.float32),
    }

    def floats(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def sound(samples: int) -> np.ndarray:
        return rng.integers(-9000, 9000, (samples, 1)).astype(np.int16)

    sequence = {"camera": camera, "fps": 25.0, "frame_count": count, "audio": audio}
    if kind == "head":
        meta = {"camera": camera, "sheets": ["front", "back"], "created_by": "mggtalk 0.1.0"}
        surface = {"positions": floats(13, 3), "normals": floats(13, 3)}
        rig = {"rig_controls": floats(5, 3), "rig_index": np.arange(26).reshape(13, 2)}
        return Sample(kind, meta, {**images, **sheets, **surface, **rig}, None)
    if kind in ("points", "frames"):
        images["photo_landmarks"] = floats(468, 2)
    if kind == "points":
        frames = [
            {
                "audio": sound(640),
                "beta": floats(52),
                "face": floats(468, 3),
                "gate": rng.random(13, np.float32),
                "points": floats(13, 3),
            }
            for _ in range(count)
        ]
        return Sample(kind, {**sequence, "sheets": ["front", "back"]}, images | sheets, frames)
    if kind == "frames":
        frames = [
            {
                "beta": floats(52),
                "landmarks": floats(468, 2),
                "view": floats(4, 4),
                "rgba": rng.integers(0, 256, (6, 8, 4), np.uint8),
            }
            for _ in range(count)
        ]
        return Sample(kind, {**sequence, "audio": None}, images, frames)
    table = {
        "beta": rng.random((60, 52), np.float32),
        "rotation": np.tile(np.float32([1, 0, 0, 0]), (60, 1)),
        "translation": floats(60, 3),
        "gaze": floats(60, 2),
        "confidence": np.ones(60, np.float32),
        "residual": floats(60, 468, 3).astype(np.float16),
        "reference_beta": np.zeros(52, np.float32),
        "reference_rotation": np.float32([1, 0, 0, 0]),
        "reference_translation": floats(3),
        "reference_gaze": floats(2),
    }
    meta = {"fps": 25, "source": "audio", "audio": audio, "camera": None}
    return Sample("motion", meta, table, [{"audio": sound(16000)} for _ in range(count)])
