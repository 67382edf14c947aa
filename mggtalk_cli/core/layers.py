"""Building blocks that the learned stages share: convolutions, U-Nets, small perceptrons.

Last layers start at zero: a network that corrects an analytic result begins as no correction.
Maps are (B, C, H, W) of any height and width; group normalisation does not depend on the batch.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

# Channel groups that are normalised together, where the channels can be divided so.
GROUPS = 8
# A U-Net pads to a multiple of 2^(levels - 1): more levels would pad small pictures to huge ones.
MAX_LEVELS = 7


class ConvBlock(nn.Sequential):
    """3x3 convolution, group normalisation, SiLU; (B, in, H, W) -> (B, out, H, W)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, out_channels, 3, padding=1),
            nn.GroupNorm(_groups(out_channels), out_channels),
            nn.SiLU(),
        )


def _groups(channels: int) -> int:
    """Return a number of groups of at least two channels: one value alone has no variance."""
    return next(n for n in (GROUPS, 4, 2, 1) if n == 1 or channels % (2 * n) == 0)


class UNet(nn.Module):
    """Encoder, decoder and skip connections (Ronneberger et al. 2015) for maps of any size.

    Each level halves the resolution: two blocks down, one block up, averages to shrink and
    bilinear interpolation to grow. Channels are reduced before they grow, at a quarter of the cost.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        widths: tuple[int, ...],
        *,
        zero_last: bool = True,
    ) -> None:
        """Build it.

        Args:
            in_channels: of the input.
            out_channels: of the output.
            widths: channels of each level, full resolution first.
            zero_last: start with an output of zero.

        Raises:
            ValueError: no level, or more than `MAX_LEVELS`.
        """
        super().__init__()
        if not 1 <= len(widths) <= MAX_LEVELS:
            raise ValueError(f"a U-Net has 1..{MAX_LEVELS} levels, not {len(widths)}")
        self.downs = nn.ModuleList(
            nn.Sequential(ConvBlock(before, width), ConvBlock(width, width))
            for before, width in pairwise((in_channels, *widths))
        )
        self.reduces = nn.ModuleList(nn.Conv2d(below, w, 1) for w, below in pairwise(widths))
        self.ups = nn.ModuleList(ConvBlock(2 * width, width) for width in widths[:-1])
        self.last = nn.Conv2d(widths[0], out_channels, 3, padding=1)
        if zero_last:
            zero(self.last)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        """Return (B, out, H, W) of (B, in, H, W)."""
        height, width = x.shape[-2:]
        x = pad_to_multiple(x, 2 ** (len(self.downs) - 1))
        skips = []
        for level, down in enumerate(self.downs):
            x = down(x if level == 0 else functional.avg_pool2d(x, 2))
            skips.append(x)
        for level in reversed(range(len(self.ups))):
            x = functional.interpolate(
                self.reduces[level](x), scale_factor=2, mode="bilinear", align_corners=False
            )
            x = self.ups[level](torch.cat([skips[level], x], 1))
        output: Tensor = self.last(x)
        return output[..., :height, :width]


def pad_to_multiple(x: Float[Tensor, "b c h w"], multiple: int) -> Float[Tensor, "b c hh ww"]:
    """Return maps grown to the right and downwards by repeating their edge.

    >>> pad_to_multiple(torch.zeros(1, 2, 5, 8), 4).shape
    torch.Size([1, 2, 8, 8])
    """
    down, right = -x.shape[-2] % multiple, -x.shape[-1] % multiple
    return functional.pad(x, (0, right, 0, down), mode="replicate") if down or right else x


def zero(layer: nn.Conv2d | nn.Linear) -> None:
    """Set weight and bias of a layer to zero."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def positional_encoding(x: Float[Tensor, "*n d"], octaves: int) -> Float[Tensor, "*n e"]:
    """Return x with sin and cos of 2^k pi x, k = 0..octaves - 1 (NeRF, Mildenhall et al. 2020).

    Args:
        x: (..., d), about -1..1.
        octaves: number of frequencies.

    Returns:
        (..., d (1 + 2 octaves)): x, all sines, all cosines.

    >>> positional_encoding(torch.tensor([[0.0]]), 2)
    tensor([[0., 0., 0., 1., 1.]])
    """
    frequencies = math.pi * 2.0 ** torch.arange(octaves, dtype=x.dtype, device=x.device)
    angles = (x[..., None] * frequencies).flatten(-2)
    return torch.cat([x, angles.sin(), angles.cos()], -1)


def mlp(
    in_features: int, out_features: int, *, width: int, layers: int, zero_last: bool = True
) -> nn.Sequential:
    """Return `layers` linear layers of `width` with SiLU, and a linear one to the output.

    Args:
        in_features: of the input.
        out_features: of the output.
        width: of the hidden layers.
        layers: number of hidden layers, at least 1.
        zero_last: start with an output of zero.
    """
    sizes = (in_features, *(width,) * layers)
    hidden = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
    last = nn.Linear(sizes[-1], out_features)
    if zero_last:
        zero(last)
    return nn.Sequential(*hidden, last)


def soft_limit(x: Tensor, limit: float) -> Tensor:
    """Return x bent to stay within +-limit, of slope 1 at 0.

    >>> soft_limit(torch.tensor([0.0, 1e6]), 2.0)
    tensor([0., 2.])
    """
    return limit * torch.tanh(x / limit)
