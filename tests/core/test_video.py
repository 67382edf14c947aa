"""Clips are shown upright and by time, and what is written comes back in sync."""

from __future__ import annotations

import io
import logging
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from mggtalk_cli.core import encode
from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.core.encode import PngSequence, VideoWriter, frame_writer, video_codec
from mggtalk_cli.core.video import VideoReader
from mggtalk_cli.errors import InputError

GREY_STEP = 4  # grey levels per millisecond-coded unit, well above coding noise


def smooth_picture(height: int = 96, width: int = 128, shift: int = 0) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin((x + shift) / 17 + c) * np.cos(y / 23 - c) for c in range(3)]
    return (127 + 100 * np.stack(waves, -1)).astype(np.uint8)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / np.mean((a.astype(float) - b.astype(float)) ** 2)))


def write_grey_clip(
    path: Path, times_ms: list[int], *, size: tuple[int, int] = (64, 48), aspect: int = 1,
    rotation: int = 0, marker: bool = False,
) -> Path:  # fmt: skip
    """Write frames at given times whose grey level is 20 + GREY_STEP * index."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=1000, options={"crf": "5", "tune": "psnr"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        if rotation:
            stream.set_display_rotation(rotation)
        for index, time in enumerate(times_ms):
            image = np.full((size[1], size[0], 3), 20 + GREY_STEP * index, np.uint8)
            if marker:
                image[: size[1] // 2, : size[0] // 2] = 235
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def indices(reader: VideoReader) -> list[int]:
    """Return which source frame each output frame shows."""
    return [round((float(f[24:40, 16:48].mean()) - 20) / GREY_STEP) for f in reader]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_round_trip(tmp_path: Path, suffix: str) -> None:
    frames = [smooth_picture(shift=3 * i) for i in range(12)]
    with VideoWriter(tmp_path / f"a{suffix}", 128, 96, 25) as writer:
        for frame in frames:
            writer.write(frame)
    reader = VideoReader(tmp_path / f"a{suffix}")
    back = list(reader)
    assert reader.size == (128, 96)
    assert not reader.has_audio
    assert len(back) == 12
    assert min(psnr(a, b) for a, b in zip(frames, back, strict=True)) > 35


def test_a_frame_may_be_drawn_over_once_it_is_written(tmp_path: Path) -> None:
    frame, sound = np.empty((96, 128, 3), np.uint8), np.zeros((640, 1), np.int16)
    with VideoWriter(tmp_path / "a.mp4", 128, 96, 25, audio_rate=16000) as writer:
        for index in range(12):
            frame[:], sound[:] = 20 + GREY_STEP * index, 0
            writer.write(frame, sound)
            frame[:], sound[:] = 255, 20_000
    assert indices(VideoReader(tmp_path / "a.mp4")) == list(range(12))
    (chunk,) = AudioFile(str(tmp_path / "a.mp4")).pcm_chunks(2.0)
    assert np.abs(chunk).max() < 100


class FullDisk(io.RawIOBase):
    """Takes 20 kB."""

    taken = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.taken += len(data)
        if self.taken > 20_000:
            raise OSError(28, "No space left on device")
        return len(data)


def test_what_goes_wrong_while_encoding_is_raised_by_a_later_call() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)

    def film() -> None:
        with VideoWriter(FullDisk(), 128, 96, 25) as writer:
            for shift in range(200):
                writer.write(np.roll(noise, shift, 0))

    with pytest.raises(OSError, match="No space left"):
        film()
    assert not [t for t in threading.enumerate() if t.name.startswith("mggtalk-encoder")]


def test_colours_keep_their_values(tmp_path: Path) -> None:
    bars = np.zeros((64, 128, 3), np.uint8)
    for i, colour in enumerate([(220, 40, 30), (30, 200, 60), (40, 60, 210), (200, 160, 130)]):
        bars[:, 32 * i : 32 * i + 32] = colour
    with VideoWriter(tmp_path / "a.mp4", 128, 64, 25) as writer:
        writer.write(bars)
    (back,) = VideoReader(tmp_path / "a.mp4")
    assert np.abs(back[20:44, 8::32].astype(int) - bars[20:44, 8::32]).max() <= 4
    with av.open(str(tmp_path / "a.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.pix_fmt, context.colorspace, context.color_range) == ("yuv420p", 1, 1)


@pytest.mark.parametrize(
    ("fps", "expected"),
    [
        (25, list(range(25))),
        (50, [2 * i for i in range(25)]),
        (24, [min(23, round(i * 24 / 25)) for i in range(25)]),
        (12.5, [i // 2 for i in range(25)]),
    ],
)
def test_one_second_becomes_25_frames_by_time(
    tmp_path: Path, fps: float, expected: list[int]
) -> None:
    count = round(fps)
    times = [round(i * 1000 / fps) for i in range(13 if fps == 12.5 else count)]
    shown = indices(VideoReader(write_grey_clip(tmp_path / "a.mp4", times)))
    assert abs(len(shown) - len(times) * 25 / fps) <= 1
    assert all(
        abs(a - b) <= (1 if fps in (24, 12.5) else 0) for a, b in zip(shown, expected, strict=False)
    )


def test_60_fps_picks_the_nearest_in_time(tmp_path: Path) -> None:
    times = [round(i * 1000 / 60) for i in range(50)]
    shown = indices(VideoReader(write_grey_clip(tmp_path / "a.mp4", times)))
    off_ms = [abs(times[frame] - 40 * i) for i, frame in enumerate(shown)]
    assert max(off_ms) <= 9


def test_variable_rate_holds_until_the_next_is_due(tmp_path: Path) -> None:
    times = [0, 40, 80, 600, 640, 700, 1000, 1040]
    shown = indices(VideoReader(write_grey_clip(tmp_path / "a.mp4", times)))
    for i, frame in enumerate(shown[:-1]):
        now = i * 40
        assert times[frame] <= now + 20
        later = [t for t in times[frame + 1 :] if t <= now - 21]
        assert not later
    assert len(shown) == 27


def test_late_start_holds_the_first_frame(tmp_path: Path) -> None:
    path = write_grey_clip(tmp_path / "a.mkv", [5000 + 40 * i for i in range(10)])
    assert indices(VideoReader(path)) == list(range(10))


@pytest.mark.parametrize(
    ("rotation", "corner"), [(90, "bottom left"), (180, "bottom right"), (270, "top right")]
)
def test_rotation_flag_is_obeyed(tmp_path: Path, rotation: int, corner: str) -> None:
    path = write_grey_clip(tmp_path / "a.mp4", [0, 40, 80], rotation=rotation, marker=True)
    reader = VideoReader(path)
    first = next(iter(reader))
    assert reader.size == ((64, 48) if rotation == 180 else (48, 64))
    assert first.shape[:2] == reader.size[::-1]
    turned = np.rot90(np.pad(np.ones((24, 32)), ((0, 24), (0, 32))), rotation // 90)
    assert ((first[..., 0] > 128) == (turned > 0)).mean() > 0.95
    vertical, horizontal = corner.split()
    half = first[..., 0] > 128
    rows = half[half.shape[0] // 2 :] if vertical == "bottom" else half[: half.shape[0] // 2]
    part = rows[:, : half.shape[1] // 2] if horizontal == "left" else rows[:, half.shape[1] // 2 :]
    assert part.mean() > 0.9


def test_anamorphic_pixels_become_square(tmp_path: Path) -> None:
    reader = VideoReader(write_grey_clip(tmp_path / "a.mp4", [0, 40], aspect=2))
    assert reader.size == (128, 48)
    assert next(iter(reader)).shape == (48, 128, 3)


def test_large_frames_are_reduced(tmp_path: Path) -> None:
    path = write_grey_clip(tmp_path / "a.mp4", [0, 40])
    assert VideoReader(path, max_side=32).size == (32, 24)


def test_gif_with_odd_size(tmp_path: Path) -> None:
    frames = [Image.new("L", (33, 21), 20 + 40 * i) for i in range(5)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=80)
    reader = VideoReader(tmp_path / "a.gif")
    shown = list(reader)
    assert reader.size == (33, 21)
    assert len(shown) == 10
    assert [round(f.mean()) for f in shown[::2]] == [20, 60, 100, 140, 180]


def test_reader_can_be_read_twice_and_left_early(tmp_path: Path) -> None:
    reader = VideoReader(write_grey_clip(tmp_path / "a.mp4", [40 * i for i in range(20)]))
    next(iter(reader))
    assert indices(reader) == indices(reader) == list(range(20))


@pytest.mark.parametrize("rate", [8000, 11000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_click_stays_in_sync(tmp_path: Path, rate: int, suffix: str) -> None:
    path, fps, count, at_frame = tmp_path / f"a{suffix}", 25, 50, 30
    with VideoWriter(path, 64, 48, fps, audio_rate=rate, audio_channels=2) as writer:
        for i in range(count):
            begin, end = round(i * rate / fps), round((i + 1) * rate / fps)
            sound = np.zeros((end - begin, 2), np.int16)
            if i == at_frame:
                sound[: rate // 200] = 24000
            flash = np.full((48, 64, 3), 255 if i == at_frame else 0, np.uint8)
            writer.write(flash, sound)
    frames = [f.mean() for f in VideoReader(path)]
    assert len(frames) == count
    assert int(np.argmax(frames)) == at_frame
    sound, sound_rate = decode_sound(path)
    click_s = float(np.argmax(np.abs(sound) > 0.3)) / sound_rate
    assert abs(click_s - at_frame / fps) < 0.5 / fps
    assert abs(len(sound) / sound_rate - count / fps) < 1 / fps


def decode_sound(path: Path) -> tuple[np.ndarray, int]:
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler("flt", "mono", rate)
        pieces = [
            out.to_ndarray()[0]
            for frame in [*container.decode(audio=0), None]
            for out in resampler.resample(frame)
        ]
    return np.concatenate(pieces), rate


@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
def test_sound_is_fitted_to_the_picture(tmp_path: Path, share: float) -> None:
    with VideoWriter(tmp_path / "a.mp4", 64, 48, 25, audio_rate=16000) as writer:
        for _ in range(25):
            writer.write(np.zeros((48, 64, 3), np.uint8), np.ones((int(640 * share), 1), np.int16))
    with av.open(str(tmp_path / "a.mp4")) as container:
        lengths = [float(s.duration * s.time_base) for s in container.streams]
    assert abs(lengths[0] - 1.0) < 0.001
    assert abs(lengths[1] - 1.0) <= 0.041


def test_mp4_starts_with_its_index_and_streams_when_piped(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", 64, 48, 25) as writer:
        for _ in range(3):
            writer.write(smooth_picture(48, 64))
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")

    class Pipe(io.RawIOBase):
        """Takes bytes and cannot seek."""

        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, block: bytes) -> int:  # type: ignore[override]
            self.data += bytes(block)
            return len(block)

    pipe = Pipe()
    with VideoWriter(pipe, 64, 48, 25, audio_rate=16000) as writer:  # type: ignore[arg-type]
        for _ in range(30):
            writer.write(smooth_picture(48, 64), np.zeros((640, 1), np.int16))
    (tmp_path / "b.mp4").write_bytes(pipe.data)
    assert len(list(VideoReader(tmp_path / "b.mp4"))) == 30


@pytest.mark.parametrize(
    ("suffix", "decoder", "pix_fmt"),
    [(".webm", "libvpx-vp9", "yuva420p"), (".mov", "prores", "yuva444p")],
)
def test_transparency_survives(tmp_path: Path, suffix: str, decoder: str, pix_fmt: str) -> None:
    rgba = np.dstack([smooth_picture(), np.full((96, 128), 255, np.uint8)])
    rgba[:, :64, 3] = 0
    with VideoWriter(tmp_path / f"a{suffix}", 128, 96, 25, alpha=True) as writer:
        for _ in range(3):
            writer.write(rgba)
    with av.open(str(tmp_path / f"a{suffix}")) as container:
        context = av.CodecContext.create(decoder, "r")
        packet = next(p for p in container.demux(video=0) if p.size)
        frame = (context.decode(packet) or context.decode(None))[0]
    assert frame.format.name.startswith(pix_fmt)
    alpha = frame.to_ndarray(format="rgba")[..., 3]
    assert alpha[:, :60].max() < 12
    assert alpha[:, 68:].min() > 243


@pytest.mark.parametrize(
    ("name", "alpha", "says"),
    [
        ("a.avi", False, "unknown video type"),
        ("a.mp4", True, "no transparency"),
        ("a", False, "%05d"),
    ],
)
def test_unsupported_outputs_are_refused(name: str, alpha: bool, says: str) -> None:
    with pytest.raises(InputError, match=says):
        video_codec(name, alpha=alpha)


def test_odd_output_size_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="even"):
        VideoWriter(tmp_path / "a.mp4", 63, 48, 25)


@pytest.mark.parametrize(
    ("content", "says"), [(b"", "empty"), (b"plain text, no video" * 50, "damaged")]
)
def test_unreadable_clips(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.mp4.*{says}"):
        VideoReader(tmp_path / "a.mp4")


def test_missing_clip_folder_and_sound_only(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such video"):
        VideoReader(tmp_path / "none.mp4")
    with pytest.raises(InputError, match="folder"):
        VideoReader(tmp_path)
    with pytest.raises(InputError, match="only sound"):
        VideoReader(Path(__file__).parents[2] / "examples" / "speech.wav")


def test_clip_cut_off_before_its_index(tmp_path: Path) -> None:
    path = write_grey_clip(tmp_path / "a.mp4", [40 * i for i in range(50)])
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(InputError, match="damaged"):
        VideoReader(path)


def test_clip_that_breaks_off_is_used_up_to_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with VideoWriter(tmp_path / "a.mp4", 128, 96, 25) as writer:
        for i in range(100):
            noise = np.random.default_rng(i).integers(0, 255, (96, 128, 3), dtype=np.uint8)
            writer.write(noise)
    data = (tmp_path / "a.mp4").read_bytes()
    (tmp_path / "a.mp4").write_bytes(data[: len(data) // 2])
    with caplog.at_level(logging.WARNING, "mggtalk"):
        shown = list(VideoReader(tmp_path / "a.mp4"))
    assert 20 < len(shown) < 80
    assert "breaks off" in caplog.text


def test_png_sequence(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames = [smooth_picture(shift=i) for i in range(3)]
    with frame_writer(tmp_path / "f%03d.png", 128, 96, 25) as writer:
        for frame in frames:
            writer.write(frame)
    files = sorted(tmp_path.glob("f*.png"))
    assert [f.name for f in files] == ["f000.png", "f001.png", "f002.png"]
    assert np.array_equal(np.asarray(Image.open(files[2])), frames[2])
    with pytest.raises(InputError, match="--overwrite"):
        PngSequence(tmp_path / "f%03d.png")
    with (
        caplog.at_level(logging.WARNING, encode.log.name),
        PngSequence(tmp_path / "f%03d.png", overwrite=True) as writer,
    ):
        writer.write(frames[2])
    assert np.array_equal(np.asarray(Image.open(files[0])), frames[2])
    assert "f001.png: older frames" in caplog.text


@pytest.mark.parametrize("pattern", ["a%s.png", "a%d%d.png", "a%05d.jpg", "a.png"])
def test_png_sequence_refuses_other_patterns(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(InputError):
        PngSequence(tmp_path / pattern)


@pytest.mark.parametrize("name", ["a.mp4", "a%05d.png"])
def test_failed_run_leaves_nothing(tmp_path: Path, name: str) -> None:
    def fail() -> None:
        with frame_writer(tmp_path / name, 128, 96, 25, audio_rate=16000) as writer:
            writer.write(smooth_picture())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not list(tmp_path.iterdir())


def test_pictures_warn_that_the_sound_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        caplog.at_level(logging.WARNING, encode.log.name),
        frame_writer(tmp_path / "%05d.png", 128, 96, 25, audio_rate=16000) as writer,
    ):
        writer.write(smooth_picture())
    assert "no sound" in caplog.text
