"""Controls that expose blur: misplaced pictures gain PSNR and SSIM by being blurred.

Sharpness is the head's mean gradient magnitude over the truth's (`metrics.sharpness_ratio`), mean
over the frames. Two controls stand beside a method: "average", its mean with the landmark warp, and
"blur", the method itself, blurred until it is as sharp as that average (not at all if it is softer
already). And every method is measured once more after it has been blurred to one common sharpness,
that of the softest method of the clip: what a method wins by being soft is gone there, and a method
and its own blur are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.optimize import brentq

from mggtalk_cli.evaluation import metrics
from mggtalk_cli.evaluation.metrics.image import FLAT

# A Gaussian of this many px leaves nothing of a face at 512 px; no method is blurred further.
MAX_SIGMA = 8.0
SIGMA_TOLERANCE = 1e-3  # px
# The sigma is found on so many frames, evenly spread; a clip's frames hardly differ in it.
SAMPLED = 8
# A method softer than this (of the truth) sets no standard: everything blurred to it would only be
# mush. Such a method has no number at equal sharpness.
SOFTEST = 0.5

# What lies further from the head than this many px does not blur into it.
MARGIN_PX = 16


def average(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the mean of two uint8 pictures, halves rounded up.

    >>> average(np.array([1], np.uint8), np.array([4], np.uint8)).tolist()
    [3]
    """
    return np.asarray((image.astype(np.uint16) + other + 1) // 2, np.uint8)


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Return the uint8 picture (H, W, 3) blurred by a Gaussian of `sigma` px; 0 changes nothing."""
    if sigma <= 0:
        return image
    soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), sigma)
    return np.asarray(np.rint(soft).clip(0, 255).astype(np.uint8))


def matching_sigma(images: Sequence[np.ndarray], heads: Sequence[np.ndarray], kept: float) -> float:
    """Return the blur in px that leaves the heads this share of their sharpness.

    Args:
        images: (H, W, 3) uint8 frames.
        heads: (H, W) bool masks, the same of every method.
        kept: sharpness wanted over the present one; from 1 on, and for NaN, nothing is blurred.
    """
    chosen = _spread([i for i, head in enumerate(heads) if head.any()])
    samples = []
    for index in chosen:
        crop = _around(heads[index])
        image, inside = images[index][crop], heads[index][crop]
        sharp = float(metrics.gradient_magnitude(image)[inside].mean())
        if sharp > FLAT * 255:
            samples.append((image, inside, sharp))

    def excess(sigma: float) -> float:
        left = [
            float(metrics.gradient_magnitude(blurred(image, sigma))[inside].mean()) / sharp
            for image, inside, sharp in samples
        ]
        return float(np.mean(left)) - kept

    if not samples or not kept < 1:
        return 0.0
    if excess(MAX_SIGMA) > 0:
        return MAX_SIGMA
    return float(brentq(excess, 0.0, MAX_SIGMA, xtol=SIGMA_TOLERANCE))


def common_sharpness(sharpness: Sequence[float]) -> float:
    """Return the sharpness of the softest method, of those that are not mush; NaN without one.

    >>> common_sharpness([0.9, 0.75, 0.2])
    0.75
    """
    return min((value for value in sharpness if value >= SOFTEST), default=float("nan"))


def share(wanted: float, sharpness: float) -> float:
    """Return what is to be left of a method's sharpness; NaN of a method that has none."""
    return wanted / sharpness if sharpness > 0 else float("nan")


def _spread(indices: list[int]) -> list[int]:
    """Return at most `SAMPLED` of the indices, evenly spread."""
    if len(indices) <= SAMPLED:
        return indices
    return [indices[round(place)] for place in np.linspace(0, len(indices) - 1, SAMPLED)]


def _around(mask: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of a mask, widened by what a blur reaches."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (
        slice(max(rows[0] - MARGIN_PX, 0), rows[-1] + MARGIN_PX + 1),
        slice(max(columns[0] - MARGIN_PX, 0), columns[-1] + MARGIN_PX + 1),
    )
