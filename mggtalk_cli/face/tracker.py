"""Video frames -> landmarks, expression, gaze and a calm head pose, frame by frame.

Somebody known beforehand, or else the first frame, fixes the person: identity, camera, and a static
residual that makes the model pass through the landmarks. Frames fit pose and expression only.
Landmark noise in scale and rotation would be amplified at the hair top, so small changes of
distance are ignored and fast rotation noise is damped; what the calmer pose leaves goes back into
expression and residual, so lips and lids keep every pixel of their motion.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.core.landmark_groups import RIGID
from mggtalk_cli.core.rotation import rotation_exp, rotation_log
from mggtalk_cli.errors import InputError
from mggtalk_cli.face.detect import detect_faces
from mggtalk_cli.face.fit import fit_face
from mggtalk_cli.face.gaze import gaze_of_irises
from mggtalk_cli.face.landmarks import Landmarks, find_landmarks, square_of_landmarks
from mggtalk_cli.face.least_squares import Fitter, initial_pose, unproject, view_of
from mggtalk_cli.face.model import load_face_model
from mggtalk_cli.face.person import PersonFit

_PRIMING = 6  # landmark passes on the first frame; a single one is off by .5-1 px
_MIN_SCORE = 0.5  # below this the landmark network does not believe in a face
# A face that moved further than this part of its crop since the last frame is looked at twice.
_FAST_MOTION = 0.06
_EXPRESSION_RIDGE = 8.0
_FIRST_ROUNDS, _ROUNDS = 8, 3  # Gauss-Newton rounds from the last frame's solution
_SCALE_DEAD_ZONE = 0.025  # log of apparent size: smaller changes are landmark noise
# Rotation: part of the distance to the slow rotation that is kept, and how fast that one follows
# in seconds: jitter halves, a steady turn lags by a frame and a half. These numbers and the pose
# weights were chosen against optical flow of the hair in six clips.
_ROTATION_KEEP = 0.5
_ROTATION_TIME_S = 0.12
_CLOSED_EYE = 0.6  # above this blink coefficient the iris is hidden: keep the last gaze
# The face is looked at through so many cells a side, and is still where none of them has changed by
# more than this many grey levels: below a sixth of a px of motion, and above the noise of cameras.
_CELLS, _STILL_LEVELS = 48, 2.0
_AROUND = 0.15  # of the face's size, looked at around it
_STABLE = list(RIGID)
_GOOD_RMS, _BAD_RMS = 2.0, 8.0  # fit error in percent of inter-pupil distance: trust, no trust


@dataclass(frozen=True)
class TrackedFace:
    """One frame of a tracked face.

    Attributes:
        points: (478, 3) float32 landmarks px, see `Landmarks`.
        state: expression, pose, gaze and residual of the frame.
        confidence: 0..1.
    """

    points: np.ndarray
    state: FaceState
    confidence: float


@dataclass(frozen=True)
class _Person:
    """What stays the same through the clip."""

    identity: np.ndarray
    focal_px: float
    fitter: Fitter
    distance: float  # of the head origin in the first frame, cm
    landmarks: np.ndarray  # of the first face, (468, 3) cm, head frame


class FaceTracker:
    """Follows one face through a clip; call `update` for every frame in order."""

    def __init__(
        self, image_size: tuple[int, int], fps: float = 25.0, *, known: PersonFit | None = None
    ) -> None:
        """Start without a face.

        Args:
            image_size: (width, height) of every frame in px.
            fps: frames per second, > 0.
            known: who will be seen, from frames of this size; else the first face tells.

        Raises:
            InputError: size or rate is not positive.
        """
        if min(image_size) < 1 or not fps > 0:
            raise InputError(f"cannot track frames of {image_size} px at {fps} fps")
        self._size = (int(image_size[0]), int(image_size[1]))
        self._follow = 1 - np.exp(-1 / (fps * _ROTATION_TIME_S))
        self._known = known
        self._person: _Person | None = None
        self._points: np.ndarray | None = None
        self._last_centre: np.ndarray | None = None
        self._slow_rotation = np.eye(3)
        self._last: FaceState | None = None
        self._seen: TrackedFace | None = None
        self._cells = np.zeros(0)
        self._coefficients = np.zeros(0)

    @property
    def identity(self) -> np.ndarray | None:
        """(40,) float32 identity of the tracked person, None before the first face."""
        return None if self._person is None else self._person.identity

    @property
    def landmarks(self) -> np.ndarray | None:
        """(468, 3) float32 cm, head frame, of the first face, None before it."""
        return None if self._person is None else self._person.landmarks

    @property
    def focal_px(self) -> float | None:
        """Focal length assumed for the clip, None before the first face."""
        return None if self._person is None else self._person.focal_px

    def update(self, frame: np.ndarray) -> TrackedFace | None:
        """Return the face in the next frame, or None while there is none.

        A face that does not move is the same object again: noise must not make it tremble.

        Args:
            frame: (H, W, 3) uint8 RGB of the size given at the start.

        Raises:
            InputError: the frame has another size.
        """
        if frame.shape[:2] != self._size[::-1]:
            raise InputError(
                f"frame of {frame.shape[1]}x{frame.shape[0]} px in a clip of "
                f"{self._size[0]}x{self._size[1]} px"
            )
        if self._seen is not None and self._points is not None:
            change = np.abs(_face_cells(frame, self._seen.points) - self._cells)
            if change.max() < _STILL_LEVELS:
                return self._seen
        found = self._find(frame)
        if found is None:
            self._points = None
            return None
        restart = self._points is None
        self._points = found.points
        self._last_centre = found.points[:, :2].mean(0)
        if self._person is None:
            self._seen = self._first(found)
        else:
            self._seen = self._next(found, self._person, restart)
        self._cells = _face_cells(frame, found.points)
        return self._seen

    def _find(self, frame: np.ndarray) -> Landmarks | None:
        """Return landmarks near the last ones, or of a newly detected face."""
        if self._points is not None:
            before = square_of_landmarks(self._points)
            found = find_landmarks(frame, self._points)
            after = square_of_landmarks(found.points)
            moved = np.hypot(after.x - before.x, after.y - before.y) / before.side
            if found.score >= _MIN_SCORE and moved > _FAST_MOTION:
                found = find_landmarks(frame, found.points)
            if found.score >= _MIN_SCORE:
                return found
        faces = detect_faces(frame)
        if not len(faces):
            return None
        chosen = 0
        if self._last_centre is not None:
            distance = np.linalg.norm(faces.keypoints.mean(1) - self._last_centre, axis=1)
            chosen = int(distance.argmin())
        found = find_landmarks(frame, faces.keypoints[chosen])
        for _ in range(_PRIMING):
            found = find_landmarks(frame, found.points)
        return found if found.score >= _MIN_SCORE else None

    def _first_of(self, known: PersonFit, found: Landmarks) -> TrackedFace:
        """Return the first face of somebody who is known: one like those that follow."""
        model = load_face_model()
        fitter = Fitter(
            model,
            identity=known.identity,
            expression_ridge=_EXPRESSION_RIDGE,
            static=known.static,
        )
        view = view_of(found.points, self._size, known.focal_px)
        pose = initial_pose(view, fitter.rest)
        raw = fitter.solve(view, *pose, fitter.target, _FIRST_ROUNDS, follow_skull=True)
        alone = fit_face(found.points, image_size=self._size)
        self._person = _Person(
            known.identity, known.focal_px, fitter, -float(raw[1][2]), alone.landmarks_head
        )
        self._coefficients, self._slow_rotation = raw[2], raw[0]
        self._last = replace(alone.state, rotation=raw[0], translation=raw[1])
        return self._next(found, self._person, restart=False)

    def _first(self, found: Landmarks) -> TrackedFace:
        if self._known is not None:
            return self._first_of(self._known, found)
        fit = fit_face(found.points, image_size=self._size)
        model = load_face_model()
        view = view_of(found.points, self._size, fit.focal_px)
        model_shape = model.landmarks(fit.state.beta, fit.identity).astype(np.float64)
        # The network's depth of this face differs from the model's by a fixed shape as well.
        pose = fit.state.rotation.astype(np.float64), fit.state.translation.astype(np.float64)
        static = unproject(view, model_shape, *pose, depth_trust=1.0) - model_shape
        fitter = Fitter(
            model,
            identity=fit.identity,
            expression_ridge=_EXPRESSION_RIDGE,
            static=static,
            centre=fit.state.beta,
        )
        distance = -float(fit.state.translation[2])
        self._person = _Person(fit.identity, fit.focal_px, fitter, distance, fit.landmarks_head)
        self._coefficients = fitter.target.copy()
        self._slow_rotation = fit.state.rotation.astype(np.float64)
        self._last = fit.state
        return TrackedFace(found.points, fit.state, found.score)

    def _next(self, found: Landmarks, person: _Person, restart: bool) -> TrackedFace:
        view = view_of(found.points, self._size, person.focal_px)
        fitter = person.fitter
        assert self._last is not None
        if restart:
            rotation, translation = initial_pose(view, fitter.shape(self._coefficients))
            self._slow_rotation = rotation
        else:
            rotation = self._last.rotation.astype(np.float64)
            translation = self._last.translation.astype(np.float64)
        raw = fitter.solve(
            view, rotation, translation, self._coefficients, _ROUNDS, follow_skull=True
        )
        rotation = self._calm_rotation(raw[0])
        translation = _calm_translation(raw[3], raw[:2], rotation, person.distance)
        # One more round at the calm pose gives expression what the pose no longer explains.
        fixed = fitter.solve(view, rotation, translation, raw[2], 1, fixed_pose=True)
        self._coefficients, shape = fixed[2], fixed[3]
        landmarks = unproject(view, shape, rotation, translation)
        state = FaceState(
            beta=fitter.split(self._coefficients)[0],
            rotation=rotation.astype(np.float32),
            translation=translation.astype(np.float32),
            gaze=self._gaze(found.points, person, rotation, translation, landmarks),
            residual=(landmarks - shape).astype(np.float32),
        )
        self._last = state
        error = (landmarks - shape) @ rotation.T[:, :2]
        rms = np.sqrt((error**2).sum(1).mean()) * person.focal_px / -translation[2] / view.unit_px
        trust = np.clip((_BAD_RMS - rms) / (_BAD_RMS - _GOOD_RMS), 0, 1)
        return TrackedFace(found.points, state, float(found.score * trust))

    def _calm_rotation(self, rotation: np.ndarray) -> np.ndarray:
        ahead = rotation_log(rotation @ self._slow_rotation.T)
        self._slow_rotation = rotation_exp(self._follow * ahead) @ self._slow_rotation
        jitter = rotation_log(rotation @ self._slow_rotation.T)
        return rotation_exp(_ROTATION_KEEP * jitter) @ self._slow_rotation

    def _gaze(
        self,
        points: np.ndarray,
        person: _Person,
        rotation: np.ndarray,
        translation: np.ndarray,
        landmarks: np.ndarray,
    ) -> np.ndarray:
        beta = person.fitter.split(self._coefficients)[0]
        blink = [beta[ARKIT_INDEX[f"eyeBlink{side}"]] for side in ("Left", "Right")]
        if min(blink) > _CLOSED_EYE and self._last is not None:
            return self._last.gaze
        return gaze_of_irises(points, self._size, person.focal_px, rotation, translation, landmarks)


def _face_cells(frame: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return (48, 48) mean grey levels of the cells in which a frame shows a face."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    margin = _AROUND * (high - low)
    x0, y0 = np.maximum(low - margin, 0).astype(int)
    x1, y1 = np.maximum(high + margin, (x0 + 1, y0 + 1)).astype(int)
    face = frame[y0:y1, x0:x1] if y0 < frame.shape[0] and x0 < frame.shape[1] else frame
    grey = cv2.cvtColor(np.ascontiguousarray(face), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return np.asarray(cv2.resize(grey, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA))


def _calm_translation(
    shape: np.ndarray,
    pose: tuple[np.ndarray, np.ndarray],
    rotation: np.ndarray,
    reference: float,
) -> np.ndarray:
    """Return the translation with a soft-thresholded distance that keeps the head in place.

    Args:
        shape: (468, 3) head-frame landmarks of the raw solution.
        pose: raw rotation and translation.
        rotation: the calm rotation to be used instead.
        reference: distance of the first frame, cm.
    """
    raw_rotation, raw_translation = pose
    change = np.log(max(-raw_translation[2], 1e-3) / reference)
    calm = np.sign(change) * max(abs(change) - _SCALE_DEAD_ZONE, 0.0)
    zoom = reference * np.exp(calm) / -raw_translation[2]
    # Hold the middle of the stable landmarks at its place in the image.
    middle = shape[_STABLE].mean(0)
    return (raw_rotation @ middle + raw_translation) * zoom - rotation @ middle
