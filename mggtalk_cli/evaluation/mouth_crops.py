"""The mouth of a talking film against that of the true clip, whatever their heads do.

Speech does not know how the speaker will turn the head, so films are not compared pixel by pixel:
every picture is moved, turned and scaled in the image plane until the landmarks that follow the
skull lie as in the photo, and a square around the photo's mouth is cut out, at the photo's
resolution. A turn in depth remains, in films and truth alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from mggtalk_cli.core.landmark_groups import RIGID
from mggtalk_cli.core.mouth import EYE_CORNERS, MOUTH_CORNERS
from mggtalk_cli.evaluation import metrics

SIDE = 0.9  # of the square, in distances of the outer eye corners
LEAST_PX = 16  # a smaller square holds no window of SSIM to speak of

Crops = Sequence[np.ndarray | None]


class MouthCutter:
    """Cuts the mouth out of pictures as it would lie in the photo."""

    def __init__(self, points: np.ndarray) -> None:
        """Take the photo's landmarks (468 or more, 2 or more), px."""
        self._rigid = points[list(RIGID), :2].astype(np.float64)
        centre = points[list(MOUTH_CORNERS), :2].mean(0)
        right, left = points[list(EYE_CORNERS), :2]
        self.side = max(LEAST_PX, round(SIDE * float(np.linalg.norm(right - left))))
        self._corner = np.round(centre - self.side / 2)

    def cut(self, image: np.ndarray, points: np.ndarray) -> np.ndarray | None:
        """Return the mouth (side, side, 3) uint8 of a picture, None where there is no face.

        Args:
            image: (H, W, 3) uint8.
            points: its landmarks (468 or more, 2 or more) px, NaN without a face.
        """
        if not np.isfinite(points).all():
            return None
        matrix = similarity(points[list(RIGID), :2], self._rigid)
        # OpenCV puts pixel centres at integers.
        matrix[:, 2] += matrix[:, :2] @ np.array([0.5, 0.5]) - 0.5 - self._corner
        size = (self.side, self.side)
        border = cv2.BORDER_REPLICATE
        return np.asarray(
            cv2.warpAffine(image, matrix, size, flags=cv2.INTER_CUBIC, borderMode=border)
        )


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the (2, 3) shift, turn and scale of the plane nearest to source -> target (n, 2).

    >>> square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    >>> (similarity(square, 2 * square + [3, 4]).round(6) + 0.0).tolist()
    [[2.0, 0.0, 3.0], [0.0, 2.0, 4.0]]
    """
    z, w = (np.asarray(points, np.float64) @ [1, 1j] for points in (source, target))
    z0, w0 = z.mean(), w.mean()
    turn = np.vdot(z - z0, w - w0) / max(np.vdot(z - z0, z - z0).real, 1e-12)
    shift = w0 - turn * z0
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def mouth_scores(crops: Crops, truth: Crops) -> dict[str, float]:
    """Return how close the mouths of a film are to the true ones, where both are there.

    Returns:
        mouth_db: PSNR of the squared error pooled over the frames; NaN of none.
        mouth_ssim: mean SSIM.
        mouth_sharpness: mean gradient over the truth's.
    """
    pairs = [
        (crop.astype(np.float32) / 255, true.astype(np.float32) / 255)
        for crop, true in zip(crops, truth, strict=False)
        if crop is not None and true is not None
    ]
    if not pairs:
        return dict.fromkeys(("mouth_db", "mouth_ssim", "mouth_sharpness"), float("nan"))
    errors = [metrics.mean_squared_error(crop, true) for crop, true in pairs]
    sharpness = [metrics.sharpness_ratio(crop, true) for crop, true in pairs]
    return {
        "mouth_db": metrics.psnr_of_error(float(np.mean(errors))),
        "mouth_ssim": float(np.mean([metrics.ssim(crop, true) for crop, true in pairs])),
        "mouth_sharpness": float(np.mean(sharpness)),
    }
