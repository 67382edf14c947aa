"""Sound of every format, rate and layout: length, timing, chunks, damage."""

from __future__ import annotations

import logging
import re
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from mggtalk_cli.core.audio import AudioFile, media_kind
from mggtalk_cli.core.pcm import frame_start
from mggtalk_cli.errors import InputError

SPEECH = Path(__file__).parents[2] / "examples" / "speech.wav"
SECONDS, ON, OFF = 2.5, 1.0, 1.5  # a tone from 1.0 to 1.5 s


def tone(rate: int) -> np.ndarray:
    times = np.arange(int(rate * SECONDS)) / rate
    return np.where((times >= ON) & (times < OFF), 0.5 * np.sin(2 * np.pi * 440 * times), 0.0)


def write_sound(path: Path, codec: str, rate: int, layout: str, *, cover: bool = False) -> Path:
    channels = {"mono": 1, "stereo": 2, "5.1": 6}[layout]
    samples = np.repeat(tone(rate)[None], channels, axis=0).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        picture = container.add_stream("mjpeg", rate=1) if cover else None
        if picture is not None:
            picture.width = picture.height = 16
            picture.pix_fmt = "yuvj420p"
            picture.disposition = av.stream.Disposition.attached_pic
            for packet in picture.encode(av.VideoFrame(16, 16, "yuvj420p")):
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(stream.codec_context.format.name, layout, rate)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
    return path


def write_wav(path: Path, samples: np.ndarray, rate: int = 16_000) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize(
    ("name", "codec", "rate", "layout"),
    [
        ("a.wav", "pcm_s16le", 8_000, "mono"),
        ("a.wav", "pcm_u8", 11_025, "mono"),
        ("a.wav", "pcm_s24le", 96_000, "stereo"),
        ("a.wav", "pcm_f32le", 48_000, "5.1"),
        ("a.mp3", "libmp3lame", 44_100, "stereo"),
        ("a.m4a", "aac", 44_100, "stereo"),
        ("a.mp4", "aac", 16_000, "mono"),
        ("a.flac", "flac", 192_000, "mono"),
        ("a.ogg", "libopus", 48_000, "stereo"),
    ],
)
def test_formats_keep_length_and_timing(
    tmp_path: Path, name: str, codec: str, rate: int, layout: str
) -> None:
    path = write_sound(tmp_path / name, codec, rate, layout)
    audio = AudioFile(path)
    mono = np.concatenate(list(audio.blocks_16k_mono(0.3)))
    assert audio.native_rate == rate
    assert audio.duration_s == pytest.approx(SECONDS, abs=0.002)
    assert len(mono) / 16_000 == pytest.approx(SECONDS, abs=0.002)
    assert mono.dtype == np.float32
    assert np.abs(mono).max() <= 1.0
    heard = np.flatnonzero(np.abs(mono) > 0.1) / 16_000
    assert heard[0] == pytest.approx(ON, abs=0.003)
    assert heard[-1] == pytest.approx(OFF, abs=0.003)
    chunks = list(audio.pcm_chunks(25))
    assert audio.pcm_rate == min(rate, 48_000)
    assert chunks[0].shape[1] == audio.pcm_channels == (1 if layout == "mono" else 2)
    heard = np.flatnonzero(np.abs(np.concatenate(chunks)[:, 0]) > 3000) / audio.pcm_rate
    assert heard[0] == pytest.approx(ON, abs=0.003)
    assert media_kind(path) == "audio"


@pytest.mark.parametrize("fps", [25.0, 24000 / 1001, 60.0])
def test_chunks_meet_at_frame_times_and_cover_the_sound(tmp_path: Path, fps: float) -> None:
    path = write_sound(tmp_path / "a.wav", "pcm_s16le", 44_100, "mono")
    audio = AudioFile(path)
    chunks = list(audio.pcm_chunks(fps))
    starts = [frame_start(i, rate=44_100, fps=fps) for i in range(len(chunks) + 1)]
    assert [len(chunk) for chunk in chunks] == list(np.diff(starts))
    assert len(chunks) == audio.frame_count(fps) == int(np.ceil(SECONDS * fps))
    joined = np.concatenate(chunks)[:, 0] / 32768
    truth = tone(44_100)
    np.testing.assert_allclose(joined[: len(truth)], truth, atol=2e-4)
    assert not joined[len(truth) :].any()


def test_whole_number_of_frames_gains_none(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.full(16_000 * 3, 0.1))
    assert AudioFile(path).frame_count(25) == 75
    assert len(list(AudioFile(path).pcm_chunks(25))) == 75


def test_block_size_changes_nothing() -> None:
    audio = AudioFile(SPEECH)
    whole = np.concatenate(list(audio.blocks_16k_mono(60.0)))
    for seconds in (0.017, 0.5):
        blocks = list(audio.blocks_16k_mono(seconds))
        assert {len(b) for b in blocks[:-1]} == {round(seconds * 16_000)}
        np.testing.assert_array_equal(np.concatenate(blocks), whole)


def test_late_track_begins_with_silence(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25)
        video.width = video.height = 32
        sound = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for index in range(25):
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))
            picture.pts, picture.time_base = index, Fraction(1, 25)
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        samples = np.full((1, 8_000), 9_000, np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 16_000, 6_400, Fraction(1, 16_000)
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    mono = np.concatenate(list(AudioFile(path).blocks_16k_mono()))
    assert np.flatnonzero(np.abs(mono) > 0.1)[0] / 16_000 == pytest.approx(0.4, abs=0.01)
    assert media_kind(path) == "video"


def test_silent_sound_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_wav(tmp_path / "silent.wav", np.zeros(16_000))
    with caplog.at_level(logging.WARNING, logger="mggtalk"):
        assert sum(map(len, AudioFile(path).blocks_16k_mono())) == 16_000
    assert "silent" in caplog.text


def test_unusable_sounds_say_why(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    write_wav(tmp_path / "zero.wav", np.zeros(0))
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "junk.wav").write_bytes(noise.bytes(5_000))
    (tmp_path / "note.txt").write_text("hello there\n" * 20)
    Image.new("RGB", (8, 8)).save(tmp_path / "picture.png")
    for name, words in [
        ("missing.wav", "no such file"),
        ("zero.wav", "0 samples"),
        ("empty.wav", "empty"),
        ("junk.wav", "cannot be read"),
        ("note.txt", "cannot be read|no sound"),
        ("picture.png", "no sound track"),
        (".", "folder"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            AudioFile(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_broken_sound_names_the_time(tmp_path: Path) -> None:
    flac = write_sound(tmp_path / "a.flac", "flac", 44_100, "mono")
    data = bytearray(flac.read_bytes())
    half = len(data) // 2
    data[half:] = np.random.default_rng(1).bytes(len(data) - half)
    flac.write_bytes(data)
    audio = AudioFile(flac)
    heard: list[np.ndarray] = []
    with pytest.raises(InputError) as error:
        heard.extend(audio.blocks_16k_mono(0.05))
    told = re.search(r"ends at (0\.[89]|1\.\d) s of 2\.5 s", str(error.value))  # decoders differ
    assert told is not None
    assert sum(map(len, heard)) / 16_000 == pytest.approx(float(told[1]), abs=0.2)
    m4a = write_sound(tmp_path / "a.m4a", "aac", 44_100, "mono")
    m4a.write_bytes(m4a.read_bytes()[:3_000])
    with pytest.raises(InputError, match="cannot be read"):
        AudioFile(m4a)


def test_truncated_wav_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(SPEECH.read_bytes()[:100_000])
    assert AudioFile(path).duration_s == pytest.approx(3.1, abs=0.1)


def test_media_kind_by_content(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (0, 90, 180)]
    frames[0].save(tmp_path / "still.gif")
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "pages.tiff", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "photo.wav", format="JPEG")
    write_sound(tmp_path / "cover.mp3", "libmp3lame", 44_100, "stereo", cover=True)
    found = {p.name: media_kind(p) for p in tmp_path.iterdir()}
    assert found == {
        "still.gif": "image",
        "moving.gif": "video",
        "pages.tiff": "image",
        "photo.wav": "image",
        "cover.mp3": "audio",
    }
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(InputError):
        media_kind(tmp_path / "a.npz")
