"""Learned depth offsets on the integrated surface: dD of P_f = backproject(D_c + dD).

    dD = mask .1 range(z) tanh(UNet(rgb, P_c - mean, normals of P_c, mask))

The analytic surface is right in the face and guessed elsewhere; the network sees photo and surface
and moves points along their rays. It works at the resolution it was trained for and its offsets,
which are smooth, are enlarged. Untrained it gives exactly zero; what it has learned is told in
data/MODEL_CARD_refiner.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mggtalk_cli.core.checkpoint import Network
from mggtalk_cli.core.layers import UNet
from mggtalk_cli.head.surface import Refiner

# An offset is at most this share of the depth range of the person.
LARGEST_SHARE = 0.1
# Positions are given to the network in units of this, about the radius of a head, cm.
POSITION_CM = 10.0
# rgb, position, normal, mask.
CHANNELS = 3 + 3 + 3 + 1
# It learned from pictures of heads. Points farther than this from the middle of the face, up, down
# or sideways, stay where they are; nearer than that by `FADE_CM`, they take the full offset.
REACH_CM, FADE_CM = 28.0, 4.0
# Squared length (cm^2) below which a normal has no direction, and least coverage of a coarse cell.
TINY = 1e-12
LEAST_COVER = 1e-6


@dataclass(frozen=True)
class RefinerConfig:
    """Architecture of a refiner.

    Attributes:
        widths: channels of the U-Net's levels.
        side: longer side of the maps it works on, px; larger ones are averaged down to it.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    side: int = 256

    @classmethod
    def tiny(cls) -> RefinerConfig:
        """Return a size for tests and training on a CPU."""
        return cls(widths=(16, 32, 64), side=128)

    @classmethod
    def base(cls) -> RefinerConfig:
        """Return the usual size."""
        return cls()


class RefinerNetwork(Network):
    """Photo and coarse surface to depth offsets, cm."""

    config: RefinerConfig

    def __init__(self, config: RefinerConfig) -> None:
        """Build it.

        Raises:
            ValueError: a side of zero.
        """
        super().__init__(config)
        if config.side < 1:
            raise ValueError(f"a refiner cannot work on maps of {config.side} px")
        self.unet = UNet(CHANNELS, 1, config.widths)

    def forward(
        self,
        rgb: Float[Tensor, "b 3 h w"],
        positions: Float[Tensor, "b 3 h w"],
        mask: Float[Tensor, "b 1 h w"],
    ) -> Float[Tensor, "b 1 h w"]:
        """Return depth offsets in cm, 0 off the mask; positive is farther from the camera.

        Args:
            rgb: the photo, 0..1.
            positions: head frame, cm.
            mask: 1 on the person, 0 elsewhere.
        """
        mean, depth_range = masked_extent(positions, mask)
        size = _work_size(positions.shape[-2:], self.config.side)
        cover = _smaller(mask, size)
        points = _smaller(positions * mask, size) / cover.clamp_min(LEAST_COVER)
        seen = (cover > 0).to(points.dtype)
        maps = [
            *(_smaller(rgb, size), seen * (points - mean) / POSITION_CM),
            *(position_normals(points, seen), cover),
        ]
        share = torch.tanh(self.unet(torch.cat(maps, 1)))
        if size != positions.shape[-2:]:
            share = functional.interpolate(
                share, size=positions.shape[-2:], mode="bilinear", align_corners=False
            )
        return mask * LARGEST_SHARE * depth_range * share


def as_refiner(network: RefinerNetwork) -> Refiner:
    """Return the network as a refiner of single maps, for `build_surface`.

    Of a picture that shows more than a head it sees what is in its reach.
    """

    def refine(rgb: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        share = in_reach(positions) * mask
        window = (slice(None), *_window(share > 0, mask > 0))
        seen = (share > 0).to(mask.dtype)
        maps = (each[window][None] for each in (rgb, positions, seen))
        offset = torch.zeros_like(mask)
        offset[window] = network(*maps)[0]
        return share * offset

    return refine


def in_reach(positions: Float[Tensor, "3 h w"]) -> Float[Tensor, "1 h w"]:
    """Return the share of its offset that a point (head frame, cm) takes: 1, far away 0."""
    away = positions[:2].abs().amax(0, keepdim=True)
    return ((REACH_CM - away) / FADE_CM).clamp(0, 1)


def _window(near: Tensor, person: Tensor) -> tuple[slice, slice]:
    """Return the rows and columns of what is near, all of them where the whole person is."""
    if torch.equal(near, person) or not near.any():
        return slice(None), slice(None)
    _, rows, columns = near.nonzero(as_tuple=True)
    first, last = (int(rows.min()), int(columns.min())), (int(rows.max()), int(columns.max()))
    return slice(first[0], last[0] + 1), slice(first[1], last[1] + 1)


def masked_extent(
    positions: Float[Tensor, "b 3 h w"], mask: Float[Tensor, "b 1 h w"]
) -> tuple[Float[Tensor, "b 3 1 1"], Float[Tensor, "b 1 1 1"]]:
    """Return mean position and range of z on the mask, cm; both 0 where the mask is empty."""
    count = mask.sum((2, 3), keepdim=True).clamp_min(1.0)
    mean = (positions * mask).sum((2, 3), keepdim=True) / count
    z = torch.where(mask > 0, positions[:, 2:], mean[:, 2:])
    return mean, z.amax((2, 3), keepdim=True) - z.amin((2, 3), keepdim=True)


def position_normals(
    positions: Float[Tensor, "b 3 h w"], mask: Float[Tensor, "b 1 h w"]
) -> Float[Tensor, "b 3 h w"]:
    """Return unit normals towards the viewer in the frame of `positions`, 0 where unknown.

    Differences are central on the mask, one-sided at its border.

    Args:
        positions: map of points.
        mask: 1 where they are known, 0 elsewhere.
    """
    across, down = _differences(positions, mask, 3), _differences(positions, mask, 2)
    normals = torch.linalg.cross(down, across, dim=1)
    return normals / (normals.square().sum(1, keepdim=True) + TINY).sqrt()


def _differences(positions: Tensor, mask: Tensor, axis: int) -> Tensor:
    """Return (B, 3, H, W) mean steps to the neighbours along an axis that are on the mask."""
    length = positions.shape[axis]
    known = mask.narrow(axis, 1, length - 1) * mask.narrow(axis, 0, length - 1)
    step = positions.diff(dim=axis) * known
    none = (0, 0) * (3 - axis)
    after, before = (*none, 0, 1), (*none, 1, 0)
    total = functional.pad(step, after) + functional.pad(step, before)
    count = functional.pad(known, after) + functional.pad(known, before)
    return total / count.clamp_min(1.0)


def _work_size(size: torch.Size, side: int) -> tuple[int, int]:
    """Return (height, width) of at most `side` px for maps of a size."""
    factor = min(1.0, side / max(size))
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _smaller(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return maps if size == maps.shape[-2:] else functional.interpolate(maps, size, mode="area")
