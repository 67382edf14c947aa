"""Faces cut out as identity networks expect them, placed by this program's own landmarks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mggtalk_cli import face
from mggtalk_cli.face.crop import Square, crop_square

MIN_SCORE = 0.5  # below this the landmark network does not believe in a face


class Template(NamedTuple):
    """Where `places` (n, 2), px with centres at .5, lie in a chip of `size` px.

    Each place is that of the mean of the landmarks `groups[i]`.
    """

    size: int
    groups: tuple[tuple[int, ...], ...]
    places: tuple[tuple[float, float], ...]


# InsightFace's template: eyes, nose tip, mouth corners, the subject's right first. Its eyes are
# pupils; the middle between the eye corners does not move with the gaze.
ARCFACE_CHIP = Template(
    112,
    ((33, 133), (362, 263), (1,), (61,), (291,)),
    (
        *((38.7946, 52.1963), (74.0318, 52.0014)),
        *((56.5252, 72.2366), (42.0493, 92.8655), (71.2299, 92.7041)),
    ),
)


def _dlib_place(x: float, y: float) -> tuple[float, float]:
    """Return a place of dlib's mean face in a chip of 150 px with a quarter of padding."""
    return (0.25 + x) / 1.5 * 150 + 0.5, (0.25 + y) / 1.5 * 150 + 0.5


# dlib's five-point mean face: both corners of the left eye, of the right eye, base of the nose.
DLIB_CHIP = Template(
    150,
    ((263,), (362,), (33,), (133,), (2,)),
    (
        _dlib_place(0.8595674595992, 0.2134981538014),
        _dlib_place(0.6460604764104, 0.2289674387677),
        _dlib_place(0.1205750620789, 0.2137274526848),
        _dlib_place(0.3340850613712, 0.2290642403242),
        _dlib_place(0.4901123135679, 0.6277975316475),
    ),
)


def find_face(image: np.ndarray, near: np.ndarray | None = None) -> np.ndarray | None:
    """Return the (478, 3) landmarks in px of the largest face, or None without one.

    Args:
        image: (H, W, 3) uint8 RGB.
        near: landmarks of the same face a frame ago: looked for there first.
    """
    if near is not None:
        found = face.find_landmarks(image, near)
        if found.score >= MIN_SCORE:
            return found.points
    faces = face.detect_faces(image)
    if not len(faces):
        return None
    found = face.find_landmarks(image, faces.keypoints[0])
    return found.points if found.score >= MIN_SCORE else None


def aligned(image: np.ndarray, points: np.ndarray, template: Template) -> np.ndarray:
    """Return the (size, size, 3) chip in which the face lies on the template.

    Rotation, scale and shift by least squares; antialiased, beyond the picture black.

    Args:
        image: (H, W, 3) uint8 RGB.
        points: (>= 468, 2 or 3) landmarks px.
        template: where they go.
    """
    # A similarity of the plane is z -> turn * z + shift in complex numbers.
    places = np.array([complex(x, y) for x, y in template.places])
    found = np.array([complex(*points[list(g), :2].mean(0)) for g in template.groups])
    centred = places - places.mean()
    turn = np.vdot(centred, found - found.mean()) / np.vdot(centred, centred).real
    middle = found.mean() + turn * (complex(template.size / 2, template.size / 2) - places.mean())
    side = max(abs(turn) * template.size, 1.0)
    square = Square(middle.real, middle.imag, side, float(np.angle(turn)))
    return crop_square(image, square, template.size, replicate=False)
