"""Rotated square crops of an image and the way back, with pixel centres at .5.

Every network of this stage sees a square; a `Square` says which part of the image it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

# Shrinking by more than this in one bilinear step would alias; area-average down first.
_MAX_BILINEAR_SHRINK = 1.5


@dataclass(frozen=True)
class Square:
    """A square region: centre (px), side (px), rotation (radians, clockwise on the screen)."""

    x: float
    y: float
    side: float
    angle: float = 0.0

    def to_image(self, unit: np.ndarray) -> np.ndarray:
        """Return (..., 2) image pixels of (..., 2) positions, 0..1 over the square."""
        c, s = np.cos(self.angle), np.sin(self.angle)
        turn = np.array([[c, -s], [s, c]])
        return (unit - 0.5) * self.side @ turn.T + (self.x, self.y)


def crop_square(
    image: np.ndarray, square: Square, size: int, *, flip: bool = False, replicate: bool = True
) -> np.ndarray:
    """Return the (size, size, C) view of a square region, in the type of the image.

    Args:
        image: (H, W, C) uint8 or float32.
        square: region in image pixels; it may reach outside.
        size: side of the result in pixels.
        flip: mirror the result left to right.
        replicate: repeat the border outside the image, else black.
    """
    shrink = square.side / size
    origin = np.zeros(2)
    scale = 1.0
    if shrink > _MAX_BILINEAR_SHRINK:
        image, origin, scale = _shrink_around(image, square, 1.0 / shrink)
    corners = square.to_image(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
    if flip:
        corners = square.to_image(np.array([[1.0, 0.0], [0.0, 0.0], [1.0, 1.0]]))
    corners = (corners - origin) * scale
    linear = np.stack([corners[1] - corners[0], corners[2] - corners[0]], 1) / size
    # OpenCV counts pixel centres from 0, we count them from .5.
    offset = corners[0] + linear @ np.array([0.5, 0.5]) - 0.5
    return cv2.warpAffine(
        image,
        np.concatenate([linear, offset[:, None]], 1),
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT,
    )


def _shrink_around(
    image: np.ndarray, square: Square, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the part of the image under the square, area-averaged, its origin and true scale."""
    half = square.side * (abs(np.cos(square.angle)) + abs(np.sin(square.angle))) / 2 + 2 / scale
    height, width = image.shape[:2]
    x0 = int(np.clip(square.x - half, 0, width - 1))
    y0 = int(np.clip(square.y - half, 0, height - 1))
    x1 = int(np.clip(square.x + half + 1, x0 + 1, width))
    y1 = int(np.clip(square.y + half + 1, y0 + 1, height))
    new = (max(1, round((x1 - x0) * scale)), max(1, round((y1 - y0) * scale)))
    small = cv2.resize(image[y0:y1, x0:x1], new, interpolation=cv2.INTER_AREA)
    return small, np.array([x0, y0]), np.array([new[0] / (x1 - x0), new[1] / (y1 - y0)])
