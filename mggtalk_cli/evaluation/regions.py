"""Where a number is taken: the frame, the head, the mouth, the eyes, the open inner mouth.

All of them come from the landmarks of the true frame, so that every method is judged over the same
pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from mggtalk_cli.core.landmark_groups import EYES, LIPS, LIPS_INNER
from mggtalk_cli.core.mouth import mouth_curves
from mggtalk_cli.evaluation.clips import TrueClip, outline_mask

# Region -> what it is, for the definitions in reports.
REGIONS: dict[str, str] = {
    "frame": "the whole frame",
    "head": "the person around the face, above the neck",
    "mouth": "the hull of the lips",
    "eyes": "the hulls of both eyes",
    "inner": "the inner mouth, in frames where the lips are parted",
}

# Lips are parted from this opening on (see `core.mouth`): .28 cm of a mean face, below which a
# mouth shows nothing of its inside.
PARTED = 0.03


def region_masks(
    points: np.ndarray, head: np.ndarray, shape: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Return (H, W) uint8 masks, 0 or 1, by the names of `REGIONS`; they may be empty.

    Args:
        points: (478, 3) landmarks px.
        head: (H, W) bool head mask.
        shape: (H, W).
    """
    eyes = np.array(EYES)
    at_left = points[eyes, 0] < np.median(points[eyes, 0])
    both = [outline_mask(points, tuple(eyes[side]), shape) for side in (at_left, ~at_left)]
    masks = {
        "frame": np.ones(shape, bool),
        "head": head,
        "mouth": outline_mask(points, LIPS, shape),
        "eyes": both[0] | both[1],
        "inner": inner_mouth(points, shape),
    }
    return {name: mask.astype(np.uint8) for name, mask in masks.items()}


def inner_mouth(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return (H, W) bool: what the inner lip line encloses; empty where the lips are not parted."""
    mask = np.zeros(shape, np.uint8)
    if mouth_curves(points[None]).opening[0] > PARTED:
        ring = points[list(LIPS_INNER), :2].round().astype(np.int32)
        cv2.fillPoly(mask, [ring], 1)
    return mask > 0


def clip_masks(clip: TrueClip) -> list[dict[str, np.ndarray]]:
    """Return the masks of every frame of a clip."""
    shape = clip.frames[0].shape[:2]
    return [
        region_masks(points, head, shape)
        for points, head in zip(clip.track.held(), clip.heads, strict=True)
    ]
