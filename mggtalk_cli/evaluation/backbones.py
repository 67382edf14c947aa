"""The networks behind LPIPS, LSE and CSIM, with the entry names of their published weights.

AlexNet (Krizhevsky 2014, as torchvision's), SyncNet (Chung and Zisserman 2016, `syncnet_v2`) and
IResNet (ArcFace, Deng et al. 2019, as InsightFace's). Inception has its own module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor, nn

from mggtalk_cli.core.checkpoint import Network

ALEXNET_CHANNELS = (64, 192, 384, 256, 256)
_ALEXNET_STAGES = ((0, 1), (2, 3, 4), (5, 6, 7), (8, 9), (10, 11))  # each ends in a ReLU

SYNCNET_LAYERS = 6  # convolutions of each tower
IDENTITY_SIZE = 512
_BLOCK_NAME = re.compile(r"layer([1-4])\.(\d{1,3})\.bn1\.weight$")
_MAX_BLOCKS = 100  # of one stage; IResNet-200 has 60


class AlexNet(nn.Module):
    """The convolutional part of AlexNet: (b, 3, h, w) -> its five ReLU outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
            *(nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, stride=2)),
            *(nn.Conv2d(192, 384, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(384, 256, 3, padding=1), nn.ReLU()),
            *(nn.Conv2d(256, 256, 3, padding=1), nn.ReLU()),
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the five activations, each (b, channels, h', w')."""
        outputs = []
        for stage in _ALEXNET_STAGES:
            for index in stage:
                x = self.features[index](x)
            outputs.append(x)
        return outputs


@dataclass(frozen=True)
class SyncConfig:
    """Widths of SyncNet; the defaults are those of the published weights.

    Attributes:
        sound: channels of the sound tower's six convolutions.
        lips: channels of the picture tower's six convolutions.
        embedding: numbers in the common space.
    """

    sound: tuple[int, ...] = (64, 192, 384, 256, 256, 512)
    lips: tuple[int, ...] = (96, 256, 256, 256, 256, 512)
    embedding: int = 1024

    def __post_init__(self) -> None:
        """Check the widths.

        Raises:
            ValueError: a tower has not six, or a width is below one.
        """
        towers = (self.sound, self.lips)
        if {*map(len, towers)} != {SYNCNET_LAYERS} or min(*self.sound, *self.lips) < 1:
            raise ValueError(f"SyncNet takes {SYNCNET_LAYERS} widths a tower, got {towers}")
        if self.embedding < 1:
            raise ValueError(f"SyncNet embeds in one number or more, got {self.embedding}")

    @classmethod
    def tiny(cls) -> SyncConfig:
        """Return a quarter of the width: what CPU cores train."""
        return cls((16, 48, 96, 64, 64, 128), (24, 64, 64, 64, 64, 128), 256)

    @classmethod
    def base(cls) -> SyncConfig:
        """Return the published widths."""
        return cls()


class SyncNet(Network):
    """Two towers that put five frames of a face and their .2 s of sound into one space."""

    def __init__(self, config: SyncConfig | None = None) -> None:
        """Build it, at the published widths unless others are given."""
        config = config or SyncConfig()
        super().__init__(config)
        a, b, c, d, e, f = config.sound
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, a, 3, 1),
            nn.MaxPool2d(1, 1),
            *_conv2d(a, b, 3, 1),
            nn.MaxPool2d(3, (1, 2)),
            *(*_conv2d(b, c, 3, 1), *_conv2d(c, d, 3, 1), *_conv2d(d, e, 3, 1)),
            nn.MaxPool2d(3, 2),
            *_conv2d(e, f, (5, 4), 0),
        )
        self.netfcaud = _head(f, config.embedding)
        a, b, c, d, e, f = config.lips
        self.netfclip = _head(f, config.embedding)
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, a, (5, 7, 7), 0, (1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(a, b, (1, 5, 5), (0, 1, 1), (1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1)),
            *_conv3d(b, c, (1, 3, 3), (0, 1, 1)),
            *_conv3d(c, d, (1, 3, 3), (0, 1, 1)),
            *_conv3d(d, e, (1, 3, 3), (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(e, f, (1, 6, 6), 0),
        )

    def forward(self, frames: Tensor, mfcc: Tensor) -> tuple[Tensor, Tensor]:
        """Return the embeddings of both."""
        return self.lips(frames), self.sounds(mfcc)

    def sounds(self, mfcc: Tensor) -> Tensor:
        """Return (b, embedding) of (b, 1, 13, 20) cepstra, 100 per second."""
        embedded: Tensor = self.netfcaud(self.netcnnaud(mfcc).flatten(1))
        return embedded

    def lips(self, frames: Tensor) -> Tensor:
        """Return (b, embedding) of (b, 3, 5, 224, 224) BGR frames, 0..255, at 25 fps."""
        embedded: Tensor = self.netfclip(self.netcnnlip(frames).flatten(1))
        return embedded


class IResNet(nn.Module):
    """ArcFace's residual network: (b, 3, 112, 112) RGB, -1..1 -> (b, 512), not normalised."""

    def __init__(self, blocks: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.prelu = nn.PReLU(64)
        width = 64
        for index, (count, outputs) in enumerate(zip(blocks, (64, 128, 256, 512), strict=True), 1):
            rest = [_Residual(outputs, outputs, first=False) for _ in range(count - 1)]
            stage = nn.Sequential(_Residual(width, outputs, first=True), *rest)
            self.add_module(f"layer{index}", stage)
            width = outputs
        self.bn2 = nn.BatchNorm2d(512)
        self.fc = nn.Linear(512 * 7 * 7, IDENTITY_SIZE)
        self.features = nn.BatchNorm1d(IDENTITY_SIZE)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, 512) embeddings."""
        x = self.prelu(self.bn1(self.conv1(x)))
        for index in range(1, 5):
            x = self.get_submodule(f"layer{index}")(x)
        embedded: Tensor = self.features(self.fc(self.bn2(x).flatten(1)))
        return embedded


def iresnet_blocks(entries: Iterable[str]) -> tuple[int, ...] | None:
    """Return how many blocks each stage of an IResNet has, by its weights' entry names.

    None where these are not an IResNet's.

    >>> iresnet_blocks(f"layer{i}.{j}.bn1.weight" for i in (1, 2, 3, 4) for j in range(i))
    (1, 2, 3, 4)
    """
    counts = [0, 0, 0, 0]
    for entry in entries:
        if match := _BLOCK_NAME.match(entry):
            stage = int(match[1]) - 1
            counts[stage] = max(counts[stage], int(match[2]) + 1)
    return tuple(counts) if min(counts) > 0 and max(counts) <= _MAX_BLOCKS else None


class _Residual(nn.Module):
    """Batch norm, convolution, batch norm, PReLU, convolution, batch norm, plus the input.

    The first block of a stage halves the picture, and its input goes through a convolution.
    """

    def __init__(self, inputs: int, outputs: int, *, first: bool) -> None:
        super().__init__()
        stride = 2 if first else 1
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        if first:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(outputs))
        else:
            self.downsample = nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, outputs, h', w')."""
        y: Tensor = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        return y + self.downsample(x)


def _head(width: int, embedding: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(width, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, embedding)
    )


Size = int | tuple[int, ...]


def _conv2d(inputs: int, outputs: int, kernel: Size, padding: Size) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, kernel, padding=padding)  # type: ignore[arg-type]
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


def _conv3d(
    inputs: int, outputs: int, kernel: Size, padding: Size, stride: Size = 1
) -> tuple[nn.Module, ...]:
    convolution = nn.Conv3d(inputs, outputs, kernel, stride, padding)  # type: ignore[arg-type]
    return convolution, nn.BatchNorm3d(outputs), nn.ReLU()
