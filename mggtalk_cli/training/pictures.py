"""Pictures in training: their loss terms against a moment's truth, their numbers, their sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mggtalk_cli.training import losses

if TYPE_CHECKING:
    from mggtalk_cli.training.driven import Moment

# Terms that compare pictures.
PICTURE = ("l1", "ssim", "perceptual")


def psnr(image: Tensor, truth: Tensor, mask: Tensor | None = None) -> float:
    """Return the PSNR (dB, peak 1) of a picture (1, 3, H, W), or of what a mask shows of it."""
    error = losses.masked_mean((image.clamp(0, 1) - truth).square(), mask)
    return float(-10 * torch.log10(error.clamp_min(1e-10)))


def sharpness(picture: Tensor, mask: Tensor) -> float:
    """Return the mean length of a picture's gradients (1, 3, H, W) inside a mask."""
    across = picture[..., :-1, 1:] - picture[..., :-1, :-1]
    down = picture[..., 1:, :-1] - picture[..., :-1, :-1]
    length = (across.square() + down.square()).sum(1, keepdim=True).sqrt()
    return float(losses.masked_mean(length, mask[..., :-1, :-1]))


def head_psnr(image: Tensor, moment: Moment) -> float:
    """Return the PSNR (dB, peak 1) of a frame over the person."""
    return psnr(image, moment.truth, moment.person)


def mean_rows(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each number; {} of no rows.

    >>> mean_rows([{"db": 1.0}, {"db": 3.0}])
    {'db': 2.0}
    """
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} if rows else {}


def side_by_side(rows: Sequence[Sequence[Tensor]]) -> np.ndarray:
    """Return (H, W, 3) uint8: pictures (1, 3, h, w) 0..1 in rows and columns, cut to one size."""
    height = min(picture.shape[-2] for row in rows for picture in row)
    width = min(picture.shape[-1] for row in rows for picture in row)
    lines = [torch.cat([p[0, :, :height, :width] for p in row], 2) for row in rows]
    whole = torch.cat(lines, 1).permute(1, 2, 0).clamp(0, 1)
    return (255 * whole).round().to(torch.uint8).cpu().numpy()
