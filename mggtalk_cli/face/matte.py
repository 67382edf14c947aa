"""Photo -> soft person matte at full resolution, with edges that follow the hair.

A 256 px person network looks at the whole picture and again at a square around head and
shoulders. A guided filter (He et al., 2013: within a window the matte is a linear function of the
colour) carries the result to full resolution. Only what is connected to the face is kept.
"""

from __future__ import annotations

import cv2
import numpy as np

from mggtalk_cli.face.crop import Square, crop_square
from mggtalk_cli.face.detect import detect_faces
from mggtalk_cli.face.models import PERSON_SEGMENTATION, run_model

_NET_SIZE = 256
# The close-up: its side in face heights and how far below the face its centre lies.
_CLOSE_SIDE = 4.2
_CLOSE_DROP = 0.55
_FEATHER = 0.12  # part of the close-up over which it fades into the whole-picture matte
# The guided filter works on at most this many pixels a side; its coefficients are smooth.
_GUIDE_SIZE = 512
_GUIDE_RADIUS = 6  # px at guide size: about the width of the network's blurred edge
_GUIDE_EPS = 4e-4  # variance of colour (0..1) below which an area counts as flat
_SOLID = 0.4  # matte above this counts as person when components are looked for
_FRINGE = 0.08  # soft hair fringe kept around the components, in face widths
_SURE_MARGIN = 0.06  # matte values this near 0 or 1 are made exactly 0 or 1


def person_mask(image: np.ndarray, box: np.ndarray | None = None) -> np.ndarray:
    """Return the (H, W) float32 matte, 0..1, of the person whose face is largest.

    Args:
        image: (H, W, 3) uint8 RGB.
        box: (4,) face box in px; searched for when absent. Without any face the matte of all
            persons is returned.
    """
    height, width = image.shape[:2]
    if box is None:
        faces = detect_faces(image)
        box = faces.boxes[0] if len(faces) else None
    matte = cv2.resize(_segment(_plain_resize(image)), (width, height))
    if box is not None:
        matte = _insert_close_up(image, matte, np.asarray(box, np.float64))
    matte = _guided_upsample(image, matte)
    matte = np.clip((matte - _SURE_MARGIN) / (1 - 2 * _SURE_MARGIN), 0, 1)
    return matte if box is None else _connected_to(matte, np.asarray(box))


def _plain_resize(image: np.ndarray) -> np.ndarray:
    shrinks = min(image.shape[:2]) > _NET_SIZE
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, (_NET_SIZE, _NET_SIZE), interpolation=how)


def _segment(square_image: np.ndarray) -> np.ndarray:
    """Return (256, 256) float32 person probability of a (256, 256, 3) uint8 image."""
    (mask,) = run_model(PERSON_SEGMENTATION, square_image[None].astype(np.float32) / 255)
    return mask[0, :, :, 0]


def _insert_close_up(image: np.ndarray, matte: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the matte with the head and shoulders replaced by a second, closer look."""
    height, width = matte.shape
    face = max(box[2] - box[0], box[3] - box[1])
    side = min(face * _CLOSE_SIDE, float(max(height, width)))
    x = np.clip((box[0] + box[2]) / 2, min(side, width) / 2, width - min(side, width) / 2)
    y = (box[1] + box[3]) / 2 + _CLOSE_DROP * face
    y = np.clip(y, min(side, height) / 2, height - min(side, height) / 2)
    close = _segment(crop_square(image, Square(float(x), float(y), side), _NET_SIZE))
    x0, y0 = x - side / 2, y - side / 2
    scale = _NET_SIZE / side
    to_close = np.array(
        [[scale, 0, (0.5 - x0) * scale - 0.5], [0, scale, (0.5 - y0) * scale - 0.5]]
    )
    close = cv2.warpAffine(
        close,
        to_close,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    feather = _FEATHER * side
    weight = np.outer(_ramp(height, y0, side, feather), _ramp(width, x0, side, feather))
    return (close * weight + matte * (1 - weight)).astype(np.float32)


def _ramp(length: int, start: float, side: float, feather: float) -> np.ndarray:
    """Return (length,) weights: 1 inside [start, start + side], fading to 0 at inner ends.

    Ends on or beyond the picture border do not fade.
    """
    at = np.arange(length) + 0.5
    from_start = (at - start) / feather if start > 0.5 else np.full(length, np.inf)
    from_end = (start + side - at) / feather if start + side < length - 0.5 else np.inf
    return np.clip(np.minimum(from_start, from_end), 0, 1)


def _guided_upsample(image: np.ndarray, matte: np.ndarray) -> np.ndarray:
    """Return the matte as a locally linear function of the image's colours, (H, W)."""
    height, width = matte.shape
    shrink = min(1.0, _GUIDE_SIZE / max(height, width))
    size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
    guide = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    target = cv2.resize(matte, size, interpolation=cv2.INTER_AREA)
    slope, offset = _guided_coefficients(guide, target)
    slope = cv2.resize(slope, (width, height), interpolation=cv2.INTER_LINEAR)
    offset = cv2.resize(offset, (width, height), interpolation=cv2.INTER_LINEAR)
    full = image.astype(np.float32) / 255
    return np.clip(np.einsum("ijc,ijc->ij", slope, full) + offset, 0, 1)


def _guided_coefficients(guide: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return slope (h, w, 3) and offset (h, w) of the colour guided filter."""
    side = 2 * _GUIDE_RADIUS + 1

    def box(a: np.ndarray) -> np.ndarray:
        return cv2.blur(a, (side, side), borderType=cv2.BORDER_REFLECT)

    mean_i, mean_p = box(guide), box(target)
    cov_ip = box(guide * target[..., None]) - mean_i * mean_p[..., None]
    products = box(guide * guide), box(guide * np.roll(guide, -1, 2))
    variance = products[0] - mean_i * mean_i + _GUIDE_EPS
    cross = products[1] - mean_i * np.roll(mean_i, -1, 2)  # rg, gb, br
    rr, gg, bb = np.moveaxis(variance, 2, 0)
    rg, gb, br = np.moveaxis(cross, 2, 0)
    # Cofactors of the symmetric 3x3 covariance, inverted in closed form.
    cofactors = (
        (gg * bb - gb * gb, gb * br - rg * bb, rg * gb - gg * br),
        (gb * br - rg * bb, rr * bb - br * br, rg * br - rr * gb),
        (rg * gb - gg * br, rg * br - rr * gb, rr * gg - rg * rg),
    )
    determinant = rr * cofactors[0][0] + rg * cofactors[0][1] + br * cofactors[0][2]
    determinant = np.maximum(determinant, _GUIDE_EPS**3)
    slope = np.stack(
        [sum(row[k] * cov_ip[..., k] for k in range(3)) / determinant for row in cofactors], -1
    )
    offset = mean_p - (slope * mean_i).sum(-1)
    return box(slope.astype(np.float32)), box(offset.astype(np.float32))


def _connected_to(matte: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Return the matte without parts that do not touch the face."""
    height, width = matte.shape
    _, labels = cv2.connectedComponents((matte > _SOLID).astype(np.uint8))
    x0, y0 = np.clip(np.floor(box[:2]).astype(int), 0, (width - 1, height - 1))
    x1, y1 = np.clip(np.ceil(box[2:]).astype(int), (x0 + 1, y0 + 1), (width, height))
    inside = labels[y0:y1, x0:x1]
    wanted = np.unique(inside[inside > 0])
    if not len(wanted):
        return matte
    lookup = np.zeros(labels.max() + 1, bool)
    lookup[wanted] = True
    away = cv2.distanceTransform((~lookup[labels]).astype(np.uint8), cv2.DIST_L2, 3)
    return matte * (away <= max(1.5, _FRINGE * (x1 - x0)))
