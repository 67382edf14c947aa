"""Mouth and eyes of a frame: where their crops lie, what the photo shows there, how far they reach.

A crop is upright in the face and of a size that goes with the face, not with what it does; that
of the left eye is mirrored, so that one network sees both eyes alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from mggtalk_cli.core.camera import pixel_grid
from mggtalk_cli.core.expression import ARKIT_INDEX
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.landmark_groups import (
    EYE_LEFT_LOWER,
    EYE_LEFT_UPPER,
    EYE_RIGHT_LOWER,
    EYE_RIGHT_UPPER,
    LIPS_OUTER,
    TRIANGLES,
)
from mggtalk_cli.core.mesh import rasterize_mesh

# A mask falls to 0 within this share of the crop's width at the crop's border, too.
BORDER = 0.06


@dataclass(frozen=True)
class Region:
    """A part of the face with a network of its own.

    Attributes:
        name: of the region.
        ring: landmarks of its outline.
        reach: width of its crop in face sizes (`face_size`).
        feather: beyond the outline the mask falls to 0 within this share of the crop's width.
        numbers: groups of coefficients; the mean of each is told to the network.
        mirrored: whether the crop is seen in a mirror.
    """

    name: str
    ring: tuple[int, ...]
    reach: float
    feather: float
    numbers: tuple[tuple[int, ...], ...]
    mirrored: bool = False


def _both(*names: str) -> tuple[tuple[int, ...], ...]:
    """Return the coefficients of each name: one, or those of both sides."""
    return tuple(
        tuple(ARKIT_INDEX[n] for n in (name, f"{name}Left", f"{name}Right") if n in ARKIT_INDEX)
        for name in names
    )


def _eye(side: str) -> tuple[tuple[int, ...], ...]:
    parts = ("eyeBlink", "eyeLookDown", "eyeLookIn", "eyeLookOut", "eyeLookUp")
    lids = ("eyeSquint", "eyeWide", "cheekSquint")
    return tuple((ARKIT_INDEX[part + side],) for part in (*parts, *lids))


# How many numbers every region tells its network.
NUMBERS = 8

# The lips are 1 face size wide and open to about as much.
MOUTH = Region(
    "mouth",
    LIPS_OUTER,
    reach=1.6,
    feather=0.06,
    numbers=_both(
        *("jawOpen", "mouthClose", "mouthFunnel", "mouthPucker", "mouthSmile", "mouthStretch"),
        *("mouthLowerDown", "mouthUpperUp"),
    ),
)
# An eye is half a face size wide; lashes and the lid's fold lie beyond its outline.
EYE_RIGHT = Region(
    "eye_right",
    EYE_RIGHT_UPPER + EYE_RIGHT_LOWER[-2:0:-1],
    reach=0.9,
    feather=0.12,
    numbers=_eye("Right"),
)
EYE_LEFT = Region(
    "eye_left",
    EYE_LEFT_UPPER + EYE_LEFT_LOWER[-2:0:-1],
    reach=0.9,
    feather=0.12,
    numbers=_eye("Left"),
    mirrored=True,
)

# Network -> the regions it corrects.
REGIONS: dict[str, tuple[Region, ...]] = {"mouth": (MOUTH,), "eyes": (EYE_RIGHT, EYE_LEFT)}


class Photo(NamedTuple):
    """The portrait: `image` (H, W, 3) float32 0..1 and its `landmarks` (468, 2) px."""

    image: np.ndarray
    landmarks: np.ndarray


@dataclass(frozen=True)
class Placement:
    """Where a crop lies in a frame, px: u, v of the crop -> centre + scale axes (u, v from middle).

    Attributes:
        centre: (2,) of the crop, frame px.
        axes: (2, 2) rows: unit directions of the crop's columns and rows in the frame.
        scale: frame px per crop px.
        height: of the crop, px.
        width: of the crop, px.
    """

    centre: np.ndarray
    axes: np.ndarray
    scale: float
    height: int
    width: int

    @property
    def middle(self) -> np.ndarray:
        """(2,) the crop's centre in crop px."""
        return np.array([self.width / 2, self.height / 2])

    def to_frame(self, uv: np.ndarray) -> np.ndarray:
        """Return frame px (..., 2) of crop px (..., 2)."""
        return np.asarray(self.centre + self.scale * (uv - self.middle) @ self.axes)

    def to_crop(self, xy: np.ndarray) -> np.ndarray:
        """Return crop px (..., 2) of frame px (..., 2)."""
        return np.asarray((xy - self.centre) @ self.axes.T / self.scale + self.middle)

    def box(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Return top, bottom, left, right of the crop within a frame of that size, px."""
        corners = self.to_frame(np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * 2 * self.middle)
        low, high = np.floor(corners.min(0)), np.ceil(corners.max(0))
        left, right = (int(np.clip(x, 0, width)) for x in (low[0], high[0]))
        top, bottom = (int(np.clip(y, 0, height)) for y in (low[1], high[1]))
        return top, bottom, left, right


def face_size(landmarks: np.ndarray) -> float:
    """Return the root mean square distance of landmarks (468, 2) px from their mean, >= 1.

    It hardly changes with expression: a third of a face's width.
    """
    apart = landmarks - landmarks.mean(0)
    return max(float(np.sqrt((apart**2).sum(1).mean())), 1.0)


def place(region: Region, landmarks: np.ndarray, height: int, width: int) -> Placement:
    """Return where the region's crop of so many px lies in a frame with landmarks (468, 2) px."""
    right, left = landmarks[list(EYE_RIGHT.ring)].mean(0), landmarks[list(EYE_LEFT.ring)].mean(0)
    across = left - right
    across = across / max(float(np.linalg.norm(across)), 1e-6)
    down = np.array([-across[1], across[0]])
    return Placement(
        centre=landmarks[list(region.ring)].mean(0).astype(np.float64),
        axes=np.stack([-across if region.mirrored else across, down]),
        scale=region.reach * face_size(landmarks) / width,
        height=height,
        width=width,
    )


def region_mask(region: Region, placement: Placement, landmarks: np.ndarray) -> np.ndarray:
    """Return (height, width) float32: 1 in the region, soft beyond, 0 at the crop's border."""
    height, width = placement.height, placement.width
    ring = placement.to_crop(landmarks[list(region.ring)])
    outside = np.ones((height, width), np.uint8)
    shift = 8
    corners = np.round((ring - 0.5) * (1 << shift)).astype(np.int32)
    cv2.fillPoly(outside, [corners], 0, shift=shift)
    beyond = cv2.distanceTransform(outside, cv2.DIST_L2, 5)
    uv = pixel_grid(height, width)
    border = np.minimum(uv, np.array([width, height], np.float32) - uv).min(-1)
    soft = 1 - smoothstep(beyond, 0, region.feather * width)
    return np.asarray(soft * smoothstep(border, 0.5, BORDER * width + 0.5), np.float32)


def warped_photo(
    photo: Photo, placement: Placement, landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the photo as a frame's landmarks move it, piecewise affinely, in the crop.

    Args:
        photo: the portrait.
        placement: of the crop.
        landmarks: (468, 2) px of the frame.

    Returns:
        (height, width, 3) float32 0..1, and (height, width) bool where the face covers the crop.
    """
    height, width = placement.height, placement.width
    at = placement.to_frame(pixel_grid(height, width).astype(np.float64))
    shown = _facing(landmarks)
    corners = placement.to_crop(landmarks)
    which, bary, _ = rasterize_mesh(
        corners, np.zeros(len(corners)), shown, height=height, width=width
    )
    vertices = shown[np.maximum(which, 0)]
    source = np.einsum("hwk,hwkc->hwc", bary, photo.landmarks[vertices])
    x, y = (np.where(which >= 0, source[..., axis], at[..., axis]) - 0.5 for axis in range(2))
    warped = cv2.remap(
        photo.image,
        x.astype(np.float32),
        y.astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(warped), which >= 0


def _facing(landmarks: np.ndarray) -> np.ndarray:
    """Return the triangles (F, 3) of the landmark mesh that face the camera in a frame."""
    a, b, c = (landmarks[TRIANGLES[:, corner]] for corner in range(3))
    one, other = b - a, c - a
    return np.asarray(TRIANGLES[one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0] < 0])
