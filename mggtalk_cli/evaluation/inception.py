"""Inception-v3 as FID was defined with it: the 2015-12-05 TensorFlow network, pooled features.

Entry names are those of its PyTorch conversions (`pt_inception-2015-12-05-6726825d.pth`,
`weights-inception-2015-12-05-6726825d.pth`). It differs from later Inception-v3s in three ways:
average pools leave out the padding, the last block has a maximum pool, and pictures are resized as
TensorFlow 1 did, pixel corners on pixel corners. Szegedy et al. 2016; Heusel et al. 2017.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

INPUT_SIZE, FEATURES = 299, 2048
UNUSED = ("fc.",)  # the classifier, which features do not pass
_BATCH_NORM_EPS = 1e-3

Kernel = int | tuple[int, int]


class Conv(NamedTuple):
    """One convolution of a branch: entry name, output channels, kernel, stride."""

    name: str
    outputs: int
    kernel: Kernel
    stride: int = 1


class Branch(NamedTuple):
    """Convolutions in a row after an optional pool; several in one step run side by side."""

    steps: tuple[tuple[Conv, ...], ...]
    pool: Literal["", "average", "maximum", "halve"] = ""

    def outputs(self, inputs: int) -> int:
        """Return how many channels come out of `inputs`."""
        return sum(conv.outputs for conv in self.steps[-1]) if self.steps else inputs


def _row(*convs: Conv) -> Branch:
    return Branch(tuple((conv,) for conv in convs))


def _block_a(pooled: int) -> tuple[Branch, ...]:
    return (
        _row(Conv("branch1x1", 64, 1)),
        _row(Conv("branch5x5_1", 48, 1), Conv("branch5x5_2", 64, 5)),
        _row(
            *(Conv(f"branch3x3dbl_{i}", n, k) for i, n, k in ((1, 64, 1), (2, 96, 3), (3, 96, 3)))
        ),
        Branch(((Conv("branch_pool", pooled, 1),),), "average"),
    )


def _block_c(width: int) -> tuple[Branch, ...]:
    long = [
        Conv(f"branch7x7dbl_{i}", 192 if i == 5 else width, (7, 1) if i % 2 == 0 else (1, 7))
        for i in range(2, 6)
    ]
    return (
        _row(Conv("branch1x1", 192, 1)),
        _row(
            Conv("branch7x7_1", width, 1),
            Conv("branch7x7_2", width, (1, 7)),
            Conv("branch7x7_3", 192, (7, 1)),
        ),
        _row(Conv("branch7x7dbl_1", width, 1), *long),
        Branch(((Conv("branch_pool", 192, 1),),), "average"),
    )


def _block_e(pool: Literal["average", "maximum"]) -> tuple[Branch, ...]:
    def fork(name: str) -> tuple[Conv, Conv]:
        return Conv(f"{name}a", 384, (1, 3)), Conv(f"{name}b", 384, (3, 1))

    return (
        _row(Conv("branch1x1", 320, 1)),
        Branch(((Conv("branch3x3_1", 384, 1),), fork("branch3x3_2"))),
        Branch(
            (
                (Conv("branch3x3dbl_1", 448, 1),),
                (Conv("branch3x3dbl_2", 384, 3),),
                fork("branch3x3dbl_3"),
            )
        ),
        Branch(((Conv("branch_pool", 192, 1),),), pool),
    )


BLOCK_B = (
    _row(Conv("branch3x3", 384, 3, 2)),
    _row(
        Conv("branch3x3dbl_1", 64, 1),
        Conv("branch3x3dbl_2", 96, 3),
        Conv("branch3x3dbl_3", 96, 3, 2),
    ),
    Branch((), "halve"),
)
BLOCK_D = (
    _row(Conv("branch3x3_1", 192, 1), Conv("branch3x3_2", 320, 3, 2)),
    _row(
        Conv("branch7x7x3_1", 192, 1),
        Conv("branch7x7x3_2", 192, (1, 7)),
        Conv("branch7x7x3_3", 192, (7, 1)),
        Conv("branch7x7x3_4", 192, 3, 2),
    ),
    Branch((), "halve"),
)
BLOCKS: dict[str, tuple[Branch, ...]] = {
    "Mixed_5b": _block_a(32),
    "Mixed_5c": _block_a(64),
    "Mixed_5d": _block_a(64),
    "Mixed_6a": BLOCK_B,
    "Mixed_6b": _block_c(128),
    "Mixed_6c": _block_c(160),
    "Mixed_6d": _block_c(160),
    "Mixed_6e": _block_c(192),
    "Mixed_7a": BLOCK_D,
    "Mixed_7b": _block_e("average"),
    "Mixed_7c": _block_e("maximum"),
}


class Inception(nn.Module):
    """Inception-v3 up to its pooled features: (b, 3, 299, 299) RGB, -1..1 -> (b, 2048)."""

    def __init__(self) -> None:
        super().__init__()
        # The stem, unlike the blocks, pads one convolution only.
        self.Conv2d_1a_3x3 = ConvNorm(3, 32, 3, 2, padding=0)
        self.Conv2d_2a_3x3 = ConvNorm(32, 32, 3, 1, padding=0)
        self.Conv2d_2b_3x3 = ConvNorm(32, 64, 3, 1, padding=1)
        self.Conv2d_3b_1x1 = ConvNorm(64, 80, 1, 1, padding=0)
        self.Conv2d_4a_3x3 = ConvNorm(80, 192, 3, 1, padding=0)
        width = 192
        for name, branches in BLOCKS.items():
            self.add_module(name, Mixed(width, branches))
            width = sum(branch.outputs(width) for branch in branches)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, 2048) features."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = functional.max_pool2d(x, 3, 2)
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(x))
        x = functional.max_pool2d(x, 3, 2)
        for name in BLOCKS:
            x = self.get_submodule(name)(x)
        return x.mean((2, 3))


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(
        self, inputs: int, outputs: int, kernel: Kernel, stride: int, *, padding: Kernel
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=_BATCH_NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, outputs, h', w')."""
        return functional.relu(self.bn(self.conv(x)))


class Mixed(nn.Module):
    """Branches over the same input, joined."""

    def __init__(self, inputs: int, branches: tuple[Branch, ...]) -> None:
        super().__init__()
        self.branches = branches
        for branch in branches:
            width = inputs
            for step in branch.steps:
                for conv in step:
                    self.add_module(conv.name, _conv_norm(width, conv))
                width = sum(conv.outputs for conv in step)

    def forward(self, x: Tensor) -> Tensor:
        """Return (b, joined, h', w')."""
        joined = []
        for branch in self.branches:
            y = _pooled(x, branch.pool)
            for step in branch.steps:
                y = torch.cat([self.get_submodule(conv.name)(y) for conv in step], 1)
            joined.append(y)
        return torch.cat(joined, 1)


def resized(pictures: Tensor) -> Tensor:
    """Return (b, 3, 299, 299) of (b, 3, h, w), interpolated linearly as TensorFlow 1 did.

    Output pixel i lies at input pixel i h / 299; neither half pixels nor an antialiasing filter.
    """
    for axis in (2, 3):
        length = pictures.shape[axis]
        place = torch.arange(INPUT_SIZE, dtype=torch.float32) * (length / INPUT_SIZE)
        low = place.long().clamp_max(length - 1)
        high = (low + 1).clamp_max(length - 1)
        share = (place - low).reshape((-1, 1) if axis == 2 else (-1,))
        first, second = pictures.index_select(axis, low), pictures.index_select(axis, high)
        pictures = first + (second - first) * share
    return pictures


def _conv_norm(inputs: int, conv: Conv) -> ConvNorm:
    rows, columns = conv.kernel if isinstance(conv.kernel, tuple) else (conv.kernel, conv.kernel)
    padding = (0, 0) if conv.stride == 2 else (rows // 2, columns // 2)
    return ConvNorm(inputs, conv.outputs, conv.kernel, conv.stride, padding=padding)


def _pooled(x: Tensor, pool: str) -> Tensor:
    if pool == "average":
        return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    if pool == "maximum":
        return functional.max_pool2d(x, 3, 1, 1)
    return functional.max_pool2d(x, 3, 2) if pool == "halve" else x
