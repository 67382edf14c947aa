"""The least-squares problem behind fitting and tracking: face model + camera against landmarks.

Gauss-Newton on a perspective camera: minimise the weighted landmark error (x, y in percent of the
inter-pupil distance, the network's depth at low weight) + a ridge on identity and expression, with
expression in [0, 1] and identity in +-3 standard deviations. Shapes that landmarks cannot tell
apart (see `_NOT_FITTED`) stay 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.linalg import block_diag
from scipy.spatial import cKDTree

from mggtalk_cli.core.camera import FOCAL_INTERPUPIL
from mggtalk_cli.core.expression import ARKIT_INDEX, ARKIT_NAMES, LANDMARK_COUNT
from mggtalk_cli.core.landmark_groups import (
    BROWS,
    EYES,
    FACE_OVAL,
    IRIS_LEFT,
    IRIS_RIGHT,
    LIPS,
    RIGID,
)
from mggtalk_cli.core.rotation import rotation_exp
from mggtalk_cli.face.model import FaceModel, load_face_model

_NOT_FITTED = (
    # Gaze comes from the irises; cheeks and tongue show no landmark.
    *(name for name in ARKIT_NAMES if name.startswith("eyeLook")),
    *("cheekPuff", "tongueOut"),
    # Measured: on landmarks these only soak up noise.
    *("mouthFunnel", "jawLeft", "jawRight", "mouthDimpleLeft", "mouthDimpleRight"),
    *("mouthRollUpper", "mouthShrugLower"),
)
FITTED = np.array([i for i, name in enumerate(ARKIT_NAMES) if name not in _NOT_FITTED])
# Blinks must be followed at once, so their ridge is a tenth.
_QUICK = ("eyeBlinkLeft", "eyeBlinkRight", "eyeWideLeft", "eyeWideRight")
_QUICK_RIDGE = 0.1
_IDENTITY_RIDGE = 2.0  # per squared standard deviation, error in percent of inter-pupil distance
_Z_WEIGHT = 0.15  # the landmark network's depth is a guess
_OVAL_WEIGHT, _LIP_WEIGHT, _LID_WEIGHT = 0.25, 4.0, 6.0
_IDENTITY_BOUND = 3.0
# Landmarks say nothing about the skull, so the identity is also pulled to where the scalp (body
# vertices above the chin and this far from any landmark) stays average; this strength costs
# .01 % of error on 50 photos and keeps the scalp within about a centimetre of the mean head.
_SCALP_DISTANCE_CM = 3.0
_SCALP_LOWEST_CM = -4.0
_SCALP_RIDGE = 200.0
_ACTIVE_SET_ROUNDS = 6
POSE = 6  # rotation vector and translation


def _landmark_weights() -> np.ndarray:
    weights = np.ones(LANDMARK_COUNT)
    weights[list(FACE_OVAL)] = _OVAL_WEIGHT
    weights[list(LIPS)] = _LIP_WEIGHT
    weights[list(EYES)] = _LID_WEIGHT
    return weights


WEIGHTS = _landmark_weights()


def _pose_weights() -> np.ndarray:
    weights = np.ones(LANDMARK_COUNT)
    weights[list(FACE_OVAL)] = _OVAL_WEIGHT
    weights[list(EYES)] = 2.0
    weights[list(BROWS)] = 0.5
    weights[list(RIGID)] = 10.0
    return weights


# For head pose in video: landmarks that follow the skull count, so that a grimace does not turn
# the head. Against optical flow of the hair this takes a tenth off the error of `WEIGHTS`.
POSE_WEIGHTS = _pose_weights()
# In video the network's depth adds more noise to the pose than it tells.
POSE_Z_WEIGHT = 0.05


@dataclass(frozen=True)
class View:
    """One observation: pixels relative to the image centre, y up, and the camera.

    Attributes:
        xy: (468, 2) float64 px, x right, y up from the principal point.
        depth: (468,) float64 px, towards the viewer, up to a constant.
        focal_px: focal length.
        unit_px: one percent of the inter-pupil distance.
    """

    xy: np.ndarray
    depth: np.ndarray
    focal_px: float
    unit_px: float


def interpupil_px(points: np.ndarray) -> float:
    """Return the distance of the two iris centres of (478, 3) landmarks, depth included, px."""
    return max(float(np.linalg.norm(points[IRIS_LEFT[0]] - points[IRIS_RIGHT[0]])), 1.0)


def view_of(points: np.ndarray, image_size: tuple[int, int], focal_px: float | None = None) -> View:
    """Return the observation of (478, 3) landmarks in an image of size (W, H)."""
    centre = np.array(image_size, np.float64) / 2
    xy = (points[:LANDMARK_COUNT, :2] - centre) * (1, -1)
    distance = interpupil_px(points)
    focal = FOCAL_INTERPUPIL * distance if focal_px is None else focal_px
    return View(xy, -points[:LANDMARK_COUNT, 2].astype(np.float64), focal, distance / 100)


def project(
    shape: np.ndarray, rotation: np.ndarray, translation: np.ndarray, focal_px: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 2) px (y up, from the centre) and (n,) distance along the axis, cm."""
    camera = shape @ rotation.T + translation
    distance = np.maximum(-camera[:, 2], 1e-3)
    return camera[:, :2] * (focal_px / distance)[:, None], distance


def unproject(
    view: View,
    shape: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
    *,
    depth_trust: float = 0.0,
) -> np.ndarray:
    """Return (468, 3) head-frame cm: the view's pixels at the depth the posed shape has there.

    Args:
        view: the observation.
        shape: (468, 3) head-frame cm.
        rotation: (3, 3) head rotation, y-up camera frame.
        translation: (3,) head origin in that frame, cm.
        depth_trust: part of the landmark network's deviating depth to believe, 0..1.
    """
    distance = project(shape, rotation, translation, view.focal_px)[1]
    if depth_trust:
        zoom = view.focal_px / max(-float(translation[2]), 1e-3)
        nearer = view.depth / zoom + distance
        distance = distance - depth_trust * (nearer - nearer.mean())
    xy = view.xy * (distance / view.focal_px)[:, None]
    return (np.concatenate([xy, -distance[:, None]], 1) - translation) @ rotation


def initial_pose(view: View, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation and translation from a rigid alignment of landmark depth and position."""
    stable = list(RIGID)
    target = np.concatenate([view.xy, view.depth[:, None]], 1)[stable]
    source = rest[stable].astype(np.float64)
    mean_s, mean_t = source.mean(0), target.mean(0)
    u, s, vt = np.linalg.svd((source - mean_s).T @ (target - mean_t))
    signs = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs @ vt).T
    scale = max(float((s * signs).sum() / ((source - mean_s) ** 2).sum()), 1e-6)
    distance = view.focal_px / scale
    middle = np.array([*(mean_t[:2] / scale), -distance])
    return rotation, middle - rotation @ mean_s


@cache
def _scalp_ridge() -> np.ndarray:
    """Return the (40, 40) quadratic form of the mean squared scalp displacement, cm^2."""
    model = load_face_model()
    body = np.unique(model.triangles[model.part == 0])
    distance = cKDTree(model.landmark_rest).query(model.rest[body])[0]
    above = model.rest[body, 1] > _SCALP_LOWEST_CM
    scalp = body[(distance > _SCALP_DISTANCE_CM) & above]
    moved = model.identity_basis[:, scalp].astype(np.float64).reshape(-1, 3 * len(scalp))
    return moved @ moved.T / len(scalp)


class Fitter:
    """The least-squares problem of one person: fixed or free identity, free expression."""

    def __init__(
        self,
        model: FaceModel,
        *,
        identity: np.ndarray | None,
        expression_ridge: float,
        static: np.ndarray | None = None,
        centre: np.ndarray | None = None,
    ) -> None:
        """Prepare the bases.

        Args:
            model: the face model.
            identity: (40,) known identity, or None to fit it.
            expression_ridge: strength of the pull to `centre`.
            static: (468, 3) cm residual of this person, added to the landmarks at rest.
            centre: (52,) expression the ridge pulls to; the relaxed face by default.
        """
        self.known = None if identity is None else np.asarray(identity, np.float64)
        rest = model.landmark_rest.astype(np.float64)
        basis = [model.landmark_expression[FITTED]]
        pull = np.full(len(FITTED), expression_ridge)
        pull[np.isin(FITTED, [ARKIT_INDEX[name] for name in _QUICK])] *= _QUICK_RIDGE
        low, high = np.zeros(len(FITTED)), np.ones(len(FITTED))
        target = np.zeros(len(FITTED)) if centre is None else np.asarray(centre)[FITTED]
        ridge = np.diag(pull)
        if self.known is None:
            count = len(model.landmark_identity)
            basis.append(model.landmark_identity)
            person = _IDENTITY_RIDGE * np.eye(count) + _SCALP_RIDGE * _scalp_ridge()
            ridge = block_diag(ridge, person)
            low = np.concatenate([low, np.full(count, -_IDENTITY_BOUND)])
            high = np.concatenate([high, np.full(count, _IDENTITY_BOUND)])
            target = np.concatenate([target, np.zeros(count)])
        else:
            rest = rest + np.tensordot(self.known, model.landmark_identity, 1)
        self.rest = rest if static is None else rest + static
        self.basis = np.ascontiguousarray(
            np.concatenate(basis).astype(np.float64).transpose(1, 2, 0)
        )  # (468, 3, n)
        self.ridge, self.low, self.high, self.target = ridge, low, high, target
        self.size = len(ridge)

    def shape(self, coefficients: np.ndarray) -> np.ndarray:
        """Return (468, 3) head-frame landmarks, cm."""
        return self.rest + self.basis @ coefficients

    def split(self, coefficients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return beta (52,) and identity (40,), float32."""
        beta = np.zeros(len(ARKIT_NAMES), np.float32)
        beta[FITTED] = coefficients[: len(FITTED)]
        person = coefficients[len(FITTED) :] if self.known is None else self.known
        return beta, person.astype(np.float32)

    def solve(
        self,
        view: View,
        rotation: np.ndarray,
        translation: np.ndarray,
        coefficients: np.ndarray,
        rounds: int,
        *,
        follow_skull: bool = False,
        fixed_pose: bool = False,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return rotation, translation, coefficients and shape after Gauss-Newton rounds.

        Args:
            view: the observation.
            rotation: (3, 3) start, y-up camera frame.
            translation: (3,) start, cm.
            coefficients: (n,) start, expression then identity.
            rounds: number of Gauss-Newton rounds.
            follow_skull: weigh landmarks for the head pose rather than for the expression.
            fixed_pose: keep rotation and translation.
        """
        for _ in range(rounds):
            hessian, gradient = self.normal_equations(
                view, rotation, translation, coefficients, follow_skull=follow_skull
            )
            gradient[POSE:] -= self.ridge @ (coefficients - self.target)
            hessian[POSE:, POSE:] += self.ridge
            hessian[np.diag_indices_from(hessian)] += 1e-9 * np.trace(hessian)
            reach = np.full(POSE, 0.0 if fixed_pose else np.inf)
            step = bounded_solve(
                hessian,
                gradient,
                np.concatenate([-reach, self.low - coefficients]),
                np.concatenate([reach, self.high - coefficients]),
            )
            rotation = rotation_exp(step[:3]) @ rotation
            translation = translation + step[3:POSE]
            coefficients = np.clip(coefficients + step[POSE:], self.low, self.high)
        return rotation, translation, coefficients, self.shape(coefficients)

    def normal_equations(
        self,
        view: View,
        rotation: np.ndarray,
        translation: np.ndarray,
        coefficients: np.ndarray,
        *,
        follow_skull: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return J'J (6 + n, 6 + n) and -J'e (6 + n,) of one view, without the ridge.

        The unknowns are a turn, a shift, and the coefficients.
        """
        per_landmark, z_weight = (
            (POSE_WEIGHTS, POSE_Z_WEIGHT) if follow_skull else (WEIGHTS, _Z_WEIGHT)
        )
        weights = np.sqrt(per_landmark)[:, None] * (1, 1, np.sqrt(z_weight)) / view.unit_px
        jacobian, error = self._linearise(view, weights, rotation, translation, coefficients)
        return jacobian.T @ jacobian, -jacobian.T @ error

    def _linearise(
        self,
        view: View,
        weights: np.ndarray,
        rotation: np.ndarray,
        translation: np.ndarray,
        coefficients: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the weighted Jacobian (1404, 6 + n) and error (1404,)."""
        turned = self.shape(coefficients) @ rotation.T
        camera = turned + translation
        distance = np.maximum(-camera[:, 2], 1e-3)
        magnify = view.focal_px / distance
        # Motion of each camera-frame point per unknown: turn by omega = -[X]x, shift, shapes.
        motion = np.zeros((LANDMARK_COUNT, 3, POSE + self.size))
        motion[:, 0, 1], motion[:, 0, 2] = turned[:, 2], -turned[:, 1]
        motion[:, 1, 0], motion[:, 1, 2] = -turned[:, 2], turned[:, 0]
        motion[:, 2, 0], motion[:, 2, 1] = turned[:, 1], -turned[:, 0]
        motion[:, [0, 1, 2], [3, 4, 5]] = 1
        motion[:, :, POSE:] = rotation @ self.basis
        towards = motion[:, 2:3]
        slope = camera[:, :2] / distance[:, None]
        flat = (motion[:, :2] + slope[:, :, None] * towards) * magnify[:, None, None]
        zoom = view.focal_px / max(-translation[2], 1e-3)
        deep = (towards - towards.mean(0)) * zoom
        depth_error = (camera[:, 2] - camera[:, 2].mean()) * zoom - (view.depth - view.depth.mean())
        jacobian = np.concatenate([flat, deep], 1) * weights[:, :, None]
        error = np.concatenate(
            [camera[:, :2] * magnify[:, None] - view.xy, depth_error[:, None]], 1
        )
        return jacobian.reshape(-1, POSE + self.size), (error * weights).ravel()


def bounded_solve(
    hessian: np.ndarray, gradient: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Return argmin of x'Hx/2 - g'x near its free minimum within low <= x <= high.

    Active set: unknowns that leave their interval are held at its end and the rest solved again.
    """
    held = low >= high
    x = np.zeros(len(gradient))
    for _ in range(_ACTIVE_SET_ROUNDS):
        free = ~held
        right = gradient[free] - hessian[np.ix_(free, held)] @ x[held]
        x[free] = np.linalg.solve(hessian[np.ix_(free, free)], right)
        outside = free & ((x < low) | (x > high))
        if not outside.any():
            break
        x[outside] = np.clip(x[outside], low[outside], high[outside])
        held |= outside
    return np.clip(x, low, high)
