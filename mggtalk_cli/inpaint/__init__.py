"""Head frame + background to the final frame.

`INPAINTERS` maps a variant to a function (rgba (H, W, 4) uint8, plate (H, W, 3) uint8) -> (H, W, 3)
uint8: the analytic one; `learned_inpainter` makes another out of a network's weights. What
`learned_patches` makes corrects mouth and eyes of the final frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mggtalk_cli.inpaint.background import fill_behind, fill_unknown, match_rim, unmix
from mggtalk_cli.inpaint.composite import composite, straight_rgba
from mggtalk_cli.inpaint.network import (
    InpaintConfig,
    Inpainter,
    inpainted,
    learned_inpainter,
)
from mggtalk_cli.inpaint.patches import (
    Patch,
    PatchConfig,
    PatchNetwork,
    cropped,
    learned_patches,
    patch_of,
    patched,
)
from mggtalk_cli.inpaint.regions import REGIONS, Photo, Region, warped_photo

__all__ = [
    "INPAINTERS",
    "REGIONS",
    "InpaintConfig",
    "Inpainter",
    "Patch",
    "PatchConfig",
    "PatchNetwork",
    "Photo",
    "Region",
    "composite",
    "cropped",
    "fill_behind",
    "fill_unknown",
    "inpainted",
    "learned_inpainter",
    "learned_patches",
    "match_rim",
    "patch_of",
    "patched",
    "straight_rgba",
    "unmix",
    "warped_photo",
]

INPAINTERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"analytic": composite}
