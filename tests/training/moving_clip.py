"""Clips of a drawn person who sways, with a made-up voice."""

from __future__ import annotations

import wave
from pathlib import Path

import av
import numpy as np

from mggtalk_cli.evaluation.synthetic_portrait import draw_portrait, write_voice

SWAY_PX = 3.0


def swaying(count: int, size: int = 256) -> list[np.ndarray]:
    """Return a portrait (size, size, 3) that moves to the right and back, whole pixels."""
    picture = draw_portrait(size)
    shifts = np.rint(SWAY_PX * np.sin(np.arange(count) / 3)).astype(int)
    return [np.ascontiguousarray(np.roll(picture, shift, axis=1)) for shift in shifts]


def write_moving_clip(path: Path, frames: list[np.ndarray], *, sound: bool = True) -> None:
    """Write frames at 25 fps, nearly lossless."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"crf": "4"})
        video.height, video.width = frames[0].shape[:2]
        video.pix_fmt = "yuv420p"
        voice = container.add_stream("aac", rate=16_000, layout="mono") if sound else None
        for picture in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(video.encode())
        if voice is not None:
            heard = av.AudioFrame.from_ndarray(
                _voice(path.with_suffix(".wav"), len(frames) / 25), format="s16", layout="mono"
            )
            heard.sample_rate = 16_000
            container.mux([*voice.encode(heard), *voice.encode()])


def _voice(path: Path, seconds: float) -> np.ndarray:
    write_voice(path, seconds, seed=0)
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    path.unlink()
    return samples[None]
