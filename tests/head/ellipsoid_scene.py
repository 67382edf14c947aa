"""An ellipsoid head with a known surface, seen by the photo's camera."""

from dataclasses import dataclass

import numpy as np

from mggtalk_cli.core.camera import Camera, pixel_grid, viewmat_from_pose
from mggtalk_cli.core.rotation import matrix_from_angles
from mggtalk_cli.head.view import CHIN, FACE_OVAL, INNER_LIPS, HeadView

AXES = np.array([8.0, 11.0, 10.0])
DISTANCE_CM = 75.0


@dataclass(frozen=True)
class EllipsoidHead:
    camera: Camera
    positions: np.ndarray
    valid: np.ndarray
    normals: np.ndarray
    depth: np.ndarray

    def level(self, points: np.ndarray) -> np.ndarray:
        """1 on the surface, below 1 inside."""
        return np.linalg.norm(points / AXES, axis=-1)


def ellipsoid_head(
    yaw_deg: float = 0.0, *, width: int = 128, height: int = 128, frame_cm: float = 40.0
) -> EllipsoidHead:
    focal = DISTANCE_CM * max(width, height) / frame_cm
    pose = matrix_from_angles(yaw_deg, 0, 0), np.array([0, 0, -DISTANCE_CM])
    camera = Camera(viewmat_from_pose(*pose), float(focal), width, height)
    grid = pixel_grid(height, width)
    eye = camera.unproject(grid, np.zeros((height, width), np.float32)).astype(np.float64)
    ray = camera.unproject(grid, np.ones((height, width), np.float32)) - eye
    a = ((ray / AXES) ** 2).sum(-1)
    b = 2 * (eye * ray / AXES**2).sum(-1)
    c = ((eye / AXES) ** 2).sum(-1) - 1
    inside = b * b - 4 * a * c
    valid = inside > 0
    depth = (-b - np.sqrt(np.maximum(inside, 0))) / (2 * a)
    positions = np.where(valid[..., None], eye + ray * depth[..., None], 0)
    normals = positions / AXES**2
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    normals = normals @ camera.viewmat[:3, :3].T * np.array([1.0, -1.0, -1.0])
    normals[~valid] = np.nan
    return EllipsoidHead(
        camera,
        positions.astype(np.float32),
        valid,
        normals.astype(np.float32),
        np.where(valid, depth, np.nan).astype(np.float32),
    )


def oval_landmarks(head: EllipsoidHead) -> np.ndarray:
    """Landmarks on the ellipsoid's front: outline, chin and lips where a face has them."""
    landmarks = np.zeros((468, 3))
    around = np.arange(len(FACE_OVAL)) / len(FACE_OVAL) * 2 * np.pi
    landmarks[list(FACE_OVAL)] = np.stack(
        [5.5 * np.sin(around), 7.0 * np.cos(around), 0 * around], -1
    )
    lip = np.arange(len(INNER_LIPS)) / len(INNER_LIPS) * 2 * np.pi
    landmarks[list(INNER_LIPS)] = np.stack([-2 * np.cos(lip), -4 + 0.05 * np.sin(lip), 0 * lip], -1)
    landmarks[CHIN, :2] = 0, -7
    xy = landmarks[:, :2] / AXES[:2]
    landmarks[:, 2] = AXES[2] * np.sqrt(1 - (xy**2).sum(-1))
    return head.camera.project(landmarks.astype(np.float32))


def head_view_of(head: EllipsoidHead, *, skull: bool = True) -> HeadView:
    view = HeadView(
        matte=head.valid.astype(np.float32),
        model_depth=head.depth,
        model_normals=head.normals,
        landmarks=oval_landmarks(head),
        focal_px=head.camera.focal_px,
    )
    if skull:
        return view
    return HeadView(
        matte=view.matte,
        model_depth=np.where(view.face, head.depth, np.nan),
        model_normals=np.where(view.face[..., None], head.normals, np.nan),
        landmarks=view.landmarks,
        focal_px=view.focal_px,
    )
