"""Landmarks of several views of one person -> one identity, and pose and expression in each view.

One view cannot tell a wide mouth from a smile; several can: what stays the same is identity, what
changes is expression. Gauss-Newton on all views at once: minimise the sum of the views' landmark
errors and expression ridges + one ridge on the identity they share.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.rotation import rotation_exp
from mggtalk_cli.errors import InputError
from mggtalk_cli.face.fit import check_landmarks
from mggtalk_cli.face.gaze import gaze_of_irises
from mggtalk_cli.face.least_squares import (
    FITTED,
    POSE,
    Fitter,
    View,
    bounded_solve,
    initial_pose,
    project,
    unproject,
    view_of,
)
from mggtalk_cli.face.model import load_face_model

# Stronger than for one photo: views that share a person also share the model's error about it, and
# would explain it by an expression that never leaves. Weaker, and clips measure stronger
# expressions; stronger, and the identity is less that of synthetic faces.
EXPRESSION_RIDGE = 60.0
_ROUNDS = 8
_OWN = POSE + len(FITTED)  # unknowns of one view


@dataclass(frozen=True)
class PersonFit:
    """The face model fitted to several views of one person.

    Attributes:
        identity: (40,) float32 identity coefficients in standard deviations, of all views.
        static: (468, 3) float32 cm, head frame: what identity and expression leave of the
            landmarks on average, the network's depth included.
        states: expression, pose and gaze in each view; their residuals are zero.
        focal_px: focal length of the camera that was assumed or given.
        rms_px: root mean square distance of model and detected landmarks in the images.
    """

    identity: np.ndarray
    static: np.ndarray
    states: tuple[FaceState, ...]
    focal_px: float
    rms_px: float


@dataclass
class _Sight:
    """One view and where its fit stands."""

    view: View
    rotation: np.ndarray
    translation: np.ndarray
    expression: np.ndarray


def fit_faces(
    points: Sequence[np.ndarray],
    *,
    image_size: tuple[int, int],
    focal_px: float | None = None,
    expression_ridge: float = EXPRESSION_RIDGE,
) -> PersonFit:
    """Return the identity that views of one person share, and each view's pose and expression.

    Args:
        points: (478, 3) landmarks in px of each view, as `find_landmarks` returns them.
        image_size: (width, height) of every image in px.
        focal_px: focal length if known; else 12 inter-pupil distances of the median view.
        expression_ridge: strength of the pull to the relaxed face.

    Raises:
        InputError: no view, or landmarks of another shape or not finite.
    """
    if not len(points):
        raise InputError("no landmarks to fit a face to: give those of at least one view")
    checked = [check_landmarks(each) for each in points]
    if focal_px is None:
        focal_px = float(np.median([view_of(each, image_size).focal_px for each in checked]))
    model = load_face_model()
    fitter = Fitter(model, identity=None, expression_ridge=expression_ridge)
    sights = []
    for each in checked:
        view = view_of(each, image_size, focal_px)
        pose = initial_pose(view, model.landmark_rest)
        sights.append(_Sight(view, *pose, np.zeros(len(FITTED))))
    identity = np.zeros(fitter.size - len(FITTED))
    for _ in range(_ROUNDS):
        identity = _round(fitter, sights, identity)
    states, errors, rests = [], [], []
    for each, sight in zip(checked, sights, strict=True):
        shape = fitter.shape(np.concatenate([sight.expression, identity]))
        pose = sight.rotation, sight.translation
        errors.append(project(shape, *pose, focal_px)[0] - sight.view.xy)
        rests.append(unproject(sight.view, shape, *pose, depth_trust=1.0) - shape)
        states.append(_state(fitter, sight, each, shape, image_size))
    return PersonFit(
        identity=identity.astype(np.float32),
        static=np.mean(rests, 0).astype(np.float32),
        states=tuple(states),
        focal_px=focal_px,
        rms_px=float(np.sqrt((np.stack(errors) ** 2).sum(-1).mean())),
    )


def _round(fitter: Fitter, sights: Sequence[_Sight], identity: np.ndarray) -> np.ndarray:
    """Move every view (in place) by a Gauss-Newton round; return the identity after it."""
    shared, size = len(identity), len(identity) + _OWN * len(sights)
    hessian, gradient = np.zeros((size, size)), np.zeros(size)
    low, high = np.full(size, -np.inf), np.full(size, np.inf)
    who, face = slice(0, shared), slice(0, len(FITTED))
    person = slice(len(FITTED), None)
    hessian[who, who] = fitter.ridge[person, person]
    gradient[who] = -fitter.ridge[person, person] @ identity
    low[who], high[who] = fitter.low[person] - identity, fitter.high[person] - identity
    for index, sight in enumerate(sights):
        coefficients = np.concatenate([sight.expression, identity])
        normal, descent = fitter.normal_equations(
            sight.view, sight.rotation, sight.translation, coefficients
        )
        own = slice(shared + _OWN * index, shared + _OWN * (index + 1))
        moved = slice(own.start + POSE, own.stop)
        hessian[own, own] = normal[:_OWN, :_OWN]
        hessian[own, who] = normal[:_OWN, _OWN:]
        hessian[who, own] = normal[_OWN:, :_OWN]
        hessian[who, who] += normal[_OWN:, _OWN:]
        hessian[moved, moved] += fitter.ridge[face, face]
        gradient[own] = descent[:_OWN]
        gradient[who] += descent[_OWN:]
        gradient[moved] -= fitter.ridge[face, face] @ sight.expression
        low[moved], high[moved] = -sight.expression, 1 - sight.expression
    hessian[np.diag_indices(size)] += 1e-9 * np.trace(hessian) / len(sights)
    step = bounded_solve(hessian, gradient, low, high)
    for index, sight in enumerate(sights):
        turn, shift, change = np.split(step[shared + _OWN * index :][:_OWN], [3, POSE])
        sight.rotation = rotation_exp(turn) @ sight.rotation
        sight.translation = sight.translation + shift
        sight.expression = np.clip(sight.expression + change, 0, 1)
    return np.clip(identity + step[who], fitter.low[person], fitter.high[person])


def _state(
    fitter: Fitter,
    sight: _Sight,
    points: np.ndarray,
    shape: np.ndarray,
    image_size: tuple[int, int],
) -> FaceState:
    """Return the state that a view shows."""
    pose = sight.rotation, sight.translation
    seen = unproject(sight.view, shape, *pose)
    return FaceState(
        beta=fitter.split(np.pad(sight.expression, (0, fitter.size - len(FITTED))))[0],
        rotation=sight.rotation.astype(np.float32),
        translation=sight.translation.astype(np.float32),
        gaze=gaze_of_irises(points, image_size, sight.view.focal_px, *pose, seen),
    )
