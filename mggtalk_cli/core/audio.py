"""Sound from any file FFmpeg reads, streamed in constant memory.

`AudioFile` yields the same sound twice: as 16 kHz mono float blocks for analysis, and as int16
chunks, one per video frame, for the output's sound track. Time 0 is the start of the file's own
time line, so encoder priming is dropped and a track that starts late begins with silence.
`media_kind` tells images, sounds and videos apart by content, never by name.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from typing import Any, Literal

import av
import av.error
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from PIL import Image, UnidentifiedImageError

from mggtalk_cli.core.pcm import chunks_per_frame, frames_that_cover, resampled
from mggtalk_cli.errors import InputError

log = logging.getLogger("mggtalk")

ANALYSIS_RATE = 16_000
MAX_PCM_RATE = 48_000  # what AAC encoders and browsers take without resampling
MIN_RATE, MAX_RATE = 4_000, 384_000  # outside: damaged headers, not sound
SILENCE_PEAK = 10 ** (-66 / 20)  # a little above 12-bit rounding noise: nobody hears a voice there
MIN_GAP_S, MAX_GAP_S = 0.1, 30.0  # shorter gaps are time-stamp rounding, longer ones clock resets
MAX_BAD_RUN = 8  # damaged packets in a row before the file counts as broken
TRUNCATION_SLACK_S = 0.5  # containers round their length; less than this is not a cut
EXACT_SLACK, ESTIMATE_SLACK = 0.02, 0.25  # shares of the length; mp3 and adts guess by bit rate
EXACT_LENGTH_FORMATS = {"wav", "flac", "aiff", "au", "w64", "mov,mp4,m4a,3gp,3g2,mj2"}
ANIMATED_IMAGES = {"GIF", "WEBP", "PNG"}  # several frames in TIFF, MPO, ICO are pages or sizes
TEXT_FORMATS = {"tty", "bin", "idf", "xbin", "adf", "srt", "ass", "webvtt", "lrc", "txt"}

MediaKind = Literal["image", "audio", "video"]


def check_rate(rate: int, name: str) -> None:
    """Refuse a sample rate that no sound has.

    Raises:
        InputError: It is outside 4 .. 384 kHz.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise InputError(
            f"{name}: sample rate {rate} Hz is outside {MIN_RATE}..{MAX_RATE} Hz; "
            "the header is damaged"
        )


class AudioFile:
    """One sound track that can be read several times from the start.

    Attributes:
        path: The file.
        native_rate: Samples per second in the file.
        pcm_rate: Samples per second of `pcm_chunks`, at most 48000.
        pcm_channels: 1 or 2.
        look_ahead_s: None: all of the sound can be read.
    """

    look_ahead_s: float | None = None

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open the file once and look at its first samples.

        Args:
            path: Any file with a sound track.

        Raises:
            InputError: The file is missing, unreadable, without sound or empty.
        """
        self.path = os.fspath(path)
        self._told_silent = False
        self._samples: int | None = None  # native samples, known after one whole pass
        with _open(self.path) as container:
            stream = _audio_stream(container, self.path)
            self.native_rate = int(stream.rate)
            check_rate(self.native_rate, self.path)
            channels = int(stream.channels)
        self.pcm_rate = min(self.native_rate, MAX_PCM_RATE)
        self.pcm_channels = 1 if channels == 1 else 2
        if next(self._frames(), None) is None:
            raise InputError(f"{self.path}: the sound track is empty (0 samples); check the file")

    @property
    def duration_s(self) -> float:
        """Length in seconds, counted in decoded samples (one pass on first use)."""
        if self._samples is None:
            for _ in self._frames():
                pass
        assert self._samples is not None
        return self._samples / self.native_rate

    def frame_count(self, fps: float) -> int:
        """Return the number of video frames at `fps` that cover the whole sound."""
        return frames_that_cover(self.duration_s, fps)

    def blocks_16k_mono(self, block_s: float = 1.0) -> Iterator[np.ndarray]:
        """Yield (n,) float32 blocks in -1..1, n = block_s * 16000 except for the last.

        Warns through the "mggtalk" logger at the end when the whole sound was silent.
        """
        size = max(1, round(block_s * ANALYSIS_RATE))
        pending: list[np.ndarray] = []
        held, peak = 0, 0.0
        for piece in resampled(self._frames(), "flt", "mono", ANALYSIS_RATE):
            mono = np.clip(piece[:, 0], -1.0, 1.0)  # a loud 5.1 mix sums above full scale
            peak = max(peak, float(np.abs(mono).max(initial=0.0)))
            pending.append(mono)
            held += len(mono)
            if held >= size:
                joined = np.concatenate(pending)
                for start in range(0, held - held % size, size):
                    yield joined[start : start + size]
                pending, held = [joined[held - held % size :]], held % size
        if peak < SILENCE_PEAK:
            if not self._told_silent:
                log.warning("%s: the sound is silent; the mouth will stay closed", self.path)
            self._told_silent = True
        if held:
            yield np.concatenate(pending)

    def pcm_chunks(self, fps: float) -> Iterator[np.ndarray]:
        """Yield (n, pcm_channels) int16, chunk i lasting from frame i to frame i + 1.

        The last chunk is padded with zeros, so there are exactly `frame_count(fps)` chunks.
        """
        layout = "mono" if self.pcm_channels == 1 else "stereo"
        pieces = resampled(self._frames(), "s16", layout, self.pcm_rate)
        return chunks_per_frame(pieces, self, fps)

    def _frames(self) -> Iterator[AudioFrame]:
        """Yield decoded frames without time-stamp gaps; remember the length at the end."""
        samples, damaged = 0, 0
        last: AudioFrame | None = None  # held back: its end may be encoder padding
        with _open(self.path) as container:
            stream = _audio_stream(container, self.path)
            origin = (container.start_time or 0) / av.time_base
            for frame, bad in _decoded(container, stream, self.path):
                damaged = bad
                if last is not None:
                    yield last
                scale = self.native_rate / frame.sample_rate
                gap_s = (frame.time or 0.0) - origin - samples / self.native_rate
                if MIN_GAP_S < gap_s <= MAX_GAP_S:
                    silence = _silence(frame, round(gap_s * frame.sample_rate))
                    samples += round(silence.samples * scale)
                    yield silence
                elif gap_s > MAX_GAP_S:
                    origin += gap_s
                frame.pts = None
                samples += round(frame.samples * scale)
                last = frame
            declared = _declared_s(container, stream)
            exact = container.format.name in EXACT_LENGTH_FORMATS
        if declared is not None and last is not None:
            self._check_whole(samples / self.native_rate, declared, exact=exact, damaged=damaged)
        if declared is not None and last is not None and exact:
            padding = samples - round(declared * self.native_rate)
            if 0 < padding < last.samples and last.sample_rate == self.native_rate:
                last, samples = _without_end(last, padding), samples - padding
        if last is not None:
            yield last
        if damaged and self._samples is None:
            log.warning("%s: skipped %d damaged packets of sound", self.path, damaged)
        self._samples = samples

    def _check_whole(self, seconds: float, declared: float, *, exact: bool, damaged: int) -> None:
        """Raise for a sound that breaks off; warn where its full length is only an estimate."""
        slack = (EXACT_SLACK if exact else ESTIMATE_SLACK) * declared
        if seconds >= declared - max(TRUNCATION_SLACK_S, slack):
            return
        text = f"{self.path}: the sound ends at {seconds:.1f} s of {declared:.1f} s"
        if exact or damaged:
            raise InputError(f"{text}; the file is truncated or damaged, copy or export it again")
        if self._samples is None:
            log.warning("%s; the file may be truncated", text)


def media_kind(path: str | os.PathLike[str]) -> MediaKind:
    """Return what a file holds, found from its content.

    A sound with cover art is "audio"; an animated picture or a film of more than one frame is
    "video", with or without sound; a film of one frame without sound is "image".

    Raises:
        InputError: The file is missing or none of the three.
    """
    name = os.fspath(path)
    _require_file(name)
    picture = _picture_kind(name)
    if picture is not None:
        return picture
    with _open(name) as container:
        films = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if container.format.name in TEXT_FORMATS:
            films = []
        frames = 0
        if films:
            try:
                for _ in container.decode(films[0]):
                    frames += 1
                    if frames > 1:
                        return "video"
            except av.error.FFmpegError:
                frames = 0
        if container.streams.audio:
            return "audio"
        if frames:
            return "image"
    raise InputError(f"{name}: neither an image, a sound nor a video; give a media file")


def _picture_kind(name: str) -> MediaKind | None:
    """Return "image" or "video" (animated) for files PIL knows, None for others."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(name) as picture:
                frames = getattr(picture, "n_frames", 1)
                animated = picture.format in ANIMATED_IMAGES and frames > 1
                return "video" if animated else "image"
    except UnidentifiedImageError:
        return None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return "image"  # damaged or huge, but a picture: its reader says what is wrong


def _require_file(name: str) -> None:
    if not os.path.exists(name):
        raise InputError(f"{name}: no such file; check the path")
    if os.path.isdir(name):
        raise InputError(f"{name}: is a folder; give a media file")
    if os.path.isfile(name) and os.path.getsize(name) == 0:
        raise InputError(f"{name}: the file is empty (0 bytes)")


def _open(name: str) -> InputContainer:
    _require_file(name)
    try:
        return av.open(name, mode="r", metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{name}: cannot be read as media ({reason}); check the file") from error


def _audio_stream(container: InputContainer, name: str) -> AudioStream:
    if not container.streams.audio or container.format.name in TEXT_FORMATS:
        raise InputError(f"{name}: has no sound track; give a file with sound")
    return container.streams.audio[0]


def _decoded(
    container: InputContainer, stream: AudioStream, name: str
) -> Iterator[tuple[AudioFrame, int]]:
    """Yield (frame, damaged packets so far); a few damaged packets are skipped.

    Raises:
        InputError: The file breaks off, or too many packets in a row are damaged.
    """
    reached, bad, bad_run = 0.0, 0, 0
    packets: Iterator[Any] = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
            if packet is None:
                break
            frames = packet.decode()
            bad_run = 0
        except av.error.EOFError:
            break
        except (av.error.FFmpegError, ValueError) as error:
            bad, bad_run = bad + 1, bad_run + 1
            if bad_run >= MAX_BAD_RUN:
                raise InputError(
                    f"{name}: the sound is damaged after {reached:.1f} s; export it again"
                ) from error
            continue
        for frame in frames:
            if frame.samples:
                reached = frame.time + frame.samples / frame.sample_rate if frame.time else reached
                yield frame, bad
    if bad and reached == 0.0:
        raise InputError(f"{name}: the sound is damaged from the start; export it again")


def _declared_s(container: InputContainer, stream: AudioStream) -> float | None:
    """Return the length the header promises (an estimate where it states none)."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return None if container.duration is None else container.duration / av.time_base


def _silence(like: AudioFrame, samples: int) -> AudioFrame:
    """Return a frame of zeros in another frame's format."""
    frame = AudioFrame(format=like.format.name, layout=like.layout.name, samples=samples)
    frame.sample_rate = like.sample_rate
    middle = 0x80 if like.format.name.startswith("u8") else 0
    for plane in frame.planes:
        plane.update(bytes([middle]) * plane.buffer_size)
    return frame


def _without_end(frame: AudioFrame, samples: int) -> AudioFrame:
    """Return the frame without its last `samples` samples."""
    values: Any = frame.to_ndarray()
    width = 1 if frame.format.is_planar else frame.layout.nb_channels
    kept: Any = np.ascontiguousarray(values[:, : (frame.samples - samples) * width])
    short = AudioFrame.from_ndarray(kept, format=frame.format.name, layout=frame.layout.name)
    short.sample_rate = frame.sample_rate
    return short
