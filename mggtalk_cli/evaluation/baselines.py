"""What every result has to beat: the unmoved photo, and a 2D warp of it by landmarks."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import Delaunay

from mggtalk_cli.core.landmark_groups import FACE_OVAL, TRIANGLES
from mggtalk_cli.core.mesh import rasterize_mesh

# Points on each side of the picture that stay where they are; between them and the face's outline
# the warp fades out.
ANCHORS_PER_SIDE = 4

# Depth of the fading part, px: behind every landmark.
BEHIND_PX = 1e6

LANDMARKS = 468


class LandmarkWarp:
    """A picture that can be warped, piecewise affinely, to any other place of its landmarks.

    The face follows the triangles of the 468 landmarks, nearest on top; around it, triangles
    between the face's outline and fixed points on the picture's border carry hair and shoulders.
    """

    def __init__(self, image: np.ndarray, points: np.ndarray) -> None:
        """Prepare a picture.

        Args:
            image: (H, W, 3) uint8.
            points: (>= 468, 2 or 3) its landmarks, px.
        """
        self._image = image
        self._anchors = _border(*image.shape[:2])
        outline = np.array(FACE_OVAL)
        source = points[:LANDMARKS, :2]
        around = Delaunay(np.concatenate([source[outline], self._anchors])).simplices
        names = np.concatenate([outline, LANDMARKS + np.arange(len(self._anchors))])
        # The part around needs its own vertices, since it lies at another depth.
        self._vertices = np.concatenate([source, self._anchors, source[outline]])
        own = np.where(
            names < LANDMARKS, len(source) + len(self._anchors) + np.arange(len(names)), names
        )
        self._outline = outline
        self._triangles = np.concatenate([TRIANGLES, own[around]])

    def to(self, points: np.ndarray) -> np.ndarray:
        """Return the (H, W, 3) uint8 picture with its landmarks moved to `points` (>= 468, 3)."""
        target = points[:LANDMARKS]
        xy = np.concatenate([target[:, :2], self._anchors, target[self._outline, :2]])
        behind = np.full(len(xy) - LANDMARKS, BEHIND_PX)
        depth = np.concatenate([target[:, 2], behind])
        height, width = self._image.shape[:2]
        index, weight, _ = rasterize_mesh(xy, depth, self._triangles, height=height, width=width)
        corners = self._vertices[self._triangles[index]]
        source = (corners * weight[..., None]).sum(2)
        # OpenCV puts pixel centres at integers.
        return np.asarray(
            cv2.remap(
                self._image,
                (source - 0.5).astype(np.float32),
                None,
                cv2.INTER_CUBIC,
                borderMode=cv2.BORDER_REPLICATE,
            )
        )


def _border(height: int, width: int) -> np.ndarray:
    """Return points along the picture's border, corners included, px."""
    steps = np.linspace(0, 1, ANCHORS_PER_SIDE + 1)[:-1]
    zero, one = np.zeros_like(steps), np.ones_like(steps)
    unit = np.concatenate(
        [
            np.stack(side, -1)
            for side in ((steps, zero), (one, steps), (1 - steps, one), (zero, 1 - steps))
        ]
    )
    return unit * [width, height]
