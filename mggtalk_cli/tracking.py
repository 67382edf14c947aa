"""Tracking that lands on the frame: the driver's own head is drawn as tracked, and corrected.

A head is built from the driver's first frame. Each later frame is drawn in the tracked state, and
dense optical flow from that picture to the true frame shows what the landmarks missed: first a
rigid motion of the head, then what is left at every landmark. The next frame starts from the
correction of this one. Reference and picture are the same person in the same light, so the flow
is small, does not drift, and hardly trembles.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np

from mggtalk_cli import deform, drawing, face, splat
from mggtalk_cli.core.camera import Y_UP_TO_OPENCV
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.image import fit_longer_side
from mggtalk_cli.core.interpolation import smoothstep
from mggtalk_cli.core.landmark_groups import TRIANGLES
from mggtalk_cli.core.rotation import rotation_exp, rotation_log
from mggtalk_cli.heads import build_head
from mggtalk_cli.portrait import BuildOptions
from mggtalk_cli.tensors import camera_of, gaussian_sheet, head_rig, source_state
from mggtalk_cli.variants import ANALYTIC

# The driver is drawn so small that its face is about this wide, px, within these bounds of the
# longer side: more costs time and gains little (384 instead of 256 px gain .1 to .2 dB).
FACE_PX, LEAST_SIDE, MOST_SIDE = 90.0, 256, 768

SAMPLES = 4000  # points of the head that vote for its motion
RIGID_WEIGHT = 0.98  # points with this head weight move with the skull

# A landmark follows at most this share of the face's width in one frame; more is a false match.
# Flow below the noise (px of the small picture) is none, so that a still face stays still.
MOST_STEP, NOISE_PX = 0.06, 0.05
# Cosine of a landmark's normal and the ray to it at which it is not trusted at all, and entirely:
# on the far cheek flow is that of the background.
TURNED_AWAY, FACING = 0.1, 0.4
# The correction of a landmark stays below this share of the face's width in all, that of the head
# below this turn, and below this share of the face's width.
MOST_RESIDUAL, MOST_TURN_DEG, MOST_SHIFT = 0.15, 15.0, 0.5
# What the next frame starts from: the head's correction and this much of the landmarks'; where the
# flow is not believed, this much of both.
KEPT, HELD = 0.9, 0.8

# Share of the head whose flow agrees with one motion. From here on it is believed; below, only if
# the head drawn so differs less from the frame than as tracked, by this factor.
BELIEVED, LESS_DIFFERENT = 0.5, 0.9


class _Correction(NamedTuple):
    """A state corrected by flow.

    Attributes:
        state: the corrected one.
        agreement: share of the head whose flow agrees with its motion, 0..1.
        difference: mean grey levels between frame and head as drawn before the correction.
    """

    state: FaceState
    agreement: float
    difference: float


class FlowTracker:
    """Corrects the tracked states of one clip; call `update` for every frame in order."""

    def __init__(self, frame: np.ndarray, reference: FaceState, points: np.ndarray) -> None:
        """Build the driver's head.

        Args:
            frame: (H, W, 3) uint8, the frame of the reference.
            reference: the tracked state in it.
            points: (n, 2 or 3) its landmarks, px.

        Raises:
            InputError: no head can be built from the frame.
        """
        longer = max(frame.shape[:2])
        side = round(np.clip(FACE_PX * longer / np.ptp(points[:, 0]), LEAST_SIDE, MOST_SIDE))
        small = fit_longer_side(frame, min(side, longer)).image
        options = BuildOptions(size=max(small.shape[:2]), crop="none")
        head = build_head(small, options, variants=ANALYTIC)
        self._reference = reference
        # One face, one frame: where the two fits differ, the driver's own counts.
        self._head, self._source = head_rig(head), source_state(head)
        self._source = replace(self._source, beta=reference.beta)
        self._camera, self._sheet = camera_of(head), gaussian_sheet(head, "cpu")
        self._plate = head.arrays["plate"].astype(np.float32) / 255
        # The front sheet comes first: what the photo shows.
        front = int(head.arrays["valid"][: np.prod(head.arrays["grid_shape"][0])].sum())
        shown = np.flatnonzero(head.arrays["head_weight"][:front] > RIGID_WEIGHT)
        self._votes = shown[:: max(1, len(shown) // SAMPLES)]
        self._flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self._face_cm = float(np.ptp(self._head.rig.controls.numpy()[:468, 0]))
        self._turn, self._shift = np.zeros(3), np.zeros(3)
        self._residual = np.zeros_like(reference.residual)

    def update(self, frame: np.ndarray, state: FaceState) -> tuple[FaceState, float]:
        """Return the corrected state and the trust in it, 0..1; 0 where the last correction holds.

        Args:
            frame: (H, W, 3) uint8 of the size given at the start.
            state: what the landmarks say.
        """
        self._residual *= KEPT
        found = self._correction(self._with_correction(state), frame)
        if found.agreement < BELIEVED:  # far off, covered, or cut: look twice, then compare
            found = self._correction(found.state, frame)
            plain = self._correction(state, frame).difference
            believed = found.difference <= LESS_DIFFERENT * plain
        else:
            believed = True
        if not (believed and self._take(found.state, state)):
            self._turn, self._shift = HELD * self._turn, HELD * self._shift
            self._residual *= HELD / KEPT
            return self._with_correction(state), 0.0
        return self._with_correction(state), min(found.agreement / BELIEVED, 1.0)

    def _with_correction(self, state: FaceState) -> FaceState:
        """Return the state with the present correction put on it."""
        return replace(
            state,
            rotation=(rotation_exp(self._turn) @ state.rotation).astype(np.float32),
            translation=(state.translation + self._shift).astype(np.float32),
            residual=(state.residual + self._residual).astype(np.float32),
        )

    def _take(self, corrected: FaceState, state: FaceState) -> bool:
        """Make what was found the present correction; return whether it can be believed."""
        turn = rotation_log(corrected.rotation.astype(np.float64) @ state.rotation.T)
        shift = corrected.translation.astype(np.float64) - state.translation
        if np.rad2deg(np.linalg.norm(turn)) > MOST_TURN_DEG:
            return False
        if np.linalg.norm(shift) > MOST_SHIFT * self._face_cm:
            return False
        residual = corrected.residual - state.residual
        length = np.linalg.norm(residual, axis=1, keepdims=True)
        residual *= np.minimum(1, MOST_RESIDUAL * self._face_cm / np.maximum(length, 1e-9))
        self._turn, self._shift, self._residual = turn, shift, residual
        return True

    def _correction(self, state: FaceState, frame: np.ndarray) -> _Correction:
        """Return what the flow from the head drawn in a state to the frame makes of that state."""
        target = self._target(state)
        picture, votes = self._draw(target)
        true = _grey(cv2.resize(frame, picture.shape[::-1], interpolation=cv2.INTER_AREA))
        flow = np.asarray(self._flow.calc(picture, true, None))
        places = self._camera.project(votes)
        difference = _at(cv2.absdiff(picture, true), places).mean()
        motion = face.rigid_motion(
            self._camera.to_camera(votes), _at(flow, places), self._camera.focal_px
        )
        if motion is None:
            return _Correction(state, 0.0, float(difference))
        moved = self._moved(state, target, motion)
        bent = self._bent(moved, flow, self._camera.project(self._landmarks(target)))
        return _Correction(bent, motion.agreement, float(difference))

    def _target(self, state: FaceState) -> FaceState:
        return deform.retarget(
            state, reference=self._reference, source=self._source, mode="relative"
        )

    def _draw(self, target: FaceState) -> tuple[np.ndarray, np.ndarray]:
        """Return the driver's head in a state, (h, w) uint8 grey, and its voting points (n, 3)."""
        posed = deform.deform_analytic(self._head, self._source, target)
        gaussians = splat.decode_analytic(posed.points, posed.visibility, self._sheet)
        rgb, alpha = drawing.rasterize(gaussians, self._camera, self._camera.viewmat)
        picture = np.clip(rgb.numpy() + (1 - alpha.numpy()) * self._plate, 0, 1)
        return _grey(np.rint(255 * picture).astype(np.uint8)), posed.points.numpy()[self._votes]

    def _landmarks(self, target: FaceState) -> np.ndarray:
        """Return the (468, 3) landmarks of the head in a state, photo's head frame, cm."""
        return deform.posed_landmarks(self._head, self._source, target)

    def _moved(self, state: FaceState, target: FaceState, motion: face.RigidMotion) -> FaceState:
        """Return the state with the head moved as the flow says."""
        flip = Y_UP_TO_OPENCV.astype(np.float64)
        turn, centre, shift = flip @ motion.rotation @ flip, flip @ motion.centre, motion.shift
        rotation = turn @ target.rotation
        translation = turn @ (target.translation - centre) + centre + flip @ shift
        own, reference = self._source, self._reference
        return replace(
            state,
            rotation=(rotation @ own.rotation.T @ reference.rotation).astype(np.float32),
            translation=(translation - own.translation + reference.translation).astype(np.float32),
        )

    def _bent(self, state: FaceState, flow: np.ndarray, before: np.ndarray) -> FaceState:
        """Return the state with its landmarks moved by what the head's motion leaves of the flow.

        Args:
            state: with the head moved already.
            flow: (h, w, 2) px.
            before: (468, 3) px and depth of the landmarks in the picture the flow starts from.
        """
        target = self._target(state)
        landmarks = self._landmarks(target)
        after = self._camera.project(landmarks)
        trust = smoothstep(_facing(self._camera.to_camera(landmarks)), TURNED_AWAY, FACING)
        rest = _at(cv2.GaussianBlur(flow, (0, 0), 1.0), before) - (after - before)[:, :2]
        length = np.hypot(*rest.T)
        most = MOST_STEP * np.ptp(before[:, 0])
        kept = np.clip(length - NOISE_PX, 0, most) * trust
        rest *= (kept / np.maximum(length, 1e-6))[:, None]
        step = np.c_[rest * after[:, 2:] / self._camera.focal_px, np.zeros(len(rest))]
        rotation, _ = deform.head_motion(target, self._source)
        in_head = step @ self._camera.viewmat[:3, :3] @ rotation
        return replace(state, residual=(state.residual + in_head).astype(np.float32))


def _facing(landmarks: np.ndarray) -> np.ndarray:
    """Return (468,) cosine of each landmark's normal and the viewing axis; < 0 looks away.

    Args:
        landmarks: (468, 3) OpenCV camera coordinates.
    """
    corners = landmarks[TRIANGLES]
    face_normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(landmarks)
    for corner in range(3):
        np.add.at(normals, TRIANGLES[:, corner], face_normals)
    return -normals[:, 2] / np.maximum(np.linalg.norm(normals, axis=1), 1e-9)


def _at(picture: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return (n, ...) values of a picture (h, w, ...) at pixel positions (n, >= 2)."""
    xy = (places[:, :2] - 0.5).astype(np.float32)  # OpenCV puts pixel centres at integers
    found = cv2.remap(
        picture, xy[:, :1], xy[:, 1:2], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(found[:, 0])


def _grey(picture: np.ndarray) -> np.ndarray:
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY))
