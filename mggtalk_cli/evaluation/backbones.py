"""The networks behind LPIPS, LSE and CSIM, with the entry names of their published weights.

AlexNet (Krizhevsky 2014, as torchvision's), SyncNet (Chung and Zisserman 2016, `syncnet_v2`) and
IResNet (ArcFace, Deng et al. 2019, as InsightFace's). Inception has its own module.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from torch import Tensor, nn

ALEXNET_CHANNELS = (64, 192, 384, 256, 256)
_ALEXNET_STAGES = ((0, 1), (2, 3, 4), (5, 6, 7), (8, 9), (10, 11))  # each ends in a ReLU

SYNCNET_SIZE = 1024
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


class SyncNet(nn.Module):
    """Two towers that put five frames of a face and their .2 s of sound into one space."""

    def __init__(self) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_conv2d(1, 64, 3, 1),
            nn.MaxPool2d(1, 1),
            *_conv2d(64, 192, 3, 1),
            nn.MaxPool2d(3, (1, 2)),
            *(*_conv2d(192, 384, 3, 1), *_conv2d(384, 256, 3, 1), *_conv2d(256, 256, 3, 1)),
            nn.MaxPool2d(3, 2),
            *_conv2d(256, 512, (5, 4), 0),
        )
        self.netfcaud = _head()
        self.netfclip = _head()
        self.netcnnlip = nn.Sequential(
            *_conv3d(3, 96, (5, 7, 7), 0, (1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(96, 256, (1, 5, 5), (0, 1, 1), (1, 2, 2)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2), padding=(0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), (0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), (0, 1, 1)),
            *_conv3d(256, 256, (1, 3, 3), (0, 1, 1)),
            nn.MaxPool3d((1, 3, 3), (1, 2, 2)),
            *_conv3d(256, 512, (1, 6, 6), 0),
        )

    def sounds(self, mfcc: Tensor) -> Tensor:
        """Return (b, 1024) embeddings of (b, 1, 13, 20) cepstra, 100 per second."""
        embedded: Tensor = self.netfcaud(self.netcnnaud(mfcc).flatten(1))
        return embedded

    def lips(self, frames: Tensor) -> Tensor:
        """Return (b, 1024) embeddings of (b, 3, 5, 224, 224) BGR frames, 0..255, at 25 fps."""
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


def _head() -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, SYNCNET_SIZE)
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
