"""An actor for the controls: motions made of states, and what `deform` makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mggtalk_cli import pipeline, tensors
from mggtalk_cli.artifacts import Artifact, open_artifact
from mggtalk_cli.artifacts.memory import save
from mggtalk_cli.core.expression import ARKIT_INDEX, FaceState
from mggtalk_cli.core.rotation import angles_from_matrix, matrix_from_angles
from mggtalk_cli.driver import Drive, Moment

FPS, FRAMES = 25.0, 6
LIP, BROW, LID, UPPER_LID = 14, 105, 145, 159  # landmarks: lower lip, brow, lower and upper lid
JAW, BLINK = ARKIT_INDEX["jawOpen"], ARKIT_INDEX["eyeBlinkRight"]


def acting(index: int, source: FaceState) -> FaceState:
    """A face that starts as the photo's, then opens mouth and brows, blinks, looks and turns."""
    share = min(index, 3) / 3
    beta = source.beta.copy()
    beta[JAW] += 0.5 * share
    beta[ARKIT_INDEX["browInnerUp"]] += 0.6 * share
    beta[BLINK] = 1 - (1 - source.beta[BLINK]) * (1 - share)
    turn = matrix_from_angles(12 * share, 0, 0)
    return FaceState(
        beta=beta,
        rotation=(turn @ source.rotation).astype(np.float32),
        translation=source.translation + np.float32([0.5 * share, 0, 0]),
        gaze=source.gaze + np.float32([10 * share, 0]),
    )


def store(path: Path, states: list[FaceState], kind: str = "video", fps: float = FPS) -> Path:
    moments = (Moment(state, 1.0) for state in states)
    save(
        pipeline.motion_artifact(Drive(kind, fps, len(states), states[0], moments, None, None)),
        path,
    )
    return path


class Deformed:
    """The points of a `deform`, read as landmarks of the last frame in the head frame."""

    def __init__(self, head: Artifact, path: Path) -> None:
        self.frames = [frame["points"] for frame in open_artifact(path).frames()]
        self.facing = tensors.source_state(head).rotation
        weight = head.arrays["rig_weight"].max(1)
        rigid = (head.arrays["head_weight"] == 1) & (head.arrays["rig_gate"] == 0)
        index = head.arrays["rig_index"][
            np.arange(len(weight)), head.arrays["rig_weight"].argmax(1)
        ]
        self.rest, self.iris = head.arrays["positions"], head.arrays["rig_iris"]
        self.near = {
            mark: np.flatnonzero(rigid & (index == mark) & (weight > 0.4))
            for mark in (LIP, BROW, LID, UPPER_LID)
        }
        # Skull points: nothing but the pose moves them.
        self.skull = np.flatnonzero(rigid & (np.abs(head.arrays["rig_weight"]).sum(1) == 0))

    def pose(self, frame: int = -1) -> tuple[np.ndarray, np.ndarray]:
        """Return R (3, 3) and t (3,) of the head: the rigid motion of its skull (Kabsch)."""
        before, after = self.rest[self.skull], self.frames[frame][self.skull]
        middle, moved = before.mean(0), after.mean(0)
        u, _, vt = np.linalg.svd((before - middle).T.astype(float) @ (after - moved))
        turn = (u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt).T
        return turn, moved - turn @ middle

    def angles(self, frame: int = -1) -> np.ndarray:
        """Return how far the head has turned as the camera sees it, degrees."""
        return angles_from_matrix(self.facing @ self.pose(frame)[0] @ self.facing.T)

    def moved(self, rows: np.ndarray, frame: int = -1) -> np.ndarray:
        """Return (3,) mean motion of points, the head's own motion taken off, cm."""
        turn, shift = self.pose(frame)
        return ((self.frames[frame][rows] - shift) @ turn - self.rest[rows]).mean(0)
