"""Photo -> face boxes and six key points each, from large close-ups down to small faces.

Two single-shot detectors vote: a short-range one (128 px) and a full-range one (192 px). If the
whole picture shows no face, the full-range one searches ever smaller overlapping tiles, and at
last both look at the picture turned by +-45 degrees; finds of these passes must convince the
landmark network too. Anchors sit at the centres of square grids and have size one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from mggtalk_cli.errors import InputError
from mggtalk_cli.face.crop import Square, crop_square
from mggtalk_cli.face.landmarks import find_landmarks
from mggtalk_cli.face.models import FULL_RANGE_DETECTOR, SHORT_RANGE_DETECTOR, run_model

# Input side px, (grid stride px, anchors per cell) of each layer, and the smallest box, in input
# px, that is believed: smaller faces are left to the next search level.
_SHORT_RANGE = (SHORT_RANGE_DETECTOR, 128, ((8, 2), (16, 6)), 16.0)
_FULL_RANGE = (FULL_RANGE_DETECTOR, 192, ((4, 1),), 10.0)
_Network = tuple[str, int, tuple[tuple[int, int], ...], float]
_MIN_SCORE = 0.5  # the networks' published operating point
_TILE_MIN_SCORE = 0.6  # many tiles, many chances of a false alarm
_MERGE_IOU = 0.3
# A tile is never smaller than this (px): faces down to about 25 px are found ...
_MIN_TILE = 450
# ... and consecutive search levels halve the tile, with this much overlap between neighbours.
_TILE_OVERLAP = 0.35
_TURNS_DEG = (-45.0, 45.0)
_KEYPOINTS = 6


@dataclass(frozen=True)
class Faces:
    """Detected faces, largest first.

    Attributes:
        boxes: (n, 4) float32 x0, y0, x1, y1 in pixels (brow to chin).
        keypoints: (n, 6, 2) float32 pixels: subject's right eye, left eye, nose tip, mouth, right
            and left ear.
        scores: (n,) float32 in 0..1.
    """

    boxes: np.ndarray
    keypoints: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.boxes)


def detect_faces(image: np.ndarray) -> Faces:
    """Return all faces of the coarsest search level that shows any, largest first.

    Args:
        image: (H, W, 3) uint8 RGB of any size and aspect ratio.

    Raises:
        InputError: the array is not a uint8 RGB image.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise InputError(
            f"expected an RGB image of shape (H, W, 3) uint8, got {image.shape} {image.dtype}"
        )
    height, width = image.shape[:2]
    side = float(max(height, width))
    whole = Square(width / 2, height / 2, side)
    found = _detect_in(image, [whole], _MIN_SCORE)
    tile = side / 2
    while not len(found[0]) and tile >= _MIN_TILE:
        tiles = _tiles(width, height, tile)
        found = _confirmed(image, *_detect_in(image, tiles, _TILE_MIN_SCORE, (_FULL_RANGE,)))
        tile /= 2
    if not len(found[0]):
        turned = [Square(whole.x, whole.y, side * 1.2, np.deg2rad(a)) for a in _TURNS_DEG]
        found = _confirmed(image, *_detect_in(image, turned, _TILE_MIN_SCORE))
    return _sorted_faces(*found)


def _confirmed(
    image: np.ndarray, points: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the detections in which the landmark network sees a face as well."""
    seen = [find_landmarks(image, face[2:]).score for face in points]
    keep = np.array(seen) >= _MIN_SCORE
    return points[keep], scores[keep]


def _tiles(width: int, height: int, tile: float) -> list[Square]:
    """Return overlapping squares of side `tile` px that cover the picture."""

    def centres(length: int) -> np.ndarray:
        count = max(1, int(np.ceil((length - tile) / (tile * (1 - _TILE_OVERLAP)))) + 1)
        if count == 1:
            return np.array([length / 2])
        return np.linspace(tile / 2, length - tile / 2, count)

    return [Square(x, y, tile) for y in centres(height) for x in centres(width)]


def _detect_in(
    image: np.ndarray,
    squares: list[Square],
    min_score: float,
    networks: tuple[_Network, ...] = (_SHORT_RANGE, _FULL_RANGE),
) -> tuple[np.ndarray, np.ndarray]:
    """Return merged points (n, 8, 2) px (two box corners, six key points) and scores (n,)."""
    points: list[np.ndarray] = []
    scores: list[np.ndarray] = []
    for square in squares:
        for name, size, layers, smallest in networks:
            crop = crop_square(image, square, size, replicate=False)
            raw, logits = run_model(name, crop[None].astype(np.float32) / 127.5 - 1)
            score = 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -80, 80)))
            keep = (score >= min_score) & (raw[0, :, 2:4].min(1) >= smallest)
            unit = _decode(raw[0, keep], _anchors(size, layers)[keep], size)
            points.append(_to_image(unit, square))
            scores.append(score[keep])
    return _merge(np.concatenate(points), np.concatenate(scores))


@cache
def _anchors(size: int, layers: tuple[tuple[int, int], ...]) -> np.ndarray:
    """Return (n, 2) anchor centres, 0..1, row by row, layer by layer."""
    centres = []
    for stride, repeat in layers:
        cells = (np.arange(size // stride, dtype=np.float32) + 0.5) * stride / size
        grid = np.stack(np.meshgrid(cells, cells), -1).reshape(-1, 1, 2)
        centres.append(np.repeat(grid, repeat, 1).reshape(-1, 2))
    return np.concatenate(centres)


def _decode(raw: np.ndarray, anchors: np.ndarray, size: int) -> np.ndarray:
    """Return (n, 8, 2) unit positions of box corners and key points of raw rows (n, 16)."""
    offsets = raw.reshape(-1, 2 + _KEYPOINTS, 2) / size
    centre = anchors + offsets[:, 0]
    half = offsets[:, 1] / 2
    keypoints = anchors[:, None] + offsets[:, 2:]
    return np.concatenate([(centre - half)[:, None], (centre + half)[:, None], keypoints], 1)


def _to_image(unit: np.ndarray, square: Square) -> np.ndarray:
    """Return the points in image pixels; a turned square turns the box about its own centre."""
    points = square.to_image(unit)
    if square.angle:
        half = (unit[:, 1] - unit[:, 0]) * square.side / 2
        centre = points[:, :2].mean(1)
        points[:, 0], points[:, 1] = centre - half, centre + half
    return points


def _merge(points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the score-weighted means of groups of overlapping detections."""
    order = np.argsort(-scores)
    points, scores = points[order], scores[order]
    merged, best = [], []
    left = np.ones(len(points), bool)
    for first in range(len(points)):
        if not left[first]:
            continue
        group = left & (_overlap(points[first], points) > _MERGE_IOU)
        group[first] = True
        left &= ~group
        weight = scores[group][:, None, None]
        merged.append((points[group] * weight).sum(0) / weight.sum())
        best.append(scores[first])
    return np.array(merged).reshape(-1, 2 + _KEYPOINTS, 2), np.array(best)


def _overlap(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Return the larger of IoU and half the share of the smaller box covered, (n,)."""
    low = np.maximum(one[0], many[:, 0])
    high = np.minimum(one[1], many[:, 1])
    shared = np.prod(np.clip(high - low, 0, None), -1)
    area_one = np.prod(one[1] - one[0])
    area_many = np.prod(many[:, 1] - many[:, 0], -1)
    iou = shared / np.maximum(area_one + area_many - shared, 1e-9)
    return np.maximum(iou, 0.5 * shared / np.maximum(np.minimum(area_one, area_many), 1e-9))


def _sorted_faces(points: np.ndarray, scores: np.ndarray) -> Faces:
    boxes = points[:, :2].reshape(-1, 4)
    order = np.argsort(-(boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    return Faces(
        boxes[order].astype(np.float32),
        points[order, 2:].astype(np.float32),
        scores[order].astype(np.float32),
    )
