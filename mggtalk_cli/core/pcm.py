"""Sound as samples: resampled as it comes, and cut into one chunk per video frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Protocol

import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler


def frame_start(index: int, *, rate: float, fps: float) -> int:
    """Return the sample at which video frame `index` begins (halves round up).

    >>> [frame_start(i, rate=44100, fps=24.5) for i in range(3)]
    [0, 1800, 3600]
    """
    return math.floor(index * rate / fps + 0.5)


def frames_that_cover(seconds: float, fps: float) -> int:
    """Return the number of video frames, at least 1, that cover a sound.

    >>> frames_that_cover(0.1, 30.0), frames_that_cover(0.101, 30.0)
    (3, 4)
    """
    # 1e-6: a length that is a whole number of frames must not gain one by float rounding
    return max(1, math.ceil(seconds * fps - 1e-6))


class PcmSound(Protocol):
    """What `chunks_per_frame` has to know of a sound."""

    pcm_rate: int
    pcm_channels: int

    def frame_count(self, fps: float) -> int:
        """Return the number of video frames at `fps` that cover the sound."""
        ...


def chunks_per_frame(
    pieces: Iterator[np.ndarray], sound: PcmSound, fps: float
) -> Iterator[np.ndarray]:
    """Yield the pieces of a sound cut anew, one chunk per video frame, the last padded."""
    rate, index = sound.pcm_rate, 0
    pending: list[np.ndarray] = []
    held = 0
    size = frame_start(1, rate=rate, fps=fps)
    for piece in pieces:
        pending.append(piece)
        held += len(piece)
        while held >= size:
            joined = np.concatenate(pending)
            yield joined[:size]
            pending, held = [joined[size:]], held - size
            index += 1
            size = frame_start(index + 1, rate=rate, fps=fps)
            size -= frame_start(index, rate=rate, fps=fps)
    rest = np.concatenate([*pending, np.zeros((0, sound.pcm_channels), np.int16)])
    for last in range(index, sound.frame_count(fps)):
        end = frame_start(last + 1, rate=rate, fps=fps)
        size = end - frame_start(last, rate=rate, fps=fps)
        chunk = np.zeros((size, sound.pcm_channels), np.int16)
        chunk[: len(rest)] = rest[:size]
        rest = rest[size:]
        yield chunk


def resampled(
    frames: Iterator[AudioFrame], sample_format: str, layout: str, rate: int
) -> Iterator[np.ndarray]:
    """Yield (n, channels) pieces of consecutive frames in one packed sample format."""
    channels = 1 if layout == "mono" else 2
    resampler, source = None, None
    for frame in frames:
        kind = (frame.format.name, frame.layout.name, frame.sample_rate)
        if kind != source:  # some AAC streams change rate or channels on the way
            yield from _flush(resampler, channels)
            source = kind
            resampler = AudioResampler(format=sample_format, layout=layout, rate=rate)
        assert resampler is not None
        for out in resampler.resample(frame):
            yield out.to_ndarray().reshape(-1, channels)
    yield from _flush(resampler, channels)


def _flush(resampler: AudioResampler | None, channels: int) -> Iterator[np.ndarray]:
    for out in resampler.resample(None) if resampler is not None else ():
        yield out.to_ndarray().reshape(-1, channels)
