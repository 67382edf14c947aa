"""Head frame + background to the final frame.

`INPAINTERS` maps a variant to a function (rgba (H, W, 4) uint8, plate (H, W, 3) uint8) -> (H, W, 3)
uint8; a GAN inpainter is an entry beside the analytic one.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mggtalk_cli.inpaint.background import fill_behind, fill_unknown, match_rim, unmix
from mggtalk_cli.inpaint.composite import composite, straight_rgba

__all__ = [
    "INPAINTERS",
    "composite",
    "fill_behind",
    "fill_unknown",
    "match_rim",
    "straight_rgba",
    "unmix",
]

INPAINTERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {"analytic": composite}
