"""What lies behind the person: a push-pull fill of the photo's own background.

Pull: average known pixels into ever coarser levels; push: fill holes from the coarser level.
The result is smooth and seamless, which is what an out-of-focus background should be.
"""

from __future__ import annotations

import cv2
import numpy as np

# Pixels this close to the person (share of the picture's longer side) are not trusted as
# background: hair and blur reach beyond the matte.
DISTRUST = 0.004


def fill_behind(image: np.ndarray, matte: np.ndarray, head_weight: np.ndarray) -> np.ndarray:
    """Return the (H, W, 3) float32 photo with the person replaced by background.

    Args:
        image: (H, W, 3) float32 photo.
        matte: (H, W) float32 person matte 0..1.
        head_weight: (H, W) float32, 1 on what moves: beside it, wisps of hair count as person.
    """
    radius = max(1, round(DISTRUST * max(matte.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    inside = matte > 0.05
    person = np.maximum(
        inside, cv2.dilate((inside & (head_weight > 0.5)).astype(np.float32), kernel)
    )
    known = 1 - person
    if known.sum() < 0.002 * known.size:
        mean = image.reshape(-1, 3).mean(0)
        return np.broadcast_to(mean, image.shape).astype(np.float32).copy()
    filled = fill_unknown(image, known)
    return np.where(person[..., None] > 0, filled, image).astype(np.float32)


# Above this alpha the rim keeps the clean fill: a solved one gives the photo back better at rest
# but leaves an outline of the hair behind when the head moves.
RIM_ALPHA = 0.3


# Mixed pixels are solved for person and background; both stay this near to colours around them.
BEYOND_HULL = 0.1

# Pixels with more of the person than this show the person's own colour.
SURE = 0.9


def match_rim(
    plate: np.ndarray, photo: np.ndarray, rgb: np.ndarray, alpha: np.ndarray
) -> np.ndarray:
    """Return the plate (H, W, 3) uint8 whose soft rim completes the render to the photo.

    Where the person's edge is soft, I = rgb + (1 - alpha) B is solved for B: what the matte got
    wrong stays in the background instead of becoming an error.

    Args:
        plate: (H, W, 3) uint8 filled background.
        photo: (H, W, 3) float32.
        rgb: (H, W, 3) float32 premultiplied render at rest.
        alpha: (H, W, 1) float32 its coverage.
    """
    filled = plate.astype(np.float32) / 255
    solved = (photo - rgb) / np.maximum(1 - alpha, 1 - RIM_ALPHA)
    # Never beyond photo and fill: a rim brighter than both stays as a line when the head moves.
    solved = np.clip(solved, np.minimum(filled, photo), np.maximum(filled, photo))
    solved = (solved * 255).round().astype(np.uint8)
    return np.where((alpha > 0.004) & (alpha < RIM_ALPHA), solved, plate)


def unmix(image: np.ndarray, plate: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Return the person's own colours (H, W, 3) float32: I = alpha C + (1 - alpha) B for C.

    Args:
        image: (H, W, 3) float32 photo.
        plate: (H, W, 3) float32 background.
        alpha: (H, W) float32 share of the person.
    """
    share = np.maximum(alpha, 0.05)[..., None]
    solved = (image - (1 - share) * plate) / share
    pure = fill_unknown(image, (alpha > SURE).astype(np.float32))
    low, high = np.minimum(image, pure) - BEYOND_HULL, np.maximum(image, pure) + BEYOND_HULL
    return np.clip(solved, np.maximum(low, 0), np.minimum(high, 1)).astype(np.float32)


def fill_unknown(image: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) float32: the picture where `known` (H, W) is 1, a smooth fill elsewhere."""
    return _pull_push(image * known[..., None], known)


def _pull_push(weighted: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the fill of a (H, W, 3) picture premultiplied by its (H, W) weight."""
    height, width = weight.shape
    if min(height, width) <= 2:
        mean = weighted.reshape(-1, 3).sum(0) / max(float(weight.sum()), 1e-6)
        return np.broadcast_to(mean, weighted.shape).astype(np.float32)
    small = ((width + 1) // 2, (height + 1) // 2)
    coarse_weighted = cv2.resize(cv2.GaussianBlur(weighted, (5, 5), 1), small)
    coarse_weight = cv2.resize(cv2.GaussianBlur(weight, (5, 5), 1), small)
    full = np.minimum(coarse_weight, 1)
    scale = full / np.maximum(coarse_weight, 1e-6)
    coarse = _pull_push(coarse_weighted * scale[..., None], full)
    coarse = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    own = weighted / np.maximum(weight, 1e-6)[..., None]
    share = np.clip(weight, 0, 1)[..., None]
    return (own * share + coarse * (1 - share)).astype(np.float32)
