"""Speech features to mouth curves: per-speaker units inside, avatar units outside.

    frozen encoder, block 2 -> layer norm -> two 50 Hz frames stacked -> whitened PCA
    -> linear -> three residual convolutions over time -> opening, width, jaw, closure

The middle of the encoder hears articulation; its last block, next to the words, is worse on
unseen speakers (see data/MODEL_CARD_mouth.md). Frame i of the curves lies at i / 25 s and depends
on the features of frames i - 4 .. i + 4 only, so a stream in blocks gives what the whole gives.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional

from mggtalk_cli.core.expression import ARKIT_NAMES
from mggtalk_cli.errors import WeightsError
from mggtalk_cli.motion.whisper import (
    FEATURE_RATE,
    OFFLINE,
    TINY,
    FeatureStream,
    WhisperEncoder,
    Windows,
    sinusoids,
)

NETWORK_PATH = Path(__file__).parent / "data" / "mouth_network.safetensors"
NETWORK_SHA256 = "6fb6fd49119c4384f8bec19b92e88b17d89b17995d5b5686326b9654ff343055"

ENCODER_BLOCKS = 2  # of four; the features are what the second one gives
MOUTH_RATE = 25  # curve values per second
STACK = FEATURE_RATE // MOUTH_RATE  # feature frames per curve value

# Outputs: four curves for the avatar; the coefficients teach the network and are not used.
CURVES = ("opening", "width", "jaw", "closure")
COEFFICIENTS = (
    *("jawOpen", "mouthPucker", "mouthStretchLeft", "mouthStretchRight", "mouthLowerDownLeft"),
    *("mouthUpperUpLeft", "mouthSmileLeft", "mouthRollLower"),
)
CLOSING = 1.0  # standard deviations of opening that a sure closure takes off
COEFFICIENT_INDEX = [ARKIT_NAMES.index(name) for name in COEFFICIENTS]


@dataclass(frozen=True)
class NetworkSize:
    """Architecture of a mouth network; the weight file carries it."""

    features: int = STACK * TINY.width
    components: int = 96
    channels: int = 96
    dilations: tuple[int, ...] = (1, 2, 1)
    outputs: int = len(CURVES) + len(COEFFICIENTS)
    dropout: float = 0.3

    @property
    def reach(self) -> int:
        """Frames before and after the own one that an output depends on."""
        return sum(self.dilations)


FRAMES_BEFORE = FRAMES_AFTER = NetworkSize().reach


class MouthCurves(NamedTuple):
    """Mouth of an avatar, one value per 1 / 25 s.

    Attributes:
        opening: (n,) float32 0..1, 0 lips together, 1 as wide as speech gets.
        width: (n,) float32 -1 round .. 1 spread, 0 the speaker's mean.
        jaw: (n,) float32 0..1, 0 shut, 1 as low as speech gets.
        closure: (n,) float32 0..1, how sure it is that the lips touch.
    """

    opening: np.ndarray
    width: np.ndarray
    jaw: np.ndarray
    closure: np.ndarray


class MouthFeatures(FeatureStream):
    """`FeatureStream` whose (n, 384) features come from the encoder's middle."""

    def __init__(self, windows: Windows = OFFLINE) -> None:
        """Start a sound.

        Raises:
            WeightsError: The encoder's weight file is missing or damaged.
        """
        super().__init__(windows)
        self._encoder = FirstBlocks(self._encoder)  # type: ignore[assignment]


class FirstBlocks(nn.Module):
    """The beginning of a Whisper encoder, called like the whole."""

    def __init__(self, encoder: WhisperEncoder) -> None:
        super().__init__()
        self.conv1, self.conv2 = encoder.conv1, encoder.conv2
        self.blocks = encoder.blocks[:ENCODER_BLOCKS]

    def forward(self, log_mel: Tensor, keep: slice) -> Tensor:
        """Return (b, n, width) features; see `WhisperEncoder.forward`."""
        x = functional.gelu(self.conv1(log_mel))
        x = functional.gelu(self.conv2(x)).transpose(1, 2)
        x = x + sinusoids(x.shape[2])[: x.shape[1]]
        for index, block in enumerate(self.blocks, 1):
            x = block(x, keep if index == len(self.blocks) else slice(None))
        return x


def stacked(features: np.ndarray) -> np.ndarray:
    """Return (ceil(n / 2), 768) float32 inputs at 25 Hz of (n, 384) features at 50 Hz."""
    missing = -len(features) % STACK
    whole = np.pad(features, ((0, missing), (0, 0)), mode="edge") if missing else features
    wide = STACK * features.shape[1]
    return np.ascontiguousarray(whole, np.float32).reshape(len(whole) // STACK, wide)


class MouthNetwork(nn.Module):
    """Stacked features to curves in units of the speaker's standard deviation.

    Opening and jaw are 0 at the speaker's closed mouth, width at its mean; closure is 0..1.
    """

    mean: Tensor  # (features,) of normalised features
    whitening: Tensor  # (features, components)
    scale: Tensor  # (curves,) avatar units per unit of the output

    def __init__(self, size: NetworkSize | None = None) -> None:
        super().__init__()
        self.size = size = size or NetworkSize()
        self.register_buffer("mean", torch.zeros(size.features))
        self.register_buffer("whitening", torch.zeros(size.features, size.components))
        self.register_buffer("scale", torch.ones(len(CURVES)))
        self.inputs = nn.Linear(size.components, size.channels)
        self.norms = nn.ModuleList(nn.LayerNorm(size.channels) for _ in size.dilations)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(size.channels, size.channels, 3, padding=reach, dilation=reach)
            for reach in size.dilations
        )
        self.outputs = nn.Linear(size.channels, size.outputs)

    def whitened(self, features: Tensor) -> Tensor:
        """Return (..., components) inputs of the layers from (..., features) stacked features."""
        return (normalised(features) - self.mean) @ self.whitening

    def forward(self, components: Tensor) -> Tensor:
        """Return (b, n, outputs) in standard deviations from (b, n, components)."""
        dropout = self.size.dropout
        x = self.inputs(components)
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            change = functional.gelu(convolution(norm(x).transpose(1, 2)).transpose(1, 2))
            x = x + functional.dropout(change, dropout, self.training)
        curves: Tensor = self.outputs(functional.dropout(x, dropout, self.training))
        return curves

    def curves(self, features: Tensor) -> Tensor:
        """Return (n, curves) in standard deviations from (n, features) stacked features.

        Where lips may touch, the mean of what is likely lies between closed and open: a
        prediction of opening alone never closes. So the closure is taken off the opening.
        """
        curves: Tensor = self(self.whitened(features)[None])[0, :, : len(CURVES)]
        opening, closure = (CURVES.index(name) for name in ("opening", "closure"))
        curves[:, opening] -= CLOSING * curves[:, closure]
        return curves

    @torch.inference_mode()
    def shapes(self, features: np.ndarray) -> MouthCurves:
        """Return the mouth of (n, 768) stacked features at 25 Hz.

        Values closer than `FRAMES_BEFORE` and `FRAMES_AFTER` to the ends of the input depend on
        the cut unless the sound begins and ends there.
        """
        if not len(features):
            return MouthCurves(*np.zeros((len(CURVES), 0), np.float32))
        curves = self.curves(torch.from_numpy(np.asarray(features, np.float32))) * self.scale
        low = torch.tensor([-1.0 if name == "width" else 0.0 for name in CURVES])
        return MouthCurves(*curves.T.clamp(low[:, None], torch.ones_like(low)[:, None]).numpy())


def normalised(features: Tensor) -> Tensor:
    """Return stacked features, each frame of 384 with mean 0 and variance 1."""
    frames = features.reshape(*features.shape[:-1], -1, TINY.width)
    return functional.layer_norm(frames, (TINY.width,)).flatten(-2)


@cache
def load_mouth_network() -> MouthNetwork:
    """Return the shipped network, read once.

    Raises:
        WeightsError: See `read_mouth_network`.
    """
    return read_mouth_network(NETWORK_PATH, sha256=NETWORK_SHA256)


def read_mouth_network(path: Path, *, sha256: str | None = None) -> MouthNetwork:
    """Return a network ready for inference.

    Raises:
        WeightsError: The file is missing, has another hash or does not fit.
    """
    if not path.is_file():
        raise WeightsError(f"mouth network {path} is missing: reinstall, or train one")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if sha256 is not None and digest != sha256:
        raise WeightsError(f"{path.name} has SHA-256 {digest}, expected {sha256}: reinstall")
    try:
        tensors = safetensors.torch.load(content)
        with safe_open(path, framework="pt") as file:
            fields = json.loads(file.metadata()["size"])
        size = NetworkSize(**fields | {"dilations": tuple(fields["dilations"])})
        network = MouthNetwork(size)
        network.load_state_dict(tensors)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        raise WeightsError(f"{path.name} is no mouth network: {error}") from error
    return network.eval().requires_grad_(False)


def mouth_network_bytes(network: MouthNetwork) -> bytes:
    """Return the safetensors file of a network; equal networks give equal bytes."""
    tensors = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    return bytes(safetensors.torch.save(tensors, {"size": json.dumps(asdict(network.size))}))
