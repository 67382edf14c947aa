"""Pictures in rows, each row with its name at the left: the contact sheets of the protocols."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mggtalk_cli.core.image import resize

CELL_PX, NAME_PX = 160, 130
PAPER, INK = (245, 245, 245), (40, 40, 40)


def named(name: str, height: int, width: int = NAME_PX) -> np.ndarray:
    """Return (height, width, 3) uint8 paper with a name on it, half way down."""
    paper = Image.new("RGB", (width, height), PAPER)
    ImageDraw.Draw(paper).text((4, height // 2 - 6), name, INK, ImageFont.load_default(12))
    return np.asarray(paper)


def fitted(image: np.ndarray, side: int = CELL_PX) -> np.ndarray:
    """Return the picture scaled into the middle of a square (side, side, 3) uint8."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    small = resize(image, max(1, round(width * scale)), max(1, round(height * scale)))
    cell = np.zeros((side, side, 3), np.uint8)
    top, left = (side - small.shape[0]) // 2, (side - small.shape[1]) // 2
    cell[top : top + small.shape[0], left : left + small.shape[1]] = small
    return cell


def film_sheet(rows: Mapping[str, Sequence[np.ndarray]], side: int = CELL_PX) -> np.ndarray:
    """Return (h, w, 3) uint8: one named row of cells per film; shorter rows end in paper.

    Args:
        rows: name -> pictures (H, W, 3) uint8.
        side: of a cell, px.
    """
    longest = max(len(pictures) for pictures in rows.values())
    blank = np.full((side, side, 3), PAPER, np.uint8)
    lines = []
    for name, pictures in rows.items():
        cells = [fitted(picture, side) for picture in pictures]
        lines.append(np.hstack([named(name, side), *cells, *[blank] * (longest - len(cells))]))
    return np.vstack(lines)
