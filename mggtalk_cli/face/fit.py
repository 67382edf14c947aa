"""Landmarks of one photo -> head pose, identity and expression of the face model, and gaze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.errors import InputError
from mggtalk_cli.face.gaze import gaze_of_irises
from mggtalk_cli.face.least_squares import Fitter, initial_pose, project, unproject, view_of
from mggtalk_cli.face.model import load_face_model

# One photo has no second frame to tell identity from expression: pull harder to relaxed.
PHOTO_EXPRESSION_RIDGE = 20.0
_PHOTO_ROUNDS = 8


@dataclass(frozen=True)
class FaceFit:
    """The face model fitted to one photo.

    Attributes:
        identity: (40,) float32 identity coefficients in standard deviations.
        state: expression, pose and gaze; its residual is zero.
        landmarks_head: (468, 3) float32 cm, head frame: the detected landmarks unprojected at the
            model's depth, so that they project exactly onto the detected ones.
        focal_px: focal length of the camera that was assumed or given.
        rms_px: root mean square distance of model and detected landmarks in the image.
    """

    identity: np.ndarray
    state: FaceState
    landmarks_head: np.ndarray
    focal_px: float
    rms_px: float


def fit_face(
    points: np.ndarray,
    *,
    image_size: tuple[int, int],
    focal_px: float | None = None,
    identity: np.ndarray | None = None,
) -> FaceFit:
    """Return pose, identity and expression of one photo.

    Args:
        points: (478, 3) landmarks in px as `find_landmarks` returns them.
        image_size: (width, height) of the image in px.
        focal_px: focal length if known; else 12 inter-pupil distances.
        identity: (40,) identity if known; else fitted too.

    Raises:
        InputError: the landmarks have another shape or are not finite.
    """
    points = check_landmarks(points)
    model = load_face_model()
    view = view_of(points, image_size, focal_px)
    rotation, translation = initial_pose(view, model.landmark_rest)
    fitter = Fitter(model, identity=identity, expression_ridge=PHOTO_EXPRESSION_RIDGE)
    solution = fitter.solve(view, rotation, translation, np.zeros(fitter.size), _PHOTO_ROUNDS)
    rotation, translation, coefficients, shape = solution
    beta, person = fitter.split(coefficients)
    predicted, _ = project(shape, rotation, translation, view.focal_px)
    landmarks = unproject(view, shape, rotation, translation)
    state = FaceState(
        beta=beta,
        rotation=rotation.astype(np.float32),
        translation=translation.astype(np.float32),
        gaze=gaze_of_irises(points, image_size, view.focal_px, rotation, translation, landmarks),
    )
    error = predicted - view.xy
    return FaceFit(
        identity=person,
        state=state,
        landmarks_head=landmarks.astype(np.float32),
        focal_px=float(view.focal_px),
        rms_px=float(np.sqrt((error**2).sum(1).mean())),
    )


def check_landmarks(points: np.ndarray) -> np.ndarray:
    """Return landmarks as float64.

    Raises:
        InputError: they have another shape than (478, 3) or are not finite.
    """
    points = np.asarray(points, np.float64)
    if points.shape != (478, 3) or not np.isfinite(points).all():
        raise InputError(f"expected finite landmarks of shape (478, 3), got {points.shape}")
    return points
