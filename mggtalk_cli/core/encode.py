"""Frames and sound into a file: H.264 or VP9, with alpha ProRes or VP9, or numbered PNGs.

`VideoWriter` encodes frames and their share of sound as they come, in constant memory;
`PngSequence` has the same shape for patterns such as `frames/%05d.png`. Colour is tagged BT.709
in limited range, which every player shows alike.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple

import av
import av.error
import numpy as np
from av.video.frame import VideoFrame

from mggtalk_cli.core.image import write_png
from mggtalk_cli.core.output import FrameFiles, atomic_path, is_pattern
from mggtalk_cli.errors import InputError

log = logging.getLogger("mggtalk")

# Bicubic chroma at full width with exact rounding: 2.4 dB better RGB than swscale's fast path.
EXACT_BICUBIC = 0x4 | 0x2000 | 0x4000 | 0x40000
_BT709, _LIMITED_RANGE = 1, 1
# AAC comes in blocks of 1024 samples: at these rates a block is shorter than a frame at 25 fps.
# Other sound is resampled to the last, which is also the only one of Opus.
_SOUND_RATES = {"aac": (44100, 48000), "libopus": (48000,)}
BIT_RATE_PER_CHANNEL = 96_000  # AAC speech is transparent here


class VideoWriter:
    """Encode frames and their sound into one file; use as a context manager.

    Attributes:
        width, height: Frame size in px, even for H.264.
        frames: Frames written so far.
    """

    def __init__(
        self,
        target: Path | BinaryIO,
        width: int,
        height: int,
        fps: float,
        *,
        audio_rate: int | None = None,
        audio_channels: int = 1,
        alpha: bool = False,
    ) -> None:
        """Start a file.

        Args:
            target: A path ending in .mp4, .mov, .mkv or .webm, or a binary stream, which gets
                fragmented mp4, every frame as soon as it is there, and need not be seekable.
            width: Frame width in px.
            height: Frame height in px.
            fps: Frames per second.
            audio_rate: Samples per second of the sound; None = no sound track.
            audio_channels: 1 or 2.
            alpha: Keep transparency: ProRes 4444 in .mov, VP9 in .webm.

        Raises:
            InputError: The file type, or its transparency, is not supported; odd sizes.
        """
        suffix = target.suffix.lower() if isinstance(target, Path) else ".mp4"
        codec = video_codec(target if isinstance(target, Path) else "stream.mp4", alpha=alpha)
        if width % 2 or height % 2:
            raise InputError(f"video sizes must be even, got {width}x{height}: choose another size")
        self.width, self.height, self.frames = width, height, 0
        self._fps, self._alpha = Fraction(fps).limit_denominator(1001), alpha
        self._encoder = ThreadPoolExecutor(1, "mggtalk-encoder")
        self._encoding: Future[None] | None = None
        self._container = _open_output(target)
        self._container.metadata["comment"] = "synthetic talking head made with mggtalk"
        self._video: Any = self._container.add_stream(codec.name, rate=self._fps)
        self._video.width, self._video.height = width, height
        self._video.pix_fmt = codec.pix_fmt
        self._video.options = codec.options | ({} if isinstance(target, Path) else _NO_DELAY)
        context = self._video.codec_context
        context.thread_count = 2
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED_RANGE
        if alpha and suffix == ".webm":
            self._video.metadata["alpha_mode"] = "1"  # else players ignore the alpha blocks
        self._audio: Any = None
        self._rate, self._channels, self._samples = audio_rate or 0, audio_channels, 0
        if audio_rate is not None:
            self._add_audio(suffix)

    def _add_audio(self, suffix: str) -> None:
        name = "libopus" if suffix == ".webm" else "aac"
        rate = self._rate if self._rate in _SOUND_RATES[name] else _SOUND_RATES[name][-1]
        self._audio = self._container.add_stream(name, rate=rate)
        self._audio.layout = self._layout
        self._audio.bit_rate = BIT_RATE_PER_CHANNEL * self._channels

    @property
    def _layout(self) -> str:
        return "mono" if self._channels == 1 else "stereo"

    def write(self, frame: np.ndarray, audio: np.ndarray | None = None) -> None:
        """Append one frame and the sound that goes with it; an error may come with the next one.

        Args:
            frame: (height, width, 3) uint8 RGB, or 4 for RGBA (straight alpha).
            audio: (n, channels) int16, or None.
        """
        source = "rgba" if frame.shape[-1] == 4 else "rgb24"
        if source == "rgba" and not self._alpha:
            frame, source = frame[..., :3], "rgb24"
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format=source)
        picture.pts, picture.time_base = self.frames, 1 / self._fps
        self._finish_frame()
        self.frames += 1
        # Encoded while the caller computes the next frame, of which one thread alone does a part.
        self._encoding = self._encoder.submit(
            self._encode, picture, None if audio is None else audio.copy()
        )

    def _finish_frame(self) -> None:
        """Wait for the frame that is being encoded, and raise what went wrong with it."""
        encoding, self._encoding = self._encoding, None
        if encoding is not None:
            encoding.result()

    def _encode(self, picture: VideoFrame, audio: np.ndarray | None) -> None:
        picture = picture.reformat(
            format=self._video.pix_fmt, dst_colorspace="ITU709", src_color_range="JPEG",
            dst_color_range="MPEG", interpolation=EXACT_BICUBIC,
        )  # fmt: skip
        self._container.mux(self._video.encode(picture))
        if audio is not None and self._audio is not None:
            self._write_audio(audio)

    def _write_audio(self, audio: np.ndarray) -> None:
        # Sound that outlasts the picture by more than a frame would leave a frozen last frame.
        room = int((self.frames + 1) * self._rate / self._fps) - self._samples
        packed = np.ascontiguousarray(audio[: max(room, 0)].reshape(1, -1))
        count = packed.size // self._channels
        if not count:
            return
        chunk = av.AudioFrame.from_ndarray(packed, format="s16", layout=self._layout)
        chunk.sample_rate = self._rate
        chunk.pts, chunk.time_base = self._samples, Fraction(1, self._rate)
        self._container.mux(self._audio.encode(chunk))
        self._samples += count

    def close(self) -> None:
        """Pad the sound to the length of the picture, drain the encoders, finish the file."""
        self._encoder.shutdown()
        self._finish_frame()
        if self._audio is not None:
            missing = round(self.frames * self._rate / self._fps) - self._samples
            if missing > 0:
                self._write_audio(np.zeros((missing, self._channels), np.int16))
            self._container.mux(self._audio.encode(None))
        self._container.mux(self._video.encode(None))
        self._container.close()

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
            return
        self._encoder.shutdown()  # the frame in the making is still using the encoders
        try:  # Free the encoders; the caller throws the broken file away.
            self._container.close()
        except (OSError, ValueError, av.error.FFmpegError):
            log.debug("could not close the broken video", exc_info=True)


class _Codec(NamedTuple):
    name: str
    pix_fmt: str
    options: dict[str, str]


# crf 18 looks like the source to most eyes; veryfast keeps up with the renderer on one core.
# A key frame every 50 lets players seek every two seconds.
_H264 = _Codec("libx264", "yuv420p", {"crf": "18", "preset": "veryfast", "g": "50"})
_NO_DELAY = {"tune": "zerolatency"}  # else x264 holds back half a second of frames
_VP9_SPEED = {"crf": "24", "b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}
_CODECS = {".mp4": _H264, ".mov": _H264, ".mkv": _H264}
_CODECS[".webm"] = _Codec("libvpx-vp9", "yuv420p", _VP9_SPEED)
_ALPHA_CODECS = {
    ".mov": _Codec("prores_ks", "yuva444p10le", {"profile": "4444", "alpha_bits": "16"}),
    # Alternate reference frames are hidden frames, which VP9 cannot combine with alpha.
    ".webm": _Codec("libvpx-vp9", "yuva420p", {**_VP9_SPEED, "auto-alt-ref": "0"}),
}


def video_codec(path: str | Path, *, alpha: bool = False) -> _Codec:
    """Return how a file of this name is encoded; call it early, to refuse before computing.

    Raises:
        InputError: The suffix is unknown, or cannot hold transparency.
    """
    suffix = Path(path).suffix.lower()
    table = _ALPHA_CODECS if alpha else _CODECS
    if suffix in table:
        return table[suffix]
    if alpha and suffix in _CODECS:
        raise InputError(
            f"{path}: {suffix} holds no transparency; use .webm, .mov or a pattern like %05d.png"
        )
    known = ", ".join(table)
    raise InputError(f"{path}: unknown video type {suffix!r}; use {known} or a pattern %05d.png")


def _open_output(target: Path | BinaryIO) -> Any:
    if not isinstance(target, Path):
        flags = "frag_every_frame+delay_moov+default_base_moof"
        return av.open(target, "w", format="mp4", options={"movflags": flags})
    # The index goes to the front, so that browsers start before they have the whole file.
    options = {"movflags": "+faststart"} if target.suffix.lower() in (".mp4", ".mov") else {}
    return av.open(str(target), "w", options=options)


class PngSequence:
    """Numbered pictures such as `out/%05d.png`, from 0; use as a context manager.

    Each file appears whole; when the run fails, the pictures it wrote are removed.
    """

    def __init__(self, pattern: str | Path, *, overwrite: bool = False) -> None:
        """Check the pattern and the folder.

        Raises:
            InputError: The pattern is no .png; or see `core.output.FrameFiles`.
        """
        if Path(pattern).suffix.lower() != ".png":
            raise InputError(f"{pattern}: frame sequences are PNG; use a pattern like %05d.png")
        self._files = FrameFiles(Path(pattern), overwrite=overwrite)

    @property
    def frames(self) -> int:
        """Pictures written so far."""
        return self._files.count

    def write(self, frame: np.ndarray, audio: np.ndarray | None = None) -> None:
        """Write the next (height, width, 3 or 4) uint8 frame; `audio` is not kept."""
        with self._files.next() as part:
            write_png(part, frame)

    def __enter__(self) -> PngSequence:
        self._files.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._files.__exit__(kind, error, trace)


@contextmanager
def frame_writer(
    target: str | Path | BinaryIO,
    width: int,
    height: int,
    fps: float,
    *,
    audio_rate: int | None = None,
    audio_channels: int = 1,
    alpha: bool = False,
    overwrite: bool = False,
) -> Iterator[VideoWriter | PngSequence]:
    """Open a film, a pattern like %05d.png or a binary stream; the file appears only when whole.

    Raises:
        InputError: See `VideoWriter`, `PngSequence` and `atomic_path`.
    """
    name = None if not isinstance(target, str | Path) else Path(target)
    if name is not None and is_pattern(name):
        if audio_rate is not None:
            log.warning("%s: pictures carry no sound; write .mp4 to keep it", target)
        with PngSequence(name, overwrite=overwrite) as sequence:
            yield sequence
        return
    with ExitStack() as stack:
        part: Any = target
        if name is not None:
            video_codec(name, alpha=alpha)
            part = stack.enter_context(atomic_path(name, overwrite=overwrite))
        writer = VideoWriter(
            part, width, height, fps,
            audio_rate=audio_rate, audio_channels=audio_channels, alpha=alpha,
        )  # fmt: skip
        yield stack.enter_context(writer)
