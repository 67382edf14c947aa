"""Mouth and eyes of the final frame, corrected by small networks.

    I' = I + paste(m r(I, W, m, e))

with the crop of the frame I, the photo W warped to the frame's landmarks, the region's soft mask m
and eight expression numbers e; r is a U-Net's residual. It is resampled and added: outside the
mask, and everywhere by an untrained network, the frame keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mggtalk_cli.core.camera import pixel_grid
from mggtalk_cli.core.checkpoint import Network
from mggtalk_cli.core.layers import UNet, soft_limit
from mggtalk_cli.errors import ArtifactError
from mggtalk_cli.inpaint.network import changed
from mggtalk_cli.inpaint.regions import (
    NUMBERS,
    REGIONS,
    Photo,
    Placement,
    Region,
    place,
    region_mask,
    warped_photo,
)

# Frame 3, warped photo 3, mask, expression numbers.
CHANNELS = 3 + 3 + 1 + NUMBERS

# No colour changes by more than this share of the range.
LARGEST_CHANGE = 0.5


@dataclass(frozen=True)
class PatchConfig:
    """Size of a patch network.

    Attributes:
        widths: channels of the U-Net's levels.
        height: of the crops, px.
        width: of the crops, px.
    """

    widths: tuple[int, ...] = (32, 64, 128)
    height: int = 80
    width: int = 96

    @classmethod
    def tiny(cls) -> PatchConfig:
        """Return a size for tests and training on a CPU."""
        return cls(widths=(16, 32, 64), height=48, width=64)

    @classmethod
    def base(cls) -> PatchConfig:
        """Return the usual size: about the pixels of a mouth in a 512 px portrait."""
        return cls()


class PatchNetwork(Network):
    """Crops of mouths, or of eyes, to their change."""

    config: PatchConfig

    def __init__(self, config: PatchConfig) -> None:
        """Build it.

        Raises:
            ValueError: crops too small for an outline and its border.
        """
        super().__init__(config)
        if min(config.height, config.width) < 8:
            raise ValueError(f"crops of {config.width} x {config.height} px are too small")
        self.unet = UNet(CHANNELS, 3, config.widths)

    def forward(
        self,
        crop: Float[Tensor, "b 3 h w"],
        warped: Float[Tensor, "b 3 h w"],
        mask: Float[Tensor, "b 1 h w"],
        numbers: Float[Tensor, "b 8"],
    ) -> Float[Tensor, "b 3 h w"]:
        """Return the residual, 0 where the mask is.

        Args:
            crop: of the frame, 0..1.
            warped: photo at the frame's landmarks, 0..1.
            mask: of the region, 0..1.
            numbers: of the expression, mostly 0..1.
        """
        planes = numbers[..., None, None].expand(-1, -1, *crop.shape[-2:])
        change: Tensor = self.unet(torch.cat([crop, warped, mask, planes], 1))
        return mask * soft_limit(change, LARGEST_CHANGE)


@dataclass(frozen=True)
class Patch:
    """What a network is told of one region of one frame, but for the frame's own pixels.

    Attributes:
        placement: of the crop in the frame.
        warped: (h, w, 3) float32 photo at the frame's landmarks.
        covered: (h, w) bool, where it shows the face; elsewhere the frame stands for it.
        mask: (h, w) float32.
        numbers: (8,) float32.
    """

    placement: Placement
    warped: np.ndarray
    covered: np.ndarray
    mask: np.ndarray
    numbers: np.ndarray


def patch_of(
    region: Region, config: PatchConfig, photo: Photo, landmarks: np.ndarray, beta: np.ndarray
) -> Patch:
    """Return a region of a frame with landmarks (468, 2) px and coefficients (52,)."""
    placement = place(region, landmarks, config.height, config.width)
    warped, covered = warped_photo(photo, placement, landmarks)
    numbers = np.array([beta[list(group)].mean() for group in region.numbers], np.float32)
    mask = region_mask(region, placement, landmarks)
    return Patch(placement, warped, covered, mask, numbers)


def patch_change(
    network: PatchNetwork, frame: Float[Tensor, "h w 3"], patch: Patch
) -> Float[Tensor, "u v 3"]:
    """Return the change of the frame in the patch's box; differentiable in frame and weights.

    Args:
        network: of the patch's region.
        frame: final frame 0..1.
        patch: see `patch_of`; its box is `patch.placement.box(*frame.shape[:2])`.
    """
    like, placement = next(network.parameters()), patch.placement
    crop = cropped(frame.to(like), placement)
    covered = torch.from_numpy(patch.covered).to(like.device)
    warped = torch.where(covered, torch.from_numpy(patch.warped).to(like).movedim(-1, 0), crop)
    change = network(
        crop[None],
        warped[None],
        torch.from_numpy(patch.mask).to(like)[None, None],
        torch.from_numpy(patch.numbers).to(like)[None],
    )
    return pasted(change[0], placement, *frame.shape[:2])


def cropped(frame: Float[Tensor, "h w 3"], placement: Placement) -> Float[Tensor, "3 u v"]:
    """Return the crop of a frame, sampled bilinearly; beyond the frame its border goes on."""
    uv = pixel_grid(placement.height, placement.width).astype(np.float64)
    xy = placement.to_frame(uv) / [frame.shape[1], frame.shape[0]]
    return _sampled(frame.movedim(-1, 0), xy, padding="border")


def pasted(
    change: Float[Tensor, "3 u v"], placement: Placement, height: int, width: int
) -> Float[Tensor, "a b 3"]:
    """Return a crop's change at the pixels of its box in a frame of that size; 0 off the crop."""
    top, bottom, left, right = placement.box(height, width)
    xy = pixel_grid(bottom - top, right - left) + np.array([left, top], np.float64)
    uv = placement.to_crop(xy) / [placement.width, placement.height]
    return _sampled(change, uv, padding="zeros").movedim(0, -1)


def _sampled(
    maps: Float[Tensor, "c h w"], share: np.ndarray, *, padding: str
) -> Float[Tensor, "c u v"]:
    """Return maps at places (u, v, 2) given as shares 0..1 of width and height."""
    grid = torch.from_numpy(2 * share - 1).to(maps)
    found = functional.grid_sample(
        maps[None], grid[None], mode="bilinear", padding_mode=padding, align_corners=False
    )
    return found[0]


def patched(
    network: PatchNetwork, frame: Float[Tensor, "h w 3"], patch: Patch
) -> Float[Tensor, "h w 3"]:
    """Return the frame (0..1) with one region corrected; differentiable, not clamped."""
    top, bottom, left, right = patch.placement.box(*frame.shape[:2])
    if top >= bottom or left >= right:
        return frame
    result = frame.clone()
    result[top:bottom, left:right] += patch_change(network, frame, patch).to(frame)
    return result


def learned_patches(
    networks: Mapping[str, PatchNetwork], image: np.ndarray, landmarks: np.ndarray | None
) -> Callable[[np.ndarray, np.ndarray | None, np.ndarray | None], np.ndarray]:
    """Return trained networks as a last touch: frame, its landmarks and coefficients -> frame.

    Frames are (H, W, 3 or 4) uint8, landmarks (468, 2) px, coefficients (52,).

    Args:
        networks: by name, those of `REGIONS` or some of them.
        image: (H, W, 3) uint8 portrait.
        landmarks: (468, 2) px of the portrait.

    Raises:
        ArtifactError: landmarks or coefficients are not there.
    """
    photo = Photo(image.astype(np.float32) / 255, _required(landmarks))

    def corrected(
        frame: np.ndarray, landmarks: np.ndarray | None, beta: np.ndarray | None
    ) -> np.ndarray:
        xy, numbers = _required(landmarks), _required(beta)
        rgb = torch.from_numpy(frame[..., :3].astype(np.float32) / 255)
        result = frame.copy()
        for name, network in networks.items():
            for region in REGIONS[name]:
                patch = patch_of(region, network.config, photo, xy, numbers)
                top, bottom, left, right = patch.placement.box(*frame.shape[:2])
                own = result[top:bottom, left:right, :3]
                if own.size:
                    with torch.inference_mode():
                        own[:] = changed(own, patch_change(network, rgb, patch))
        return result

    return corrected


def _required(array: np.ndarray | None) -> np.ndarray:
    if array is None:
        raise ArtifactError(
            "frames without landmarks, which mouth and eye networks need: "
            "run `mggtalk deform` and `mggtalk render` again"
        )
    return array
