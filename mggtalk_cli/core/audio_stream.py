"""Sound that is still coming in: WAV or raw samples on a pipe, passed on as they arrive.

`AudioStream` gives the same two views as `core.audio.AudioFile`, each of them once, and holds only
what one of them has not taken yet.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterator
from itertools import tee
from typing import NamedTuple, Protocol

import numpy as np
from av.audio.frame import AudioFrame

from mggtalk_cli.core.audio import ANALYSIS_RATE, MAX_PCM_RATE, check_rate
from mggtalk_cli.core.pcm import chunks_per_frame, frames_that_cover, resampled
from mggtalk_cli.errors import InputError

log = logging.getLogger("mggtalk")

LOOK_AHEAD_S = 0.24  # more hardly helps the mouth, less costs accuracy
READ_BYTES = 1 << 16
MAX_HEADER_BYTES = 1 << 20  # before the samples; more is no WAV
UNKNOWN_SIZES = 0x7FFF_0000  # and larger: what programs write that do not know the length; or 0
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_LAYOUTS = {1: "mono", 2: "stereo", 4: "quad", 6: "5.1", 8: "7.1"}
# first bytes of other formats, which are not read as they come
_CONTAINERS: tuple[bytes, ...] = (
    *(b"fLaC", b"OggS", b"ID3", b"FORM", b"RIFF", b"RIFX", b".snd", b"caff", b"#!AMR"),
    *(b"\x1aE\xdf\xa3", b"\x30\x26\xb2\x75"),  # Matroska, ASF
)
HEAD_BYTES = 12
_TEXT = b"\t\n\r" + bytes(range(32, 127))


class ByteReader(Protocol):
    """Anything with `read1`, such as sys.stdin.buffer."""

    def read1(self, size: int, /) -> bytes:
        """Return 1 .. size bytes as soon as there are some, none at the end."""
        ...


class Bytes:
    """Bytes from a pipe, of which the first can be looked at."""

    def __init__(self, source: ByteReader) -> None:
        self._source, self._head = source, b""

    def peek(self, size: int) -> bytes:
        """Return the next `size` bytes, fewer at the end, without taking them."""
        while len(self._head) < size:
            more = self._source.read1(size - len(self._head))
            if not more:
                break
            self._head += more
        return self._head[:size]

    def read(self, size: int = READ_BYTES, /) -> bytes:
        """Return 1 .. size bytes as soon as there are some, none at the end."""
        if not self._head:
            return self._source.read1(size)
        taken, self._head = self._head[:size], self._head[size:]
        return taken

    def read_all(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end."""
        self.peek(size)
        return self.read(size) if size else b""


class SampleFormat(NamedTuple):
    """How samples are written; `size` is the length of the sound in bytes, None while unknown."""

    tag: int
    bits: int
    rate: int
    channels: int
    size: int | None = None


RAW = SampleFormat(_PCM, 16, ANALYSIS_RATE, 1)


def is_streamable(stream: Bytes) -> bool:
    """Return whether a pipe brings WAV or raw samples, rather than another kind of file."""
    head = stream.peek(HEAD_BYTES)
    if head[8:12] == b"WAVE":
        return True
    return not head.startswith(_CONTAINERS) and head[4:8] not in (b"ftyp", b"moov", b"mdat")


class AudioStream:
    """One sound from a pipe: WAV (its sizes may be 0 or unknown), or raw s16le 16 kHz mono.

    Attributes:
        pcm_rate: Samples per second of `pcm_chunks`, at most 48000.
        pcm_channels: 1 or 2.
        look_ahead_s: Seconds of sound that a frame may wait for.
    """

    def __init__(
        self, stream: Bytes, *, name: str = "stdin", look_ahead_s: float = LOOK_AHEAD_S
    ) -> None:
        """Wait for the first bytes.

        Raises:
            InputError: Nothing came in, text, or WAV of a kind that cannot be read.
        """
        head = stream.peek(HEAD_BYTES)
        if not head:
            raise InputError(f"{name} is empty: nothing came in")
        wave = head[8:12] == b"WAVE"
        if not wave and all(byte in _TEXT for byte in head):
            raise InputError(f"{name}: text, not sound; pipe in WAV, or raw 16-bit 16 kHz mono")
        self.look_ahead_s: float | None = look_ahead_s
        self._name, self._bytes = name, stream
        self._format = _wave_format(stream, name) if wave else RAW
        self._samples = 0  # per channel, so far
        self.pcm_rate = min(self._format.rate, MAX_PCM_RATE)
        self.pcm_channels = 1 if self._format.channels == 1 else 2
        self._for_analysis, self._for_pcm = tee(self._frames())

    def frame_count(self, fps: float) -> int:
        """Return the number of video frames at `fps` that cover what has come in."""
        return frames_that_cover(self._samples / self._format.rate, fps)

    def blocks_16k_mono(self) -> Iterator[np.ndarray]:
        """Yield (n,) float32 blocks in -1..1 as they come in; can be read once."""
        for piece in resampled(self._for_analysis, "flt", "mono", ANALYSIS_RATE):
            yield np.clip(piece[:, 0], -1.0, 1.0)

    def pcm_chunks(self, fps: float) -> Iterator[np.ndarray]:
        """Yield (n, pcm_channels) int16, chunk i lasting from frame i to i + 1; once."""
        layout = "mono" if self.pcm_channels == 1 else "stereo"
        pieces = resampled(self._for_pcm, "s16", layout, self.pcm_rate)
        return chunks_per_frame(pieces, self, fps)

    def _frames(self) -> Iterator[AudioFrame]:
        """Yield the sound as it comes in."""
        kind = self._format
        width = kind.channels * kind.bits // 8
        left, rest = kind.size, b""
        while left is None or left > 0:
            data = self._bytes.read(READ_BYTES if left is None else min(left, READ_BYTES))
            if not data:
                break
            left = None if left is None else left - len(data)
            data = rest + data
            whole = len(data) - len(data) % width
            data, rest = data[:whole], data[whole:]
            if not whole:
                continue
            values = _values(data, kind).reshape(1, -1)
            layout = _LAYOUTS.get(kind.channels, f"{kind.channels}c")
            frame = AudioFrame.from_ndarray(values, format="flt", layout=layout)
            frame.sample_rate = kind.rate
            self._samples += frame.samples
            yield frame
        if not self._samples:
            raise InputError(f"{self._name}: the sound is empty (0 samples)")
        if left:
            log.warning("%s: the sound ends before its length says", self._name)


def _values(data: bytes, kind: SampleFormat) -> np.ndarray:
    """Return float32 samples in -1..1."""
    if kind.tag == _FLOAT:
        return np.nan_to_num(np.frombuffer(data, f"<f{kind.bits // 8}").astype(np.float32))
    if kind.bits == 8:
        return (np.frombuffer(data, np.uint8).astype(np.float32) - 128.0) / 128.0
    if kind.bits == 24:
        padded = np.zeros((len(data) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        data = padded.tobytes()
    size = 2 if kind.bits == 16 else 4
    scale = np.float32(2.0 ** (1 - 8 * size))
    return np.frombuffer(data, f"<i{size}").astype(np.float32) * scale


def _wave_format(stream: Bytes, name: str) -> SampleFormat:
    """Read up to the first sample of a WAV and return how it is written."""
    stream.read_all(HEAD_BYTES)
    found: SampleFormat | None = None
    passed = 0
    while passed < MAX_HEADER_BYTES:
        head = stream.read_all(8)
        if len(head) < 8:
            break
        chunk, size = struct.unpack("<4sI", head)
        if chunk == b"data":
            if found is None:
                break
            known = 0 < size < UNKNOWN_SIZES
            return found._replace(size=size if known else None)
        size += size % 2
        if size > MAX_HEADER_BYTES:
            break
        content = stream.read_all(size)
        passed += 8 + size
        if chunk == b"fmt " and len(content) >= 16:
            found = _described(content, name)
    raise InputError(f"{name}: the WAV header is damaged; send it again")


def _described(content: bytes, name: str) -> SampleFormat:
    """Return the sample format of a WAV's "fmt " chunk."""
    tag, channels, rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    if tag == _EXTENSIBLE and len(content) >= 26:
        (tag,) = struct.unpack("<H", content[24:26])
    check_rate(rate, name)
    known = bits in {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}.get(tag, ())
    if not known or not 1 <= channels <= 64:
        raise InputError(
            f"{name}: WAV of kind {tag} with {channels} channels of {bits} bits cannot be read as"
            " it comes; send 16-bit PCM"
        )
    return SampleFormat(tag, bits, rate, channels)
