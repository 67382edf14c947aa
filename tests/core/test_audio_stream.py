"""Sound on a pipe: the same as in a file, as it comes in."""

from __future__ import annotations

import io
import os
import struct
import threading
from pathlib import Path

import numpy as np
import pytest

from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.audio_stream import AudioStream, Bytes, is_streamable
from mggtalk_cli.errors import InputError

SPEECH = Path(__file__).parents[2] / "examples" / "speech.wav"


class Dribble:
    """Gives a few bytes at a time, never as many as asked for."""

    def __init__(self, data: bytes, step: int = 777) -> None:
        self._file, self._step = io.BytesIO(data), step

    def read1(self, size: int, /) -> bytes:
        return self._file.read(min(size, self._step))


def wav(
    data: bytes, *, tag: int = 1, bits: int = 16, rate: int = 16_000, channels: int = 1,
    size: int | None = None, extra: bytes = b"",
) -> bytes:  # fmt: skip
    block = channels * bits // 8
    fmt = struct.pack("<HHIIHH", tag, channels, rate, rate * block, block, bits) + extra
    size = len(data) if size is None else size
    junk = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"  # odd chunks are padded
    head = b"RIFF" + struct.pack("<I", size) + b"WAVE" + junk
    return (
        head
        + b"fmt "
        + struct.pack("<I", len(fmt))
        + fmt
        + b"data"
        + struct.pack("<I", size)
        + data
    )


def opened(data: bytes, step: int = 777) -> AudioStream:
    return AudioStream(Bytes(Dribble(data, step)))


def analysis(stream: AudioStream) -> np.ndarray:
    return np.concatenate(list(stream.blocks_16k_mono()))


def tone(seconds: float = 0.5, rate: int = 16_000, channels: int = 1) -> np.ndarray:
    times = np.arange(round(seconds * rate)) / rate
    return np.repeat(0.5 * np.sin(2 * np.pi * 300 * times)[:, None], channels, axis=1)


@pytest.mark.parametrize("step", [1, 2, 777, 1 << 20])
def test_raw_samples_are_16_bit_16_khz_mono(step: int) -> None:
    samples = (tone() * 32767).astype("<i2")
    stream = opened(samples.tobytes() + b"\x01", step)  # half a sample is dropped
    assert (stream.pcm_rate, stream.pcm_channels) == (16_000, 1)
    np.testing.assert_allclose(analysis(stream), samples[:, 0] / 32768, atol=1e-6)
    chunks = list(stream.pcm_chunks(25))
    assert len(chunks) == stream.frame_count(25) == 13
    np.testing.assert_array_equal(np.concatenate(chunks)[:8000], samples)


@pytest.mark.parametrize("size", [None, 0, 0xFFFFFFFF, 0x7FFFFFFF + 1])
def test_wav_of_unknown_length(size: int | None) -> None:
    samples = (tone() * 32767).astype("<i2")
    stream = opened(wav(samples.tobytes(), size=size))
    np.testing.assert_array_equal(np.concatenate(list(stream.pcm_chunks(50))), samples)


def test_what_follows_the_samples_is_no_sound() -> None:
    samples = (tone() * 32767).astype("<i2")
    stream = opened(wav(samples.tobytes()) + b"LIST" + bytes(2000))
    assert len(analysis(stream)) == len(samples)


@pytest.mark.parametrize(
    ("tag", "bits", "dtype", "scale"),
    [(1, 8, "u1", 127.0), (1, 32, "<i4", 2.0**31), (3, 32, "<f4", 1.0), (3, 64, "<f8", 1.0)],
)
def test_kinds_of_samples(tag: int, bits: int, dtype: str, scale: float) -> None:
    values = tone() * scale + (128 if bits == 8 else 0)
    stream = opened(wav(values.astype(dtype).tobytes(), tag=tag, bits=bits))
    np.testing.assert_allclose(analysis(stream), tone()[:, 0], atol=0.02 if bits == 8 else 1e-6)


def test_24_bits_in_an_extensible_header() -> None:
    values = (tone(channels=2) * 2**23).astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3]
    extra = struct.pack("<HHIH", 22, 24, 3, 1) + bytes(14)
    stream = opened(wav(values.tobytes(), tag=0xFFFE, bits=24, channels=2, extra=extra), step=1000)
    assert stream.pcm_channels == 2
    # equal channels add up as they do in files
    np.testing.assert_allclose(analysis(stream), np.sqrt(2) * tone()[:, 0], atol=1e-5)


def test_same_sound_as_in_the_file() -> None:
    file, stream = AudioFile(SPEECH), opened(SPEECH.read_bytes())
    whole = np.concatenate(list(file.blocks_16k_mono()))
    np.testing.assert_allclose(analysis(stream), whole, atol=1e-6)
    assert stream.frame_count(25) == file.frame_count(25)
    for a, b in zip(stream.pcm_chunks(25), file.pcm_chunks(25), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_rates_are_resampled() -> None:
    stream = opened(
        wav((tone(1.0, 96_000, 2) * 32767).astype("<i2").tobytes(), rate=96_000, channels=2)
    )
    assert stream.pcm_rate == 48_000
    found = analysis(stream)
    assert abs(len(found) - 16_000) <= 1
    np.testing.assert_allclose(
        found[1000:15_000], np.sqrt(2) * tone(1.0)[1000:15_000, 0], atol=2e-3
    )


def test_sound_is_passed_on_before_more_comes() -> None:
    ours, theirs = os.pipe()
    with os.fdopen(ours, "rb") as source, os.fdopen(theirs, "wb", buffering=0) as sink:
        writer = threading.Thread(target=sink.write, args=(wav(bytes(640), size=0),))
        writer.start()
        blocks = AudioStream(Bytes(source)).blocks_16k_mono()  # type: ignore[arg-type]
        assert len(next(blocks)) == 320
        writer.join()
        sink.write(bytes(320))
        assert len(next(blocks)) == 160


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (b"no sound\nbut a letter\n", "text"),
        (wav(b""), "empty"),
        (wav(bytes(64), tag=17, bits=4), "16-bit"),
        (wav(bytes(64), rate=7), "sample rate 7 Hz"),
        (wav(bytes(64))[:30], "header is damaged"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "header is damaged"),
    ],
)
def test_what_is_no_sound_is_told(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said):
        analysis(opened(data))


def test_files_of_other_kinds_are_known() -> None:
    for head in (b"fLaC", b"OggS\0\2", b"ID3\4", b"RIFF\0\0\0\0AVI LIST", b"\0\0\0\x1cftypM4A "):
        assert not is_streamable(Bytes(Dribble(head + bytes(20))))
    for head in (b"RIFF\0\0\0\0WAVEfmt ", bytes(12), b"\1"):
        stream = Bytes(Dribble(head, 1))
        assert is_streamable(stream)
        assert stream.read_all(5) == head[:5]
