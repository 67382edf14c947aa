"""Head + face state to posed points.

`DEFORMERS` maps a variant to a function (HeadRig, source, target) -> Deformed. The analytic one is
linear skinning on the control mesh, lid and lip windows, and a rigid head over a still torso; the
deformation network of the paper (Eq 9) is a residual on it and becomes an entry beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from mggtalk_cli.core.camera import Camera
from mggtalk_cli.core.expression import FaceState
from mggtalk_cli.core.landmark_groups import LOWER_LIP_INNER, UPPER_LIP_INNER
from mggtalk_cli.core.sheet import GATE_EYE_LEFT, GATE_EYE_RIGHT, GATE_MOUTH
from mggtalk_cli.deform.aperture import keep_lips_apart, window
from mggtalk_cli.deform.binding import (
    EYE_LEFT,
    EYE_LEFT_RING,
    EYE_RIGHT,
    EYE_RIGHT_RING,
    MOUTH,
    MOUTH_RING,
    Binding,
    bind_face,
)
from mggtalk_cli.deform.eyes import eye_sheets, iris_shift
from mggtalk_cli.deform.mouth import Part, mouth_sheets
from mggtalk_cli.deform.neck import head_weight_map, torso_follow_map
from mggtalk_cli.deform.retarget import head_motion, retarget
from mggtalk_cli.deform.skinning import Rig, control_motion, move_points, pose_points

__all__ = [
    "DEFORMERS",
    "EYE_LEFT",
    "EYE_LEFT_RING",
    "EYE_RIGHT",
    "EYE_RIGHT_RING",
    "MOUTH",
    "MOUTH_RING",
    "Binding",
    "Deformed",
    "HeadRig",
    "Part",
    "Rig",
    "bind_face",
    "deform_analytic",
    "eye_sheets",
    "head_motion",
    "head_weight_map",
    "mouth_sheets",
    "retarget",
    "torso_follow_map",
]

RINGS = {
    GATE_MOUTH: MOUTH_RING,
    GATE_EYE_RIGHT: EYE_RIGHT_RING,
    GATE_EYE_LEFT: EYE_LEFT_RING,
}


class HeadRig(NamedTuple):
    """Everything deformation needs of one head.

    Attributes:
        rig: points, controls and their binding.
        gate: (m,) uint8 GATE_ code of every point.
        iris: (m,) bool, points that turn with the gaze.
        camera: the photo's camera; the windows of lips and lids are judged in its picture.
    """

    rig: Rig
    gate: np.ndarray
    iris: np.ndarray
    camera: Camera


class Deformed(NamedTuple):
    """Posed points of one frame: `points` (m, 3) cm and `visibility` (m,) 0..1."""

    points: Float[Tensor, "m 3"]
    visibility: Float[Tensor, " m"]


def deform_analytic(head: HeadRig, source: FaceState, target: FaceState) -> Deformed:
    """Return the points of `head` (photographed in state `source`) in state `target`."""
    rig = head.rig
    motion = control_motion(
        rig,
        torch.from_numpy(target.beta - source.beta),
        torch.from_numpy(target.residual - source.residual),
    )
    motion = _without_crossing_lips(rig, motion)
    local = move_points(rig, motion)
    local[torch.from_numpy(head.iris)] += torch.from_numpy(iris_shift(target.gaze - source.gaze))
    visibility = _visibility(head, local, (rig.controls + motion).numpy())
    rotation, translation = head_motion(target, source)
    points = pose_points(rig, local, torch.from_numpy(rotation), torch.from_numpy(translation))
    return Deformed(points, visibility)


def _without_crossing_lips(rig: Rig, motion: Float[Tensor, "c 3"]) -> Float[Tensor, "c 3"]:
    """Return the motion with lips that would cross more than in the photo stopped there."""
    upper, lower = np.array(UPPER_LIP_INNER), np.array(LOWER_LIP_INNER)
    rest = rig.controls.numpy()
    moved = rest + motion.numpy()
    allowed = np.maximum(rest[lower, 1] - rest[upper, 1], 0)
    moved[lower, 1] -= allowed
    kept = keep_lips_apart(moved, upper, lower)
    if kept is moved:
        return motion
    kept[lower, 1] += allowed
    return torch.from_numpy(kept - rest)


def _visibility(
    head: HeadRig, local: Float[Tensor, "m 3"], controls: np.ndarray
) -> Float[Tensor, " m"]:
    visibility = np.ones(local.shape[0], np.float32)
    for code, ring in RINGS.items():
        rows = np.flatnonzero(head.gate == code)
        if len(rows):
            seen = head.camera.project(local[torch.from_numpy(rows)].numpy())[:, :2]
            outline = head.camera.project(controls[ring])[:, :2]
            visibility[rows] = window(seen, outline)
    return torch.from_numpy(visibility)


DEFORMERS: dict[str, Callable[[HeadRig, FaceState, FaceState], Deformed]] = {
    "analytic": deform_analytic
}
