"""The mouth network: blocks equal the whole, weights are checked, the shipped one hears speech."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from mggtalk_cli.core.audio import AudioFile
from mggtalk_cli.errors import WeightsError
from mggtalk_cli.motion.network import (
    CURVES,
    FRAMES_AFTER,
    FRAMES_BEFORE,
    NETWORK_PATH,
    MouthFeatures,
    MouthNetwork,
    load_mouth_network,
    mouth_network_bytes,
    read_mouth_network,
    stacked,
)
from mggtalk_cli.motion.voice import voice_track
from mggtalk_cli.motion.whisper import load_encoder


@pytest.fixture(scope="module")
def speech_features(speech_path: Path) -> np.ndarray:
    stream = MouthFeatures()
    pushed = [stream.push(block) for block in AudioFile(speech_path).blocks_16k_mono()]
    return np.concatenate([*pushed, stream.finish()])


def test_blocks_give_what_the_whole_gives(speech_features: np.ndarray) -> None:
    network, inputs = load_mouth_network(), stacked(speech_features)
    whole = np.stack(network.shapes(inputs))
    for begin in range(0, len(inputs), 10):
        low, high = max(begin - FRAMES_BEFORE, 0), begin + 10 + FRAMES_AFTER
        block = np.stack(network.shapes(inputs[low:high]))[:, begin - low :][:, :10]
        np.testing.assert_allclose(block, whole[:, begin : begin + 10], atol=1e-5)


def test_nothing_beyond_the_stated_reach_counts() -> None:
    torch.manual_seed(0)
    network = MouthNetwork().eval()
    inputs = torch.randn(1, 40, network.size.components)
    moved = inputs.clone()
    moved[:, 20] += 1
    with torch.no_grad():
        changed = (network(inputs) - network(moved)).abs().amax(dim=(0, 2)).nonzero()[:, 0]
    assert changed.tolist() == list(range(20 - FRAMES_AFTER, 20 + FRAMES_BEFORE + 1))


def test_odd_features_and_none() -> None:
    features = np.arange(3 * 384, dtype=np.float32).reshape(3, 384)
    pairs = stacked(features)
    assert pairs.shape == (2, 768)
    np.testing.assert_array_equal(pairs[1, :384], pairs[1, 384:])
    assert stacked(features[:0]).shape == (0, 768)
    assert [len(c) for c in load_mouth_network().shapes(pairs[:0])] == [0] * len(CURVES)


def test_features_are_the_second_block_of_the_encoder(speech_path: Path) -> None:
    samples = np.concatenate(list(AudioFile(speech_path).blocks_16k_mono()))[:32_000]
    middle: list[torch.Tensor] = []
    encoder = load_encoder()
    hook = encoder.blocks[1].register_forward_hook(lambda _m, _i, out: middle.append(out))
    stream = MouthFeatures()
    found = np.concatenate([stream.push(samples), stream.finish()])
    hook.remove()
    assert found.shape == (100, 384)
    np.testing.assert_array_equal(found, torch.cat(middle, dim=1)[0].numpy())


def test_the_mouth_opens_in_speech_and_rests_in_pauses(
    speech_features: np.ndarray, speech_path: Path
) -> None:
    shapes = load_mouth_network().shapes(stacked(speech_features))
    voice = voice_track(AudioFile(speech_path))
    active = voice.active[np.minimum(4 * np.arange(len(shapes.opening)), len(voice.active) - 1)]
    assert shapes.opening[active].mean() > 1.5 * shapes.opening[~active].mean()
    assert shapes.opening[active].std() > 0.1
    assert shapes.closure[active].max() > 0.5  # it has p, b, m
    for name, curve in zip(CURVES, shapes, strict=True):
        assert curve.dtype == np.float32
        assert curve.min() >= (-1 if name == "width" else 0)
        assert curve.max() <= 1


def test_it_is_written_and_read_back(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = MouthNetwork()
    path = tmp_path / "mouth.safetensors"
    path.write_bytes(mouth_network_bytes(network))
    again = read_mouth_network(path)
    assert mouth_network_bytes(again) == path.read_bytes()
    with pytest.raises(WeightsError, match="SHA-256"):
        read_mouth_network(path, sha256="0" * 64)


@pytest.mark.parametrize("content", [b"", b"no weights", None])
def test_what_is_no_network_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "mouth.safetensors"
    if content is None:  # weights of something else
        path = NETWORK_PATH.parent / "whisper_tiny_en_encoder.safetensors"
    else:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"\.safetensors"):
        read_mouth_network(path)
    with pytest.raises(WeightsError, match="missing"):
        read_mouth_network(tmp_path / "none.safetensors")
