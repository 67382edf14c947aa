"""The learned inpainter: a U-Net's residual on the analytic composite.

    I = C + (1 - alpha) B + (alpha + hole) r(C, alpha, B, hole),    hole = (1 - alpha) matte

with C the head's premultiplied colour, B the plate, and the hole what the person hid in the photo
and uncovers now: there the plate is only a guess. Background that the photo shows stays as it is,
to the last bit; the untrained network changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.core.checkpoint import Network
from mggtalk_cli.core.layers import UNet, soft_limit
from mggtalk_cli.inpaint.composite import composite

# Colour 3, alpha, plate 3, hole.
CHANNELS = 3 + 1 + 3 + 1

# No colour changes by more than this share of the range.
LARGEST_CHANGE = 0.5

Maps = Float[Tensor, "b 3 h w"]
Mask = Float[Tensor, "b 1 h w"]


@dataclass(frozen=True)
class InpaintConfig:
    """Size of an inpainter.

    Attributes:
        widths: channels of the U-Net's levels.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)

    @classmethod
    def tiny(cls) -> InpaintConfig:
        """Return a size for tests and training on a CPU."""
        return cls(widths=(16, 32, 64))

    @classmethod
    def base(cls) -> InpaintConfig:
        """Return the usual size."""
        return cls()


class Inpainter(Network):
    """Head, its coverage, plate and hole to a change of the composite."""

    config: InpaintConfig

    def __init__(self, config: InpaintConfig) -> None:
        super().__init__(config)
        self.unet = UNet(CHANNELS, 3, config.widths)

    def forward(self, color: Maps, alpha: Mask, plate: Maps, hole: Mask) -> Maps:
        """Return the residual (B, 3, H, W), within +-`LARGEST_CHANGE`.

        Args:
            color: head, premultiplied, 0..1.
            alpha: its coverage 0..1.
            plate: background 0..1.
            hole: 0..1, how far the plate is a guess that shows.
        """
        seen = torch.cat([color, alpha, plate, hole], 1)
        change: Tensor = soft_limit(self.unet(seen), LARGEST_CHANGE)
        return change


def hole_mask(alpha: Mask, matte: Mask) -> Mask:
    """Return where the person stood in the photo (matte 0..1) and the head is not now, 0..1."""
    return (1 - alpha) * matte


def inpainted(network: Inpainter, color: Maps, alpha: Mask, plate: Maps, matte: Mask) -> Maps:
    """Return final frames (B, 3, H, W), about 0..1, not clamped; differentiable in everything.

    Args:
        network: the inpainter.
        color: rendered heads, premultiplied.
        alpha: their coverage 0..1.
        plate: what is behind them.
        matte: where the plate was filled in 0..1; 0 everywhere for a background of its own.
    """
    hole = hole_mask(alpha, matte)
    change = network(color, alpha, plate, hole)
    finished: Tensor = color + (1 - alpha) * plate + (alpha + hole) * change
    return finished


def learned_inpainter(
    network: Inpainter, matte: np.ndarray | None
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Return a trained network as an inpainter: (rgba, plate) uint8 -> frame (H, W, 3) uint8.

    Args:
        network: the inpainter.
        matte: (H, W) uint8 coverage of the person in the photo, where the plate was filled; None
            for a background that is not the photo's.
    """
    like = next(network.parameters())

    def finished(rgba: np.ndarray, plate: np.ndarray) -> np.ndarray:
        head, behind = _maps(rgba, like), _maps(plate, like)
        alpha = head[:, 3:]
        filled = torch.zeros_like(alpha) if matte is None else _maps(matte[..., None], like)
        hole = hole_mask(alpha, filled)
        with torch.inference_mode():
            change = network(head[:, :3] * alpha, alpha, behind, hole) * (alpha + hole)
        return changed(composite(rgba, plate), change[0].permute(1, 2, 0))

    return finished


def _maps(picture: np.ndarray, like: Tensor) -> Float[Tensor, "1 c h w"]:
    """Return a (H, W, C) uint8 picture as (1, C, H, W) 0..1 of the type and device of `like`."""
    return torch.from_numpy(np.ascontiguousarray(picture)).to(like).permute(2, 0, 1)[None] / 255


def changed(image: np.ndarray, change: Float[Tensor, "h w 3"]) -> np.ndarray:
    """Return a uint8 picture changed by a share of its range; no change gives the same bytes."""
    levels = image + 255 * change.float().cpu().numpy()
    return np.asarray(np.clip(np.round(levels), 0, 255), np.uint8)
