"""Dense motion from one picture of a person to another, and where it can be believed.

A drawn frame and the true one show the same face in the same light, slightly displaced: what moves
one onto the other tells how far the drawing is off. It is believed where the way back agrees.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

REDUCED = 4  # flow is kept per cell of so many px a side: DIS knows little more
MOST_DISAGREEMENT_PX = 1.0  # between the way there and the way back
INSIDE = 128  # coverage (of 255) from which a pixel is the person's


class PictureFlow(NamedTuple):
    """Where the cells of a picture are in another one.

    Attributes:
        flow: (H / 4, W / 4, 2) float16, px of the full pictures, x and y; 0 where unknown.
        trust: (H / 4, W / 4) uint8, 255 x the share of the cell's pixels that can be believed.
    """

    flow: np.ndarray
    trust: np.ndarray


class FlowMeter:
    """Measures flow between pictures; holds OpenCV's work space."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def between(
        self, first: np.ndarray, second: np.ndarray, inside: np.ndarray, inside_second: np.ndarray
    ) -> PictureFlow:
        """Return the flow from one picture to another.

        Args:
            first: (H, W, 3) uint8, H and W multiples of `REDUCED`.
            second: (H, W, 3) uint8.
            inside: (H, W) uint8 coverage of the person in the first picture.
            inside_second: (H, W) uint8, the same in the second.
        """
        there = self._flow(first, second)
        back = self._flow(second, first)
        error = np.linalg.norm(there + displaced(back, there), axis=-1)
        believed = (error < MOST_DISAGREEMENT_PX) & (inside >= INSIDE) & _ends_inside(there)
        believed &= displaced(inside_second, there) >= INSIDE
        share = _reduced(believed.astype(np.float32))
        total = _reduced(there * believed[..., None])
        flow = total / np.maximum(share, 1e-6)[..., None]
        return PictureFlow(flow.astype(np.float16), np.rint(255 * share).astype(np.uint8))

    def _flow(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        grey = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first, second)]
        return np.asarray(self._dis.calc(*grey, None))


def displaced(picture: np.ndarray, flow: np.ndarray) -> np.ndarray:
    """Return at every pixel the picture's (h, w, ...) value at the end of that pixel's flow.

    Args:
        picture: uint8 or float32; its border is repeated outside.
        flow: (h, w, 2) px, x and y.
    """
    columns, rows = _ends(flow)
    return np.asarray(
        cv2.remap(picture, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    )


def _ends(flow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return column and row, (h, w) each, at which every pixel's flow ends, first centre at 0."""
    rows, columns = np.indices(flow.shape[:2], np.float32)
    return columns + flow[..., 0], rows + flow[..., 1]


def _ends_inside(flow: np.ndarray) -> np.ndarray:
    """Return (h, w) bool: where the flow ends inside the picture."""
    columns, rows = _ends(flow)
    height, width = flow.shape[:2]
    inside = (columns > -0.5) & (columns < width - 0.5) & (rows > -0.5) & (rows < height - 0.5)
    return np.asarray(inside)


def _reduced(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    size = (width // REDUCED, height // REDUCED)
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA))
