"""What the head stage knows of one portrait: matte, fitted face model and landmarks on its pixels.

All maps share one pixel grid (the working frame). Depth is camera z in cm, larger = farther.
Normals are unit vectors in the y-up camera frame: x right, y up, z towards the viewer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.mesh import rasterize_mesh
from mggtalk_cli.errors import InputError

# The 36 landmarks of MediaPipe's face mesh round the face, from the forehead's middle over the
# image-right side (subject's left) to the chin and back.
FACE_OVAL: tuple[int, ...] = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288),
    *(397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136),
    *(172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
CHIN = 152
# The inner lip line, round the mouth's opening.
INNER_LIPS: tuple[int, ...] = (
    *(78, 191, 80, 81, 82, 13, 312, 311, 310, 415),
    *(308, 324, 318, 402, 317, 14, 87, 178, 88, 95),
)
# Pixels that belong to the person at least by half are part of the surface.
MATTE_THRESHOLD = 0.5
# Model surface seen at a more grazing angle than this (n_z) says nothing about the face.
FACE_MIN_NZ = 0.1


@dataclass(frozen=True)
class HeadView:
    """One portrait as the head stage sees it.

    Attributes:
        matte: (H, W) float32 0..1, share of the person in each pixel.
        model_depth: (H, W) float32 camera z in cm of the fitted head model (skull, ears and neck
            included), NaN where it does not cover the pixel.
        model_normals: (H, W, 3) float32 its unit normals, y-up camera frame, NaN likewise.
        landmarks: (468, 3) float32 pixel x, y and camera z (cm) of the face landmarks.
        focal_px: focal length in pixels; the principal point is the image centre.
    """

    matte: np.ndarray
    model_depth: np.ndarray
    model_normals: np.ndarray
    landmarks: np.ndarray
    focal_px: float

    @cached_property
    def face(self) -> np.ndarray:
        """(H, W) bool: inside the face oval, where the model is the truth."""
        outline = np.round(self.landmarks[list(FACE_OVAL), :2] * 16 - 8).astype(np.int32)
        mask = np.zeros(self.matte.shape, np.uint8)
        cv2.fillPoly(mask, [outline], 1, shift=4)
        return (mask > 0) & (np.nan_to_num(self.model_normals[..., 2]) > FACE_MIN_NZ)

    @cached_property
    def valid(self) -> np.ndarray:
        """(H, W) bool: the person who owns the face (parts that hang together with it)."""
        person = (self.matte > MATTE_THRESHOLD) | self.face
        _, labels = cv2.connectedComponents(person.astype(np.uint8), connectivity=4)
        owned = np.unique(labels[self.face])
        return np.isin(labels, owned[owned > 0])

    @property
    def cm_per_px(self) -> float:
        """Size of a pixel on the face, cm."""
        return float(np.median(self.landmarks[:, 2])) / self.focal_px


def head_view(
    matte: np.ndarray,
    landmarks_head: np.ndarray,
    vertices_head: np.ndarray,
    triangles: np.ndarray,
    camera: Camera,
) -> HeadView:
    """Return the view of a portrait from the fitted model in the head frame.

    Args:
        matte: (H, W) person matte 0..1 of the camera's size.
        landmarks_head: (468 or more, 3) fitted landmarks, head frame, cm.
        vertices_head: (V, 3) posed expression of the head model, head frame, cm.
        triangles: (F, 3) its triangles, counter-clockwise seen from outside.
        camera: the photo's camera (head frame -> camera).

    Raises:
        InputError: if sizes differ or the face lies outside the picture.
    """
    if matte.shape != (camera.height, camera.width):
        raise InputError(
            f"a matte of {matte.shape[1]}x{matte.shape[0]} px does not fit a camera of"
            f" {camera.width}x{camera.height} px; resample it to the camera's size"
        )
    depth, normals = model_maps(vertices_head, triangles, camera)
    view = HeadView(
        matte=np.clip(np.nan_to_num(matte), 0, 1).astype(np.float32),
        model_depth=depth,
        model_normals=normals,
        landmarks=camera.project(landmarks_head[:468]).astype(np.float32),
        focal_px=camera.focal_px,
    )
    if not view.face.any():
        raise InputError("no pixel of the fitted face lies inside the picture; use a wider crop")
    return view


def model_maps(
    vertices_head: np.ndarray, triangles: np.ndarray, camera: Camera
) -> tuple[np.ndarray, np.ndarray]:
    """Return depth (H, W) in cm and smooth normals (H, W, 3) of a mesh, NaN where it is not seen.

    Normals are in the y-up camera frame, interpolated from area-weighted vertex normals and
    turned towards the viewer.
    """
    projected = camera.project(vertices_head)
    index, bary, depth = rasterize_mesh(
        projected[:, :2], projected[:, 2], triangles, height=camera.height, width=camera.width
    )
    seen = index >= 0
    faces = np.asarray(triangles, np.int64)
    corner = vertices_head[faces]
    area = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    vertex = np.stack(
        [
            np.bincount(faces.ravel(), np.repeat(area[:, axis], 3), len(vertices_head))
            for axis in range(3)
        ],
        -1,
    )
    vertex = vertex @ camera.viewmat[:3, :3].T * np.array([1.0, -1.0, -1.0])
    vertex /= np.maximum(np.linalg.norm(vertex, axis=-1, keepdims=True), 1e-9)
    normals = np.full((*index.shape, 3), np.nan, np.float32)
    mixed = (bary[seen][..., None] * vertex[faces[index[seen]]]).sum(1)
    mixed /= np.maximum(np.linalg.norm(mixed, axis=-1, keepdims=True), 1e-9)
    normals[seen] = np.where(mixed[:, 2:] < 0, -mixed, mixed)
    return np.where(seen, depth, np.nan).astype(np.float32), normals
