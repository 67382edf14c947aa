"""F of the paper: what the photo says about a person, as a map of features, once per head."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.core.checkpoint import Network
from mggtalk_cli.core.layers import UNet


@dataclass(frozen=True)
class EncoderConfig:
    """Architecture of an identity encoder.

    Attributes:
        channels: of the feature map; the decoders' configs name the same number.
        widths: channels of the U-Net's levels.
    """

    channels: int = 32
    widths: tuple[int, ...] = (32, 64, 128, 256)

    @classmethod
    def tiny(cls) -> EncoderConfig:
        """Return a size for tests and training on a CPU."""
        return cls(channels=16, widths=(16, 32, 64))

    @classmethod
    def base(cls) -> EncoderConfig:
        """Return the usual size."""
        return cls()


class IdentityEncoder(Network):
    """Photo (B, 3, H, W), 0..1, to features (B, C, H, W)."""

    config: EncoderConfig

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.unet = UNet(3, config.channels, config.widths, zero_last=False)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c h w"]:
        """Return the features of every pixel."""
        features: Tensor = self.unet(2 * image - 1)
        return features
