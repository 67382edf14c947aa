"""The adversary of the inpainter: PatchGAN (Isola et al. 2017) with spectral norms (Miyato 2018).

Every score judges 70 x 70 pixels of a frame: sharp or not, whoever it shows. It takes the losses
`adversary_hinge` and `generator_hinge`, and is not part of any result.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from mggtalk_cli.core.checkpoint import Network

# 4 x 4 convolutions with these strides, the last one to the scores: each score sees
# 1 + 3 (1 + 2 + 4 + 8 + 8) = 70 px.
STRIDES = (2, 2, 2, 1, 1)
KERNEL = 4
# Channels grow to this many times those of the first layer.
LARGEST_GROWTH = 8
LEAK = 0.2


@dataclass(frozen=True)
class PatchGanConfig:
    """Size of a discriminator.

    Attributes:
        channels: of the pictures, with what they are judged by (alpha, plate, ...).
        width: channels of the first layer.
    """

    channels: int = 3
    width: int = 64

    @classmethod
    def tiny(cls) -> PatchGanConfig:
        """Return a size for tests and training on a CPU."""
        return cls(width=16)

    @classmethod
    def base(cls) -> PatchGanConfig:
        """Return the usual size."""
        return cls()


class PatchGan(Network):
    """Pictures to scores of their patches: high for real ones."""

    config: PatchGanConfig

    def __init__(self, config: PatchGanConfig) -> None:
        super().__init__(config)
        growth = [min(2**layer, LARGEST_GROWTH) for layer in range(len(STRIDES) - 1)]
        sizes = (config.channels, *(config.width * factor for factor in growth), 1)
        layers: list[nn.Module] = []
        for (before, after), stride in zip(pairwise(sizes), STRIDES, strict=True):
            layers += [
                spectral_norm(nn.Conv2d(before, after, KERNEL, stride=stride, padding=1)),
                nn.LeakyReLU(LEAK),
            ]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, pictures: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 1 u v"]:
        """Return the scores of pictures 0..1 of at least 32 x 32 px, one for every 8 x 8 px."""
        scores: Tensor = self.layers(2 * pictures - 1)
        return scores


def new_judge(preset: str) -> PatchGan:
    """Return an untrained discriminator of the size "tiny" or "base"."""
    return PatchGan(getattr(PatchGanConfig, preset)())
