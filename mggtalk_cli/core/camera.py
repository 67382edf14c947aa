"""The pinhole camera and the coordinate frames everything else follows.

Head frame: right-handed, centimetres, +x to the subject's left (image right in a frontal photo),
+y up, +z towards the viewer, origin of the canonical face mesh. Camera frame: OpenCV (x right,
y down, z forward). Pixel centres lie at .5. A head pose (R, t) maps the head frame to the *y-up*
camera frame (x right, y up, z to the viewer): R = identity faces the camera, t_z < 0 is in front.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# y-up camera frame <-> OpenCV camera frame.
Y_UP_TO_OPENCV = np.diag([1.0, -1.0, -1.0]).astype(np.float32)

# Focal length of photos and clips of unknown origin, in inter-pupil distances: the subject is
# taken to stand 12 inter-pupil distances (about 75 cm) away, a usual portrait distance.
FOCAL_INTERPUPIL = 12.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera: `viewmat` (4, 4) float32 world -> OpenCV camera, and intrinsics in px."""

    viewmat: np.ndarray
    focal_px: float
    width: int
    height: int

    @property
    def intrinsics(self) -> np.ndarray:
        """(3, 3) float32 matrix K; the principal point is the image centre."""
        f, cx, cy = self.focal_px, self.width / 2, self.height / 2
        return np.array([[f, 0, cx], [0, f, cy], [0, 0, 1]], np.float32)

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """Return (..., 3) OpenCV camera coordinates (cm) of (..., 3) world points."""
        return np.asarray(points @ self.viewmat[:3, :3].T + self.viewmat[:3, 3])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return (..., 3) pixel x, y and camera depth z (cm) of (..., 3) world points."""
        cam = self.to_camera(points)
        depth = np.maximum(cam[..., 2:], 1e-6)
        centre = np.array([self.width / 2, self.height / 2], np.float32)
        xy = cam[..., :2] / depth * np.float32(self.focal_px) + centre
        return np.concatenate([xy, cam[..., 2:]], -1)

    def rays(self, xy: np.ndarray) -> np.ndarray:
        """Return (..., 3) how points seen at (..., 2) px move in the world per cm of depth."""
        centre = np.array([self.width / 2, self.height / 2], np.float32)
        rays = (xy - centre) / np.float32(self.focal_px)
        rays = np.concatenate([rays, np.ones_like(rays[..., :1])], -1)
        return np.asarray(rays @ self.viewmat[:3, :3])

    def unproject(self, xy: np.ndarray, depth: np.ndarray) -> np.ndarray:
        """Return (..., 3) world points of pixel positions (..., 2) at camera depth (...) in cm."""
        centre = np.array([self.width / 2, self.height / 2], np.float32)
        rays = (xy - centre) / np.float32(self.focal_px)
        cam = np.concatenate([rays * depth[..., None], depth[..., None]], -1)
        return np.asarray((cam - self.viewmat[:3, 3]) @ self.viewmat[:3, :3])


def viewmat_from_pose(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Return the (4, 4) float32 OpenCV view matrix of a head pose (R (3, 3), t (3,) in cm)."""
    viewmat = np.eye(4, dtype=np.float32)
    viewmat[:3, :3] = Y_UP_TO_OPENCV @ rotation
    viewmat[:3, 3] = Y_UP_TO_OPENCV @ translation
    return viewmat


def pixel_grid(height: int, width: int) -> np.ndarray:
    """Return (height, width, 2) float32 pixel-centre positions x, y."""
    x = np.arange(width, dtype=np.float32) + 0.5
    y = np.arange(height, dtype=np.float32) + 0.5
    return np.stack(np.meshgrid(x, y), -1)
