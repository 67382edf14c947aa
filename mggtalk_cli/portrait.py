"""From one photo to a measured portrait: framing, landmarks, matte, fitted face, camera."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from mggtalk_cli import face
from mggtalk_cli.core.camera import Camera, viewmat_from_pose
from mggtalk_cli.core.image import Mapped, crop_square, fit_longer_side
from mggtalk_cli.errors import InputError

logger = logging.getLogger("mggtalk")

# The face crop is this many times the larger side of the face.
CROP_FACES = 2.6

# Faces smaller than this (px of the photo) hold too little to build a head from.
MIN_FACE_PX = 64


@dataclass(frozen=True)
class BuildOptions:
    """What a user may choose when a head is built.

    Attributes:
        size: longer side of the working picture, px.
        crop: "face" (the square 2.6 x face crop) or "none" (the photo's own framing).
        face: which face to take, 0 = the largest; None = the largest, with a warning if several.
        depth: variant of the depth stage: "analytic" or "file".
        depth_file: depth map for the "file" variant.
        normals_file: normal map for the "file" variant.
        voxel_size_cm: voxel edge of the symmetric completion's filter, 0 = no filter; None = the
            stage's own.
    """

    size: int = 512
    crop: str = "face"
    face: int | None = None
    depth: str = "analytic"
    depth_file: str | None = None
    normals_file: str | None = None
    voxel_size_cm: float | None = None


@dataclass(frozen=True)
class Portrait:
    """A framed photo and everything measured on it.

    Attributes:
        image: (H, W, 3) uint8 working picture.
        crop_box: x0, y0, x1, y1 of the working picture in px of the photo.
        photo_size: width and height of the photo, px.
        points: (478, 3) landmarks, px.
        matte: (H, W) float32 person matte.
        fit: the fitted face.
        camera: the photo's camera; world = head frame.
    """

    image: np.ndarray
    crop_box: tuple[float, float, float, float]
    photo_size: tuple[int, int]
    points: np.ndarray
    matte: np.ndarray
    fit: face.FaceFit
    camera: Camera


def measure_portrait(photo: np.ndarray, options: BuildOptions) -> Portrait:
    """Return the framed, measured photo.

    Args:
        photo: (H, W, 3) uint8 RGB.
        options: framing and choice of face.

    Raises:
        InputError: no face, a face below `MIN_FACE_PX`, or no such face.
    """
    box = choose_face(photo, options.face)
    framed, crop_box = frame_photo(photo, box, size=options.size, crop=options.crop)
    corners = framed.points(np.array([[box[0], box[1]], [box[2], box[3]]], np.float64))
    landmarks = face.find_landmarks(framed.image, corners.reshape(4).astype(np.float32))
    image = framed.image
    height, width = image.shape[:2]
    fit = face.fit_face(landmarks.points, image_size=(width, height))
    matte = face.person_mask(image, corners.reshape(4).astype(np.float32))
    viewmat = viewmat_from_pose(fit.state.rotation, fit.state.translation)
    camera = Camera(viewmat, float(fit.focal_px), width, height)
    photo_size = (photo.shape[1], photo.shape[0])
    return Portrait(image, crop_box, photo_size, landmarks.points, matte, fit, camera)


def choose_face(photo: np.ndarray, number: int | None) -> np.ndarray:
    """Return the box (4,) x0, y0, x1, y1 in px of the chosen face."""
    faces = face.detect_faces(photo)
    count = len(faces.boxes)
    if count == 0:
        height, width = photo.shape[:2]
        raise InputError(
            f"no face found in the {width}x{height} photo: use one that shows a face from the"
            " front or half turned, larger than 64 px"
        )
    if number is not None and not 0 <= number < count:
        raise InputError(f"--face {number}: the photo has {count} face(s), numbered from 0")
    if number is None and count > 1:
        x0, y0, x1, y1 = faces.boxes[0].round().astype(int)
        logger.warning(
            f"{count} faces found: taking the largest, at x {x0}-{x1}, y {y0}-{y1};"
            " --face N takes another (0 = largest)"
        )
    box = np.asarray(faces.boxes[number or 0], np.float32)
    side = float(max(box[2] - box[0], box[3] - box[1]))
    if side < MIN_FACE_PX:
        raise InputError(
            f"the face is {side:.0f} px large, at least {MIN_FACE_PX} px are needed: use a larger"
            " or closer photo"
        )
    return box


def frame_photo(
    photo: np.ndarray, box: np.ndarray, *, size: int, crop: str
) -> tuple[Mapped, tuple[float, float, float, float]]:
    """Return the working picture and its box in the photo.

    The face crop is moved, and shrunk if it must be, to lie inside the photo.
    """
    height, width = photo.shape[:2]
    if crop == "none":
        return fit_longer_side(photo, size), (0.0, 0.0, float(width), float(height))
    face_side = float(max(box[2] - box[0], box[3] - box[1]))
    side = min(CROP_FACES * face_side, height, width)
    x = float(np.clip((box[0] + box[2]) / 2, side / 2, width - side / 2))
    y = float(np.clip((box[1] + box[3]) / 2, side / 2, height - side / 2))
    mapped = crop_square(photo, (x, y), side, size)
    return mapped, (x - side / 2, y - side / 2, x + side / 2, y + side / 2)
