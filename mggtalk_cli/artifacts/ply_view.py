"""The view a `.ply` of ours was made for, kept in a comment of its header.

Other programs skip comments. Read back, they are as untrusted as the rest of the file: a comment
that is not exactly what is written here is refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from mggtalk_cli import __version__
from mggtalk_cli.artifacts.validation import META_FORMS
from mggtalk_cli.core.camera import Camera
from mggtalk_cli.errors import ArtifactError

_PREFIX = "mggtalk "
# Nothing this program writes comes near; a picture of this side takes 64 MiB.
MAX_SIDE = 4096
MAX_FOCAL_PX = 1e6
MAX_DISTANCE = 1e6  # of camera and pivot from the origin
MAX_EPS2D = 10.0
# How far a stored rotation may be from one, per entry.
_ROTATION_TOLERANCE = 1e-3


@dataclass(frozen=True)
class PlyView:
    """How a cloud of Gaussians is looked at.

    Attributes:
        camera: view matrix, focal length and size of the picture.
        pivot: (3,) point about which the view turns, in the unit of the cloud.
        eps2d: low-pass of the projected Gaussians, px^2.
    """

    camera: Camera
    pivot: tuple[float, float, float]
    eps2d: float


def view_comment(view: PlyView) -> str:
    """Return the text of the header comment that keeps a view."""
    camera = view.camera
    # The shortest digits that give the same float32 back keep the line short.
    viewmat = [float(str(x)) for x in camera.viewmat.astype(np.float32).ravel()]
    note = {
        "version": __version__,
        "viewmat": viewmat,
        "focal_px": float(camera.focal_px),
        "width": camera.width,
        "height": camera.height,
        "pivot": [float(x) for x in view.pivot],
        "eps2d": view.eps2d,
    }
    return _PREFIX + json.dumps(note)


def parse_view(comments: list[str]) -> PlyView | None:
    """Return the view kept in the comments of a header, None where none is.

    Raises:
        ArtifactError: there is one that this program does not write.
    """
    notes = [text for text in comments if text.startswith(_PREFIX + "{")]
    if not notes:
        return None
    try:
        note = json.loads(notes[0].removeprefix(_PREFIX))
        problem = _problem(note) if len(notes) == 1 else "it is there more than once"
    except (ValueError, RecursionError, OverflowError) as error:
        raise ArtifactError(f"its note on the view cannot be read: {error}") from error
    if problem:
        raise ArtifactError(f"its note on the view is not usable: {problem}")
    viewmat = np.array(note["viewmat"], np.float32).reshape(4, 4)
    camera = Camera(viewmat, float(note["focal_px"]), note["width"], note["height"])
    x, y, z = (float(value) for value in note["pivot"])
    return PlyView(camera, (x, y, z), float(note["eps2d"]))


def _problem(note: dict[str, Any]) -> str:
    """Return what is wrong with a note, nothing where it can be trusted."""
    is_camera, wanted = META_FORMS["camera"]
    if not is_camera(note):
        return f"the camera is not {wanted}"
    if max(note["width"], note["height"]) > MAX_SIDE or note["focal_px"] > MAX_FOCAL_PX:
        return f"{note['width']} x {note['height']} px, focal length {note['focal_px']} px"
    viewmat = np.array(note["viewmat"], np.float64).reshape(4, 4)
    turn = viewmat[:3, :3]
    far = np.abs(viewmat).max() > MAX_DISTANCE or (viewmat[3] != (0, 0, 0, 1)).any()
    if far or np.abs(turn @ turn.T - np.eye(3)).max() > _ROTATION_TOLERANCE:
        return "viewmat is not a rotation and a translation"
    if np.linalg.det(turn) < 0:
        return "viewmat mirrors"
    pivot = note.get("pivot")
    if not (isinstance(pivot, list) and len(pivot) == 3 and all(map(_is_coordinate, pivot))):
        return "pivot is not three numbers"
    eps2d = note.get("eps2d")
    if not (isinstance(eps2d, int | float) and 0 <= eps2d <= MAX_EPS2D):
        return f"eps2d is not within 0..{MAX_EPS2D:g}"
    return ""


def _is_coordinate(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) <= MAX_DISTANCE
